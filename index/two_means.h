// Splitting a set of vectors in two.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_TWO_MEANS_H
#define PG_SEMANTIC_INDEX_TWO_MEANS_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pg_semantic::index {

struct TwoMeans {
  std::vector<uint8_t> side;  // 0 or 1 for each vector
  std::array<std::vector<float>, 2> centroids;
};

// `vectors`: [count][dimensions].  Neither side is smaller than an eighth.
// False: the vectors cannot be told apart.  `spherical`: centroids of length 1.
bool two_means(const std::vector<float>& vectors, size_t dimensions, bool spherical, uint64_t seed, TwoMeans* result);

void normalise(float* vector, size_t dimensions);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_TWO_MEANS_H
