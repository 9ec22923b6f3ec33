// A fixed random rotation, so that no dimension of a vector is more telling than
// another: the signs of a rotated vector then say most of what there is to say
// about its direction (RaBitQ, arXiv 2405.12497, section 3.1).
//
// Four times: some signs are turned over, then a Hadamard transform mixes a power
// of two of the values, by turns the first and the last ones (Ailon and Chazelle,
// "The fast Johnson-Lindenstrauss transform", 2009).  Every step keeps lengths.
//
// The signs depend on nothing but their position, and sums are made in one order
// on every processor: a rotated vector is the same everywhere, bit for bit.
//
// Thread safety: immutable after construction.
#ifndef PG_SEMANTIC_INDEX_ROTATION_H
#define PG_SEMANTIC_INDEX_ROTATION_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pg_semantic::index {

class Rotation {
 public:
  Rotation() = default;
  explicit Rotation(size_t dimensions);

  // Of a rotated vector: a multiple of 64, the values past `dimensions` being zero before the rotation.
  [[nodiscard]] size_t rotated_dimensions() const { return rotated_; }

  // `out` has rotated_dimensions() values; it may be `vector` where that has as many.
  void apply(const float* vector, float* out) const;

 private:
  size_t dimensions_ = 0;
  size_t rotated_ = 0;
  size_t power_ = 0;          // the largest power of two in rotated_
  std::vector<float> signs_;  // [rounds][rotated_], ±1, or ±1 / √power_ where the transform follows
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_ROTATION_H
