// Sums over two vectors of floats, in double: what SQL's distances are made of.
//
// Three builds of one source (vector_sums.inc): portable, AVX2, AVX-512.  All add in
// the same order and round alike: a distance is the same number on every processor.
// No alignment is asked for.
//
// Nothing overflows: ab and a squared distance are finite if and only if every element
// of both vectors is; a single NaN or infinity makes them NaN or infinite.
//
// Thread safety: pure functions of their arguments.
#ifndef PG_SEMANTIC_INDEX_VECTOR_SUMS_H
#define PG_SEMANTIC_INDEX_VECTOR_SUMS_H

#include <cstddef>

#include "encoder/cpu_features.h"

namespace pg_semantic::index {

struct Products {
  double ab;
  double aa;
  double bb;
};

struct VectorSums {
  Products (*products)(const float* a, const float* b, size_t size);
  double (*inner_product)(const float* a, const float* b, size_t size);
  double (*squared_distance)(const float* a, const float* b, size_t size);
};

// The build of `level`; the caller makes sure that the processor has it.
const VectorSums& vector_sums_for(encoder::VectorLevel level);

// The best build for this processor.
const VectorSums& vector_sums();

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_VECTOR_SUMS_H
