// Blocks of stored vectors, and the coarse distances that their first part gives.
//
// Vectors of 16-bit elements lie in a block in two parts: first, of all of them, the
// coarse part, which has the elements' high bytes and what an estimate takes; then,
// of all of them, the fine part, which has the low bytes and the rest.  A search
// reads the coarse parts of what codes did not rule out, and the fine parts of what
// is among the nearest found so far, or may be.  Other vectors lie there whole.
//
// Thread safety: values and pure functions.
#ifndef PG_SEMANTIC_INDEX_VECTOR_BLOCK_H
#define PG_SEMANTIC_INDEX_VECTOR_BLOCK_H

#include <span>
#include <string>
#include <string_view>

#include "index/codec.h"

namespace pg_semantic::index {

// A block as it lies in the value: nothing is copied, nothing aligned.  `layout` must live as long.
struct VectorBlockView {
  const CodecLayout* layout = nullptr;
  uint32_t count = 0;
  const std::byte* vectors = nullptr;  // whole, or coarse parts, then fine parts

  // What a coarse distance is estimated from; only where the layout has coarse parts.
  [[nodiscard]] const std::byte* coarse_part(uint32_t i) const { return vectors + i * layout->coarse_size(); }
  // As CodecLayout::encode_vector() wrote it: where it lies, or put together in `buffer`, of vector_size() bytes.
  const std::byte* vector(uint32_t i, std::byte* buffer) const;
};

// `vectors`: `count` whole ones.
std::string encode_vector_block(const CodecLayout& layout, const std::byte* vectors, uint32_t count);
// kCorrupt: the value's size is not what its header says.
Result<VectorBlockView> decode_vector_block(std::string_view value, const CodecLayout& layout);

// Whether the coarse part of entry i is what encode_vector_block() makes of this vector.
bool coarse_part_is_right(const VectorBlockView& block, uint32_t i, const std::byte* vector);

// A query against coarse parts.
class CoarseQuery {
 public:
  // `query` as lists see it (of length 1 under cosine); it must live as long.
  CoarseQuery(const CodecLayout& layout, std::span<const float> query);

  // No vector of this coarse part is nearer, on the scale of CodeQuery's estimates; -infinity when it cannot be told.
  [[nodiscard]] double lower_bound(const std::byte* coarse_part) const;

 private:
  std::span<const float> query_;
  double norm_;
  double constant_;  // added to every estimate
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_VECTOR_BLOCK_H
