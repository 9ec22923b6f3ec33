// Codes: the compact form of a vector in a posting block.
//
// No codec is trained: an 8-bit code has a scale and an offset of its own, a
// half-precision code a scale of its own, so a code means the same in every
// list and moves between lists as it is.  A code also carries a bound of its
// error, with which the first pass knows what the second must look at.
//
// Thread safety: immutable after construction.
#ifndef PG_SEMANTIC_INDEX_CODEC_H
#define PG_SEMANTIC_INDEX_CODEC_H

#include <cstddef>
#include <cstdint>
#include <span>

#include "index/engine.h"
#include "index/kernels.h"

namespace pg_semantic::index {

class CodecLayout {
 public:
  CodecLayout() = default;
  CodecLayout(Codec codec, uint32_t dimensions);

  [[nodiscard]] Codec codec() const { return codec_; }
  [[nodiscard]] uint32_t dimensions() const { return dimensions_; }
  [[nodiscard]] size_t code_size() const { return code_size_; }  // bytes, a multiple of 8
  // Entries of a full block: about 8 kB, because an append rewrites the last block.
  [[nodiscard]] uint32_t entries_per_block() const { return entries_per_block_; }
  [[nodiscard]] uint32_t blocks(uint64_t entries) const {
    return static_cast<uint32_t>((entries + entries_per_block_ - 1) / entries_per_block_);
  }

  // `code` has code_size() bytes.
  void encode(std::span<const float> vector, std::byte* code) const;
  void decode(const std::byte* code, float* vector) const;

  [[nodiscard]] ScanKernel squared_distance() const { return kernels().squared_distance[static_cast<int>(codec_)]; }
  [[nodiscard]] ScanKernel inner_product() const { return kernels().inner_product[static_cast<int>(codec_)]; }

 private:
  Codec codec_ = Codec::kF32;
  uint32_t dimensions_ = 0;
  size_t code_size_ = 0;
  uint32_t entries_per_block_ = 1;
};

// Relative rounding error of a float sum over so many products.
float rounding_bound(size_t dimensions);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CODEC_H
