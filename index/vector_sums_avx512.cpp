// The sums of vector_sums.h for AVX-512 F, BW, DQ and VL; the dispatch is in vector_sums.cpp.
#define PG_SEMANTIC_VECTOR_DOUBLES 8
#define PG_SEMANTIC_LOAD_DOUBLES(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))

// GCC 12's own header reads a deliberately undefined register (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>

#include "index/vector_sums.h"
#include "index/vector_sums.inc"

namespace pg_semantic::index {

extern const VectorSums kAvx512VectorSums;
const VectorSums kAvx512VectorSums = kSums;

}  // namespace pg_semantic::index
