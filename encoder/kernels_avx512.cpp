// The kernels of kernels.h for AVX-512 F, BW, DQ and VL; the dispatch is in kernels.cpp.
#define PG_SEMANTIC_VECTOR_FLOATS 16
#define PG_SEMANTIC_TILE_ROWS 4
#define PG_SEMANTIC_TILE_COLUMNS 4
#define PG_SEMANTIC_PACKED_ROWS 8
#define PG_SEMANTIC_PACKED_PANELS 3
#define PG_SEMANTIC_QUANTIZED_ROWS 4
#define PG_SEMANTIC_QUANTIZED_PANELS 3

#include "encoder/kernels.h"
#include "encoder/kernels_impl.inc"

namespace pg_semantic::encoder {

extern const Kernels kAvx512Kernels;
const Kernels kAvx512Kernels = kKernels;

}  // namespace pg_semantic::encoder
