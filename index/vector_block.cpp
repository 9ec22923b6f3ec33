// Blocks of stored vectors (index/FORMAT.md, "Block of vectors").
#include "index/vector_block.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "index/bytes.h"
#include "index/records.h"

namespace pg_semantic::index {
namespace {

// The fine part begins with this much of a VectorHeader, its reserved bytes left out; low bytes follow.
constexpr size_t kScaleAndErrorBytes = offsetof(VectorHeader, reserved);
constexpr size_t kFineHeaderBytes = kScaleAndErrorBytes + sizeof(ContentHash);
static_assert(kFineHeaderBytes == CodecLayout::kFineHeaderBytes);

// Estimates add numbers as large as the squared lengths, which were rounded to floats.
constexpr double kEstimateRounding = 0x1p-20;

// Elements a step: a fixed number, so that the compiler makes vector instructions of it.
constexpr size_t kStep = 16;

template <typename Function>
void for_each_element(size_t dimensions, const Function& function) {
  size_t i = 0;
  for (; i + kStep <= dimensions; i += kStep) {
    for (size_t j = 0; j < kStep; ++j) function(i + j);
  }
  for (; i < dimensions; ++i) function(i);
}

// The element is 256 times the high byte plus the low byte, both signed: so the high byte is the rounded element.
struct Halves {
  int8_t high;
  int8_t low;
};
Halves halves_of(int16_t element) {
  const auto high = static_cast<int8_t>((element + 128) >> 8);
  return {high, static_cast<int8_t>(element - high * 256)};
}

CoarseHeader coarse_header(const CodecLayout& layout, double scale, const std::byte* values) {
  int64_t squares = 0, high_squares = 0, low_squares = 0;
  for (size_t i = 0; i < layout.dimensions(); ++i) {
    const auto element = load<int16_t>(values + i * sizeof(int16_t));
    const Halves halves = halves_of(element);
    squares += int32_t{element} * element;
    high_squares += halves.high * halves.high;
    low_squares += halves.low * halves.low;
  }
  const double length = scale * std::sqrt(static_cast<double>(squares));
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
      double{rounding_bound(layout.dimensions())} * 256 * std::sqrt(static_cast<double>(high_squares));
  header.error = static_cast<float>(unit * (std::sqrt(static_cast<double>(low_squares)) + rounding) * (1 + 0x1p-20));
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
  for_each_element(dimensions, [&](size_t j) {
    const auto element = static_cast<int16_t>(static_cast<int8_t>(high[j]) * 256 + static_cast<int8_t>(low[j]));
    std::memcpy(values + j * sizeof element, &element, sizeof element);
  });
  const size_t end = sizeof(VectorHeader) + dimensions * sizeof(int16_t);
  std::memset(buffer + end, 0, layout->vector_size() - end);
  return buffer;
}

std::string encode_vector_block(const CodecLayout& layout, const std::byte* vectors, uint32_t count) {
  std::string value;
  value.reserve(2 * sizeof(uint32_t) + count * layout.stored_size());
  append(value, count);
  append(value, static_cast<uint32_t>(layout.stored_size()));
  if (layout.coarse_size() == 0) {
    value.append(reinterpret_cast<const char*>(vectors), count * layout.vector_size());
    return value;
  }
  value.resize(value.size() + count * layout.stored_size());
  auto* coarse = reinterpret_cast<std::byte*>(value.data()) + 2 * sizeof(uint32_t);
  std::byte* fine = coarse + count * layout.coarse_size();
  for (uint32_t i = 0; i < count; ++i) {
    const std::byte* vector = vectors + i * layout.vector_size();
    const std::byte* values = vector + sizeof(VectorHeader);
    const auto header = load<VectorHeader>(vector);
    const CoarseHeader coarse_of_vector = coarse_header(layout, header.scale, values);
    std::memcpy(coarse, &coarse_of_vector, sizeof coarse_of_vector);
    std::memcpy(fine, vector, kScaleAndErrorBytes);
    std::memcpy(fine + kScaleAndErrorBytes, &header.hash, sizeof header.hash);
    std::byte *high = coarse + sizeof(CoarseHeader), *low = fine + kFineHeaderBytes;
    for_each_element(layout.dimensions(), [&](size_t j) {
      const Halves halves = halves_of(load<int16_t>(values + j * sizeof(int16_t)));
      high[j] = static_cast<std::byte>(halves.high);
      low[j] = static_cast<std::byte>(halves.low);
    });
    coarse += layout.coarse_size();
    fine += layout.fine_size();
  }
  return value;
}

Result<VectorBlockView> decode_vector_block(std::string_view value, const CodecLayout& layout) {
  Result<uint32_t> count =
      decode_block_header(value, "A block of vectors", layout.stored_size(), layout.stored_size(), layout);
  if (!count) return count.status();
  return VectorBlockView{&layout, *count, reinterpret_cast<const std::byte*>(value.data() + 2 * sizeof(uint32_t))};
}

bool coarse_part_is_right(const VectorBlockView& block, uint32_t i, const std::byte* vector) {
  const size_t size = block.layout->coarse_size();
  if (size == 0) return true;
  const std::string value = encode_vector_block(*block.layout, vector, 1);
  const auto right = decode_vector_block(value, *block.layout);
  return right && std::memcmp(right->coarse_part(0), block.coarse_part(i), size) == 0;
}

CoarseQuery::CoarseQuery(const CodecLayout& layout, std::span<const float> query) : query_(query) {
  double squared = 0;
  for (const float value : query) squared += double{value} * value;
  norm_ = std::sqrt(squared);
  if (layout.metric() != Metric::kInnerProduct) constant_ = squared;
}

double CoarseQuery::lower_bound(const std::byte* coarse_part) const {
  const auto header = load<CoarseHeader>(coarse_part);
  const double product = kernels().signed_octets_product(query_.data(), coarse_part + sizeof header, query_.size());
  const double lengths = header.add + constant_;
  const double bound = lengths + header.rescale * product - header.error * norm_ - kEstimateRounding * lengths;
  return std::isfinite(bound) ? bound : -std::numeric_limits<double>::infinity();
}

}  // namespace pg_semantic::index
