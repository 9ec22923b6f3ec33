// How vectors are stored, and the codes that a first pass reads instead of them.
//
// No codec is trained.  A stored vector is written as its codec says: as floats
// (f32), as half-precision floats (f16), or, under sq8 and bit, in 16-bit fixed
// point with a scale of its own.  Distances are those of stored vectors.
// Under sq8 and bit a first pass reads shorter codes: 8 bits or 1 bit
// a dimension, with a bound of the error, so that it knows which vectors the
// second pass must look at.
//
// 1-bit codes are RaBitQ's (arXiv 2405.12497): the signs of the rotated difference
// of vector and centroid, with what an unbiased estimate of the distance takes.
// They depend on the centroid: a vector that moves to another list is coded anew.
//
// Thread safety: immutable after construction.
#ifndef PG_SEMANTIC_INDEX_CODEC_H
#define PG_SEMANTIC_INDEX_CODEC_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "index/engine.h"
#include "index/kernels.h"
#include "index/rotation.h"

namespace pg_semantic::index {

// A stored vector begins with this; its values follow (index/FORMAT.md, "Vectors").
struct VectorHeader {
  double scale = 1;  // of the values
  float error = 0;   // at least the distance between the vector that was inserted and the stored one
  uint32_t reserved = 0;
  ContentHash hash{};
};
static_assert(sizeof(VectorHeader) == 32);

// The coarse part of a vector of 16-bit elements (vector_block.h) begins with this; the elements' high bytes h follow.
// The score of the vector is no farther than error · |q| from add + |q|² + rescale · ⟨h, q⟩, under inner product
// without |q|².
struct CoarseHeader {
  float add = 0;
  float rescale = 0;
  float error = 0;
};
static_assert(sizeof(CoarseHeader) == 12);

class CodecLayout {
 public:
  // With which the fine part of a vector begins: a VectorHeader's scale and error, and its content hash.
  static constexpr size_t kScaleAndErrorBytes = offsetof(VectorHeader, reserved);
  static constexpr size_t kFineHeaderBytes = kScaleAndErrorBytes + sizeof(ContentHash);

  CodecLayout() = default;
  CodecLayout(Codec codec, Metric metric, uint32_t dimensions);

  [[nodiscard]] Codec codec() const { return codec_; }
  [[nodiscard]] Metric metric() const { return metric_; }
  [[nodiscard]] uint32_t dimensions() const { return dimensions_; }
  [[nodiscard]] Element element() const { return element_; }
  [[nodiscard]] size_t code_size() const { return code_size_; }      // bytes, a multiple of 8; 0: there are no codes
  [[nodiscard]] size_t vector_size() const { return vector_size_; }  // bytes, a multiple of 8
  // How a vector lies in a block: bytes of its two parts, multiples of 4, and of both; no coarse part: it lies there
  // whole.
  [[nodiscard]] size_t coarse_size() const { return coarse_size_; }
  [[nodiscard]] size_t fine_size() const { return stored_size_ - coarse_size_; }
  [[nodiscard]] size_t stored_size() const { return stored_size_; }
  // Entries of a full block: vectors of at most about 256 kB.
  [[nodiscard]] uint32_t entries_per_block() const { return entries_per_block_; }
  [[nodiscard]] const Rotation& rotation() const { return *rotation_; }  // kBit only

  // `vector`: as it was inserted, finite; `stored` has vector_size() bytes.
  void encode_vector(std::span<const float> vector, const ContentHash& hash, std::byte* stored) const;
  // The stored vector.  Encoded again it has the same values, but for the last bit of what half precision calls
  // subnormal.
  void restore_vector(const std::byte* stored, float* vector) const;
  // What lists and codes are made of: the stored vector, under cosine of length 1.
  void decode_vector(const std::byte* stored, float* vector) const;

 private:
  Codec codec_ = Codec::kF32;
  Metric metric_ = Metric::kCosine;
  Element element_ = Element::kFloat32;
  uint32_t dimensions_ = 0;
  size_t code_size_ = 0;
  size_t vector_size_ = 0;
  size_t coarse_size_ = 0;
  size_t stored_size_ = 0;
  uint32_t entries_per_block_ = 1;
  std::shared_ptr<const Rotation> rotation_;
};

// Makes the codes of one list.
class ListCoder {
 public:
  // `centroid` may go away.
  ListCoder(const CodecLayout& layout, const float* centroid);

  // `vector`: from decode_vector(); `code` has code_size() bytes.
  void encode(const float* vector, std::byte* code);

 private:
  void encode_bits(const float* vector, std::byte* code);
  void encode_octets(const float* vector, std::byte* code) const;

  const CodecLayout& layout_;
  std::vector<float> centroid_;
  std::vector<float> rotated_centroid_;  // kBit
  std::vector<float> residual_;          // kBit
};

// A query against codes.  Estimates are of the squared Euclidean distance, under
// cosine of vectors of length 1, or of the negative inner product: lower is nearer.
class CodeQuery {
 public:
  // `query` as lists see it (of length 1 under cosine); it must live as long.
  CodeQuery(const CodecLayout& layout, std::span<const float> query);

  // Before estimate(): the list's centroid, and its score: the squared distance to the query, or the negative inner
  // product.
  void set_list(const float* centroid, float score);
  // lower_bounds[i] is not above the score of vector i, 1-bit codes with high probability; -infinity: it cannot be
  // told.
  void estimate(const std::byte* codes, size_t count, float* estimates, float* lower_bounds) const;

 private:
  const CodecLayout& layout_;
  std::span<const float> query_;
  double query_norm_ = 0;
  QueryVector octet_query_;
  std::vector<uint8_t> octets_;
  BitQuery bit_query_;
};

double norm_of(std::span<const float> vector);  // Euclidean

// Relative rounding error of a float sum over so many products.
float rounding_bound(size_t dimensions);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CODEC_H
