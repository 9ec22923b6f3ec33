// real[] as vectors, and the distances between them.
#ifndef PG_SEMANTIC_EXTENSION_VECTORS_H
#define PG_SEMANTIC_EXTENSION_VECTORS_H

#include "extension/server.h"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace pg_semantic {

using FloatView = std::span<const float>;

// The elements of a detoasted array.  Errors: not one dimension or no element
// (22000), NULL elements (22004), NaN or infinity (22000), more than
// kMaxDimensions of the index (54000).
FloatView vector_from_array(ArrayType* array);

ArrayType* make_array(FloatView vector);

// Accumulated in double.  Different lengths: 22000.  NaN or infinite where an element is.
double cosine_distance(FloatView a, FloatView b);  // 1 - cosine; NaN when one of them is zero
double l2_distance(FloatView a, FloatView b);      // Euclidean
double negative_inner_product(FloatView a, FloatView b);

// The distance of two arrays' vectors; errors of vector_from_array.  An array is looked through for elements that are
// not finite only when the distance is not: each of them would have made it so.
using DistanceFunction = double (*)(FloatView a, FloatView b);
double distance_of_arrays(DistanceFunction distance, ArrayType* a, ArrayType* b);

// First 16 bytes of the SHA-256 of a content's bytes, as stored: text in the
// database's encoding, elements of a vector.
using ContentHashBytes = std::array<uint8_t, 16>;
ContentHashBytes content_hash(std::string_view bytes);
inline ContentHashBytes content_hash(FloatView vector) {
  return content_hash(std::string_view(reinterpret_cast<const char*>(vector.data()), vector.size_bytes()));
}

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_VECTORS_H
