// Blocks of stored vectors (index/FORMAT.md, "Block of vectors").
#include "index/vector_block.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "index/bytes.h"
#include "index/records.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kScaleAndErrorBytes = CodecLayout::kScaleAndErrorBytes;
constexpr size_t kFineHeaderBytes = CodecLayout::kFineHeaderBytes;

// Estimates add numbers as large as the squared lengths, which were rounded to floats.
constexpr double kEstimateRounding = 0x1p-20;

// The element is 256 times the high byte plus the low byte, both signed: so the high byte is the rounded element.
int8_t high_of(int16_t element) { return static_cast<int8_t>((element + 128) >> 8); }
int8_t low_of(int16_t element) { return static_cast<int8_t>(element - high_of(element) * 256); }
int16_t element_of(int8_t high, int8_t low) { return static_cast<int16_t>(high * 256 + low); }

// So many elements a step, between arrays of their own: the compiler makes vector instructions of it.
constexpr size_t kStep = 32;

// Elements of one size; a whole step, or what is left at the end.
template <size_t kBytes>
void copy(void* to, const void* from, size_t count) {
  if (count == kStep) {
    std::memcpy(to, from, kStep * kBytes);
  } else {
    std::memcpy(to, from, count * kBytes);
  }
}

void put_together(const std::byte* high, const std::byte* low, size_t count, std::byte* elements) {
  int8_t high_bytes[kStep] = {}, low_bytes[kStep] = {};
  int16_t whole[kStep];
  for (size_t i = 0; i < count; i += kStep) {
    const size_t step = std::min(kStep, count - i);
    copy<1>(high_bytes, high + i, step);
    copy<1>(low_bytes, low + i, step);
    for (size_t j = 0; j < kStep; ++j) whole[j] = element_of(high_bytes[j], low_bytes[j]);
    copy<2>(elements + i * sizeof(int16_t), whole, step);
  }
}

// Of the high and low bytes of a vector.
struct ProductSums {
  int64_t high_high = 0, high_low = 0, low_low = 0;
};

ProductSums take_apart(const std::byte* elements, size_t count, std::byte* high, std::byte* low) {
  int16_t whole[kStep] = {};
  int8_t high_bytes[kStep], low_bytes[kStep];
  ProductSums sums;
  for (size_t i = 0; i < count; i += kStep) {
    const size_t step = std::min(kStep, count - i);
    copy<2>(whole, elements + i * sizeof(int16_t), step);
    std::fill(whole + step, whole + kStep, int16_t{0});
    for (size_t j = 0; j < kStep; ++j) {
      high_bytes[j] = high_of(whole[j]);
      low_bytes[j] = low_of(whole[j]);
    }
    copy<1>(high + i, high_bytes, step);
    copy<1>(low + i, low_bytes, step);
    int32_t high_high = 0, high_low = 0, low_low = 0;
    for (size_t j = 0; j < kStep; ++j) {
      high_high += high_bytes[j] * high_bytes[j];
      high_low += high_bytes[j] * low_bytes[j];
      low_low += low_bytes[j] * low_bytes[j];
    }
    sums.high_high += high_high;
    sums.high_low += high_low;
    sums.low_low += low_low;
  }
  return sums;
}

CoarseHeader coarse_header(const CodecLayout& layout, double scale, const ProductSums& sums) {
  const auto squares = static_cast<double>(65536 * sums.high_high + 512 * sums.high_low + sums.low_low);
  const double length = scale * std::sqrt(squares);
  // Of a unit of the elements in the estimate, whose product with the query is what is not known exactly.
  double unit = 0;
  CoarseHeader header;
  switch (layout.metric()) {
    case Metric::kCosine:
      unit = length > 0 ? 2 * scale / length : 0;
      header.add = 1;
      break;
    case Metric::kL2:
      unit = 2 * scale;
      header.add = static_cast<float>(length * length);
      break;
    case Metric::kInnerProduct:
      unit = scale;
      break;
  }
  header.rescale = static_cast<float>(-256 * unit);
  const double rounding =
      double{rounding_bound(layout.dimensions())} * 256 * std::sqrt(static_cast<double>(sums.high_high));
  header.error = static_cast<float>(unit * (std::sqrt(static_cast<double>(sums.low_low)) + rounding) * (1 + 0x1p-20));
  return header;
}

}  // namespace

const std::byte* VectorBlockView::vector(uint32_t i, std::byte* buffer) const {
  if (layout->coarse_size() == 0) return vectors + i * layout->vector_size();
  const std::byte* high = coarse_part(i) + sizeof(CoarseHeader);
  const std::byte* fine = vectors + count * layout->coarse_size() + i * layout->fine_size();
  const std::byte* low = fine + kFineHeaderBytes;
  std::memset(buffer, 0, sizeof(VectorHeader));
  std::memcpy(buffer, fine, kScaleAndErrorBytes);
  std::memcpy(buffer + offsetof(VectorHeader, hash), fine + kScaleAndErrorBytes, sizeof(ContentHash));
  std::byte* values = buffer + sizeof(VectorHeader);
  const size_t dimensions = layout->dimensions();
  put_together(high, low, dimensions, values);
  const size_t end = sizeof(VectorHeader) + dimensions * sizeof(int16_t);
  std::memset(buffer + end, 0, layout->vector_size() - end);
  return buffer;
}

std::string encode_vector_block(const CodecLayout& layout, const std::byte* vectors, uint32_t count) {
  std::string value;
  value.reserve(kBlockHeaderBytes + count * layout.stored_size());
  append(value, count);
  append(value, static_cast<uint32_t>(layout.stored_size()));
  if (layout.coarse_size() == 0) {
    value.append(reinterpret_cast<const char*>(vectors), count * layout.vector_size());
    return value;
  }
  value.resize(value.size() + count * layout.stored_size());
  auto* coarse = reinterpret_cast<std::byte*>(value.data()) + kBlockHeaderBytes;
  std::byte* fine = coarse + count * layout.coarse_size();
  for (uint32_t i = 0; i < count; ++i) {
    const std::byte* vector = vectors + i * layout.vector_size();
    const std::byte* values = vector + sizeof(VectorHeader);
    const auto header = load<VectorHeader>(vector);
    const ProductSums sums =
        take_apart(values, layout.dimensions(), coarse + sizeof(CoarseHeader), fine + kFineHeaderBytes);
    const CoarseHeader coarse_of_vector = coarse_header(layout, header.scale, sums);
    std::memcpy(coarse, &coarse_of_vector, sizeof coarse_of_vector);
    std::memcpy(fine, vector, kScaleAndErrorBytes);
    std::memcpy(fine + kScaleAndErrorBytes, &header.hash, sizeof header.hash);
    coarse += layout.coarse_size();
    fine += layout.fine_size();
  }
  return value;
}

Result<VectorBlockView> decode_vector_block(std::string_view value, const CodecLayout& layout) {
  Result<uint32_t> count =
      decode_block_header(value, "A block of vectors", layout.stored_size(), layout.stored_size(), layout);
  if (!count) return count.status();
  return VectorBlockView{&layout, *count, reinterpret_cast<const std::byte*>(value.data() + kBlockHeaderBytes)};
}

bool coarse_part_is_right(const VectorBlockView& block, uint32_t i, const std::byte* vector) {
  const size_t size = block.layout->coarse_size();
  if (size == 0) return true;
  const std::string value = encode_vector_block(*block.layout, vector, 1);
  const auto right = decode_vector_block(value, *block.layout);
  return right && std::memcmp(right->coarse_part(0), block.coarse_part(i), size) == 0;
}

CoarseQuery::CoarseQuery(const CodecLayout& layout, std::span<const float> query)
    : query_(query), norm_(norm_of(query)), constant_(layout.metric() == Metric::kInnerProduct ? 0 : norm_ * norm_) {}

double CoarseQuery::lower_bound(const std::byte* coarse_part) const {
  const auto header = load<CoarseHeader>(coarse_part);
  const double product = kernels().signed_octets_product(query_.data(), coarse_part + sizeof header, query_.size());
  const double lengths = header.add + constant_;
  const double bound = lengths + header.rescale * product - header.error * norm_ - kEstimateRounding * lengths;
  return std::isfinite(bound) ? bound : -std::numeric_limits<double>::infinity();
}

}  // namespace pg_semantic::index
