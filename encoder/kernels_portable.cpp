// The kernels of kernels.h for the baseline of the architecture (SSE2 on x86-64); the dispatch is in kernels.cpp.
#define PG_SEMANTIC_VECTOR_FLOATS 4
#define PG_SEMANTIC_TILE_ROWS 4
#define PG_SEMANTIC_TILE_COLUMNS 3
#define PG_SEMANTIC_PACKED_ROWS 2
#define PG_SEMANTIC_PACKED_PANELS 1
#define PG_SEMANTIC_QUANTIZED_ROWS 2
#define PG_SEMANTIC_QUANTIZED_PANELS 1

#include "encoder/kernels.h"
#include "encoder/kernels_impl.inc"

namespace pg_semantic::encoder {

extern const Kernels kPortableKernels;
const Kernels kPortableKernels = kKernels;

}  // namespace pg_semantic::encoder
