// Encoding and decoding of vectors and codes (index/FORMAT.md, "Vectors" and "Codes").
#include "index/codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "index/bytes.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kBlockBytes = 256 << 10;
// So that its high byte, rounded, is 127.
constexpr double kLargestShort = 127 * 256;
// The paper's epsilon_0: of how many standard deviations of the estimate its error bound is (section 3.2.2).
constexpr double kErrorDeviations = 1.9;
// Estimates are sums of a few floats.
constexpr float kEstimateRounding = 0x1p-20f;

constexpr size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

size_t element_bytes(Element element) { return element == Element::kFloat32 ? 4 : 2; }

// Rounded up, so that the float is still a bound.
float upper_float(double value) { return std::nextafter(static_cast<float>(value), INFINITY); }

double value_at(Element element, const std::byte* values, size_t i) {
  switch (element) {
    case Element::kFloat32:
      return load<float>(values + i * sizeof(float));
    case Element::kFloat16:
      return float_from_half(load<uint16_t>(values + i * sizeof(uint16_t)));
    case Element::kInt16:
      break;
  }
  return load<int16_t>(values + i * sizeof(int16_t));
}

}  // namespace

double norm_of(std::span<const float> vector) {
  double sums[4] = {};
  for (size_t i = 0; i < vector.size(); ++i) sums[i % 4] += double{vector[i]} * vector[i];
  return std::sqrt((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

float rounding_bound(size_t dimensions) {
  // Portable kernels add in 8 lanes; 2^-23 per addition is generous.
  return 0x1p-23f * (static_cast<float>(dimensions) / 8.0f + 16.0f);
}

CodecLayout::CodecLayout(Codec codec, Metric metric, uint32_t dimensions)
    : codec_(codec), metric_(metric), dimensions_(dimensions) {
  switch (codec) {
    case Codec::kF32:
      element_ = Element::kFloat32;
      break;
    case Codec::kF16:
      element_ = Element::kFloat16;
      break;
    case Codec::kSq8:
      element_ = Element::kInt16;
      code_size_ = kCodeHeaderBytes + round_up(dimensions, 8);
      break;
    case Codec::kBit:
      element_ = Element::kInt16;
      rotation_ = std::make_shared<const Rotation>(dimensions);
      code_size_ = sizeof(BitCodeHeader) + rotation_->rotated_dimensions() / 8;
      break;
  }
  vector_size_ = sizeof(VectorHeader) + round_up(dimensions * element_bytes(element_), 8);
  if (element_ == Element::kInt16) coarse_size_ = sizeof(CoarseHeader) + round_up(dimensions, 4);
  stored_size_ = coarse_size_ > 0 ? coarse_size_ + kFineHeaderBytes + round_up(dimensions, 4) : vector_size_;
  entries_per_block_ = static_cast<uint32_t>(std::clamp<size_t>(kBlockBytes / vector_size_, 16, 512));
}

void CodecLayout::encode_vector(std::span<const float> vector, const ContentHash& hash, std::byte* stored) const {
  std::memset(stored, 0, vector_size_);
  VectorHeader header;
  header.hash = hash;
  std::byte* values = stored + sizeof header;
  float largest = 0;
  for (const float value : vector) largest = std::max(largest, std::fabs(value));
  double squared_error = 0;
  const auto note_error = [&](size_t i) {
    const double error = vector[i] - header.scale * value_at(element_, values, i);
    squared_error += error * error;
  };
  switch (element_) {
    case Element::kFloat32:
      std::memcpy(values, vector.data(), vector.size_bytes());
      break;
    case Element::kFloat16: {
      int exponent = 0;
      std::frexp(largest, &exponent);
      // A power of two keeps the mantissas.
      header.scale = std::ldexp(1.0, exponent);
      for (size_t i = 0; i < vector.size(); ++i) {
        const uint16_t half = half_from_float(static_cast<float>(vector[i] / header.scale));
        std::memcpy(values + i * sizeof half, &half, sizeof half);
        note_error(i);
      }
      break;
    }
    case Element::kInt16: {
      header.scale = largest > 0 ? largest / kLargestShort : 1;
      const double factor = 1 / header.scale;
      for (size_t i = 0; i < vector.size(); ++i) {
        const double rounded = std::clamp(std::nearbyint(vector[i] * factor), -kLargestShort, kLargestShort);
        const auto value = static_cast<int16_t>(rounded);
        std::memcpy(values + i * sizeof value, &value, sizeof value);
        note_error(i);
      }
      break;
    }
  }
  header.error = squared_error > 0 ? upper_float(std::sqrt(squared_error)) : 0;
  std::memcpy(stored, &header, sizeof header);
}

void CodecLayout::restore_vector(const std::byte* stored, float* vector) const {
  const double scale = load<VectorHeader>(stored).scale;
  const std::byte* values = stored + sizeof(VectorHeader);
  for (size_t i = 0; i < dimensions_; ++i) vector[i] = static_cast<float>(scale * value_at(element_, values, i));
}

void CodecLayout::decode_vector(const std::byte* stored, float* vector) const {
  restore_vector(stored, vector);
  if (metric_ == Metric::kCosine) normalise(vector, dimensions_);
}

ListCoder::ListCoder(const CodecLayout& layout, const float* centroid) : layout_(layout) {
  if (layout.codec() != Codec::kBit) return;
  centroid_.assign(centroid, centroid + layout.dimensions());
  rotated_centroid_.resize(layout.rotation().rotated_dimensions());
  residual_.resize(rotated_centroid_.size());
  layout.rotation().apply(centroid, rotated_centroid_.data());
}

void ListCoder::encode(const float* vector, std::byte* code) {
  if (layout_.codec() == Codec::kBit) {
    encode_bits(vector, code);
  } else if (layout_.codec() == Codec::kSq8) {
    encode_octets(vector, code);
  }
}

// With residual r, query q, centroid c, all rotated, and s the signs of r over two:
// |r + c - q|^2 = |r|^2 + |q - c|^2 - 2 <r, q - c>, and <r, q - c> is estimated as
// |r|^2 / <r, s> · <s, q - c> (the paper's equation 9).
void ListCoder::encode_bits(const float* vector, std::byte* code) {
  std::memset(code, 0, layout_.code_size());
  const size_t dimensions = layout_.dimensions(), rotated = residual_.size();
  for (size_t i = 0; i < dimensions; ++i) residual_[i] = vector[i] - centroid_[i];
  std::fill(residual_.begin() + static_cast<std::ptrdiff_t>(dimensions), residual_.end(), 0.0f);
  layout_.rotation().apply(residual_.data(), residual_.data());

  BitCodeHeader header;
  std::byte* bits = code + sizeof header;
  double residual_signs = 0, centroid_signs = 0, residual_centroid = 0, squared = 0;
  for (size_t word = 0; word < rotated / 64; ++word) {
    uint64_t mask = 0;
    for (size_t bit = 0; bit < 64; ++bit) {
      const size_t i = word * 64 + bit;
      const double r = residual_[i], c = rotated_centroid_[i];
      const bool positive = r > 0;
      mask |= uint64_t{positive} << bit;
      residual_signs += std::fabs(r);
      centroid_signs += positive ? c : -c;
      residual_centroid += r * c;
      squared += r * r;
    }
    std::memcpy(bits + word * 8, &mask, sizeof mask);
    header.ones += static_cast<uint32_t>(__builtin_popcountll(mask));
  }
  residual_signs /= 2;
  centroid_signs /= 2;
  if (squared > 0 && residual_signs > 0) {
    const double factor = squared / residual_signs;
    // The cosine of r and its signs, |s| being half the root of their number.
    const double cosine =
        std::min(1.0, residual_signs / (std::sqrt(squared) * std::sqrt(static_cast<double>(rotated)) / 2));
    const double deviation = std::sqrt(squared) * std::sqrt(std::max(0.0, 1 / (cosine * cosine) - 1)) /
                             std::sqrt(static_cast<double>(std::max<size_t>(rotated, 2) - 1));
    if (layout_.metric() == Metric::kInnerProduct) {
      header.add = static_cast<float>(factor * centroid_signs - residual_centroid);
      header.rescale = static_cast<float>(-factor);
      header.error = upper_float(kErrorDeviations * deviation);
    } else {
      header.add = static_cast<float>(squared + 2 * factor * centroid_signs);
      header.rescale = static_cast<float>(-2 * factor);
      header.error = upper_float(2 * kErrorDeviations * deviation);
    }
  }
  std::memcpy(code, &header, sizeof header);
}

void ListCoder::encode_octets(const float* vector, std::byte* code) const {
  std::memset(code, 0, layout_.code_size());
  const size_t dimensions = layout_.dimensions();
  CodeHeader header;
  std::byte* payload = code + kCodeHeaderBytes;
  const auto [least, greatest] = std::minmax_element(vector, vector + dimensions);
  header.offset = *least;
  const double range = double{*greatest} - *least;
  header.scale = static_cast<float>(range / 255.0);
  double squared_error = 0;
  for (size_t i = 0; i < dimensions; ++i) {
    const double steps = header.scale > 0 ? (double{vector[i]} - header.offset) / header.scale : 0;
    const auto octet = static_cast<uint8_t>(std::clamp(std::nearbyint(steps), 0.0, 255.0));
    payload[i] = static_cast<std::byte>(octet);
    const double error = vector[i] - (header.offset + double{header.scale} * octet);
    squared_error += error * error;
  }
  const double norm = norm_of({vector, dimensions});
  // What the kernels multiply and add may be larger than the vector.
  const double magnitude = norm + std::sqrt(static_cast<double>(dimensions)) * (std::fabs(header.offset) + range);
  header.norm = static_cast<float>(norm);
  header.error = upper_float(std::sqrt(squared_error) + rounding_bound(dimensions) * magnitude);
  std::memcpy(code, &header, sizeof header);
}

CodeQuery::CodeQuery(const CodecLayout& layout, std::span<const float> query)
    : layout_(layout), query_(query), query_norm_(norm_of(query)) {
  if (layout.codec() == Codec::kSq8) {
    double sum = 0;
    for (const float value : query) sum += value;
    octet_query_ = {query.data(), query.size(), static_cast<float>(sum)};
  }
  if (layout.codec() != Codec::kBit) return;
  std::vector<float> rotated(layout.rotation().rotated_dimensions());
  layout.rotation().apply(query.data(), rotated.data());
  const auto [least, greatest] = std::minmax_element(rotated.begin(), rotated.end());
  bit_query_.least = *least;
  bit_query_.step = (*greatest - *least) / 255;
  octets_.resize(rotated.size());
  double sum = 0;
  for (size_t i = 0; i < rotated.size(); ++i) {
    sum += rotated[i];
    const float steps = bit_query_.step > 0 ? (rotated[i] - *least) / bit_query_.step : 0;
    octets_[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(steps), 0.0f, 255.0f));
  }
  bit_query_.octets = octets_.data();
  bit_query_.words = rotated.size() / 64;
  bit_query_.half_sum = static_cast<float>(sum / 2);
  // Half of the octets are added up, each rounded by up to half a step.
  bit_query_.rescale_error =
      static_cast<float>(kErrorDeviations * bit_query_.step * std::sqrt(static_cast<double>(rotated.size()) / 24));
}

void CodeQuery::set_list(const float* centroid, float score) {
  if (layout_.codec() != Codec::kBit) return;
  bit_query_.constant = score;
  float squared = score;
  if (layout_.metric() == Metric::kInnerProduct)
    kernels().squared_distance_rows(query_.data(), query_.size(), centroid, 1, &squared);
  bit_query_.error_scale = std::sqrt(std::max(squared, 0.0f));
}

void CodeQuery::estimate(const std::byte* codes, size_t count, float* estimates, float* lower_bounds) const {
  const size_t stride = layout_.code_size();
  const auto set_bound = [&](size_t i, float error) {
    const float bound = estimates[i] - error;
    lower_bounds[i] = std::fabs(bound) <= std::numeric_limits<float>::max() ? bound : -INFINITY;
  };
  if (layout_.codec() == Codec::kBit) {
    kernels().bit_estimates(bit_query_, codes, stride, count, estimates, lower_bounds);
    const float constant = std::fabs(bit_query_.constant);
    for (size_t i = 0; i < count; ++i)
      set_bound(i, lower_bounds[i] + kEstimateRounding * (std::fabs(estimates[i]) + constant));
    return;
  }
  const float rounding = rounding_bound(query_.size());
  if (layout_.metric() == Metric::kInnerProduct) {
    kernels().inner_product(octet_query_, codes, stride, count, estimates);
    for (size_t i = 0; i < count; ++i) {
      const float error = load<CodeHeader>(codes + i * stride).error;
      estimates[i] = -estimates[i];
      set_bound(i, error * static_cast<float>(query_norm_) + 2 * rounding * std::fabs(estimates[i]));
    }
    return;
  }
  kernels().squared_distance(octet_query_, codes, stride, count, estimates);
  for (size_t i = 0; i < count; ++i) {
    const float distance = std::sqrt(estimates[i]);
    const float error =
        load<CodeHeader>(codes + i * stride).error + rounding * (distance + static_cast<float>(query_norm_));
    set_bound(i, error * (2 * distance + error));
  }
}

}  // namespace pg_semantic::index
