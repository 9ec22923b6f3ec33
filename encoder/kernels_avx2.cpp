// The kernels of kernels.h for AVX2 with FMA; the dispatch is in kernels.cpp.
#define PG_SEMANTIC_VECTOR_FLOATS 8
#define PG_SEMANTIC_TILE_ROWS 4
#define PG_SEMANTIC_TILE_COLUMNS 3
#define PG_SEMANTIC_PACKED_ROWS 6
#define PG_SEMANTIC_PACKED_PANELS 1
#define PG_SEMANTIC_QUANTIZED_ROWS 4
#define PG_SEMANTIC_QUANTIZED_PANELS 1

#include "encoder/kernels.h"
#include "encoder/kernels_impl.inc"

namespace pg_semantic::encoder {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = kKernels;

}  // namespace pg_semantic::encoder
