// Encoding and decoding of posting codes (index/FORMAT.md, "Codes").
#include "index/codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "index/bytes.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kBlockBytes = 8192;

size_t payload_bytes(Codec codec, size_t dimensions) {
  switch (codec) {
    case Codec::kF32:
      return dimensions * 4;
    case Codec::kF16:
      return dimensions * 2;
    case Codec::kSq8:
      return dimensions;
  }
  return 0;
}

// Rounded up, so that the float is still a bound.
float upper_float(double value) { return std::nextafter(static_cast<float>(value), INFINITY); }

}  // namespace

float rounding_bound(size_t dimensions) {
  // Portable kernels add in 8 lanes; 2^-23 per addition is generous.
  return 0x1p-23f * (static_cast<float>(dimensions) / 8.0f + 16.0f);
}

CodecLayout::CodecLayout(Codec codec, uint32_t dimensions) : codec_(codec), dimensions_(dimensions) {
  code_size_ = kCodeHeaderBytes + (payload_bytes(codec, dimensions) + 7) / 8 * 8;
  entries_per_block_ = static_cast<uint32_t>(std::clamp<size_t>(kBlockBytes / (code_size_ + sizeof(RowId)), 8, 256));
}

void CodecLayout::encode(std::span<const float> vector, std::byte* code) const {
  std::memset(code, 0, code_size_);
  CodeHeader header;
  std::byte* payload = code + kCodeHeaderBytes;
  double squared_error = 0, squared_norm = 0;
  double magnitude = 0;  // bounds the norm of what the kernels multiply and add
  for (const float value : vector) squared_norm += double{value} * value;
  switch (codec_) {
    case Codec::kF32:
      std::memcpy(payload, vector.data(), vector.size_bytes());
      break;
    case Codec::kF16: {
      float largest = 0;
      for (const float value : vector) largest = std::max(largest, std::fabs(value));
      int exponent = 0;
      std::frexp(largest, &exponent);
      // A power of two keeps the mantissas; its reciprocal must be a float too.
      header.scale = std::ldexp(1.0f, std::clamp(exponent, -126, 126));
      for (size_t i = 0; i < vector.size(); ++i) {
        const uint16_t half = half_from_float(vector[i] / header.scale);
        std::memcpy(payload + i * sizeof half, &half, sizeof half);
        const double error = vector[i] - double{header.scale} * float_from_half(half);
        squared_error += error * error;
      }
      break;
    }
    case Codec::kSq8: {
      const auto [least, greatest] = std::minmax_element(vector.begin(), vector.end());
      header.offset = *least;
      const double range = double{*greatest} - *least;
      header.scale = static_cast<float>(range / 255.0);
      for (size_t i = 0; i < vector.size(); ++i) {
        const double steps = header.scale > 0 ? (double{vector[i]} - header.offset) / header.scale : 0;
        const auto octet = static_cast<uint8_t>(std::clamp(std::nearbyint(steps), 0.0, 255.0));
        payload[i] = static_cast<std::byte>(octet);
        const double error = vector[i] - (header.offset + double{header.scale} * octet);
        squared_error += error * error;
      }
      magnitude = std::sqrt(static_cast<double>(vector.size())) * (std::fabs(header.offset) + range);
      break;
    }
  }
  const double norm = std::sqrt(squared_norm);
  header.norm = static_cast<float>(norm);
  header.error = upper_float(std::sqrt(squared_error) + rounding_bound(vector.size()) * (norm + magnitude));
  std::memcpy(code, &header, sizeof header);
}

void CodecLayout::decode(const std::byte* code, float* vector) const {
  const auto header = load<CodeHeader>(code);
  const std::byte* payload = code + kCodeHeaderBytes;
  for (uint32_t i = 0; i < dimensions_; ++i) {
    switch (codec_) {
      case Codec::kF32:
        vector[i] = load<float>(payload + i * sizeof(float));
        break;
      case Codec::kF16:
        vector[i] = header.scale * float_from_half(load<uint16_t>(payload + i * sizeof(uint16_t)));
        break;
      case Codec::kSq8:
        vector[i] = header.offset + header.scale * static_cast<float>(static_cast<uint8_t>(payload[i]));
        break;
    }
  }
}

}  // namespace pg_semantic::index
