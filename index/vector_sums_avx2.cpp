// The sums of vector_sums.h for AVX2; the dispatch is in vector_sums.cpp.
#define PG_SEMANTIC_VECTOR_DOUBLES 4
#define PG_SEMANTIC_LOAD_DOUBLES(p) _mm256_cvtps_pd(_mm_loadu_ps(p))

#include <immintrin.h>

#include "index/vector_sums.h"
#include "index/vector_sums.inc"

namespace pg_semantic::index {

extern const VectorSums kAvx2VectorSums;
const VectorSums kAvx2VectorSums = kSums;

}  // namespace pg_semantic::index
