// See packed_weights.h.
#include "encoder/packed_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

namespace pg_semantic::encoder {

namespace {

constexpr float kLargestInteger = 127;

size_t padded_panels(size_t rows) { return (rows + kPanelOutputs - 1) / kPanelOutputs * kPanelOutputs; }

Status too_large(float value) {
  return {StatusCode::kUnsupported, "a weight is too large for half precision",
          "It is " + std::to_string(value) + "; half precision ends at 65504."};
}

bool fits_half(uint16_t half) { return (half & 0x7fff) < 0x7c00; }

}  // namespace

size_t stored_bytes(TensorStorage storage, size_t rows, size_t columns) {
  switch (storage) {
    case TensorStorage::kFloat32:
      return rows * columns * sizeof(float);
    case TensorStorage::kFloat16:
      return rows * columns * sizeof(uint16_t);
    case TensorStorage::kPackedFloat32:
      return padded_panels(rows) * columns * sizeof(float);
    case TensorStorage::kPackedFloat16:
      return padded_panels(rows) * columns * sizeof(uint16_t);
    case TensorStorage::kPackedInt8:
      return padded_panels(rows) * ((columns + 3) / 4 * 4 + sizeof(float) + sizeof(int32_t));
  }
  return 0;
}

uint16_t half_from_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
  if (magnitude >= 0x47800000) return sign | 0x7c00;  // 65536 and more
  if (magnitude < 0x38800000) {
    // Below 2^-14, the unit is 2^-24: adding 1/2, whose unit that is, rounds.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5F;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded) - 0x3f000000);
  }
  const uint32_t odd = magnitude >> 13 & 1;
  return sign | static_cast<uint16_t>((magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

float float_from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  const bool finite = (half & 0x7c00) != 0x7c00;
  const float value =
      finite ? std::bit_cast<float>(magnitude) * 0x1p112F : std::bit_cast<float>(magnitude | 0x7f800000);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

TensorEncoder::TensorEncoder(TensorStorage storage, size_t rows, size_t columns, Sink sink)
    : storage_(storage), columns_(columns), sink_(std::move(sink)) {
  if (storage == TensorStorage::kFloat32 || storage == TensorStorage::kFloat16) return;
  panel_.reserve(kPanelOutputs * columns);
  if (storage != TensorStorage::kPackedInt8) return;
  scales_.reserve(padded_panels(rows));
  sums_.reserve(padded_panels(rows));
}

Status TensorEncoder::append(std::span<const float> values) {
  if (storage_ == TensorStorage::kFloat32) return sink_(std::as_bytes(values));
  if (storage_ == TensorStorage::kFloat16) return put_halves(values);
  while (!values.empty()) {
    const size_t taken = std::min(values.size(), kPanelOutputs * columns_ - panel_.size());
    panel_.insert(panel_.end(), values.begin(), values.begin() + static_cast<std::ptrdiff_t>(taken));
    values = values.subspan(taken);
    if (panel_.size() == kPanelOutputs * columns_) PG_SEMANTIC_RETURN_IF_ERROR(put_panel());
  }
  return Status::ok();
}

Status TensorEncoder::finish() {
  if (!panel_.empty()) {
    panel_.resize(kPanelOutputs * columns_);
    PG_SEMANTIC_RETURN_IF_ERROR(put_panel());
  }
  if (storage_ != TensorStorage::kPackedInt8) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(sink_(std::as_bytes(std::span(scales_))));
  return sink_(std::as_bytes(std::span(sums_)));
}

Status TensorEncoder::put_halves(std::span<const float> values) {
  bytes_.clear();
  for (const float value : values) {
    const uint16_t half = half_from_float(value);
    if (!fits_half(half)) return too_large(value);
    const auto both = std::as_bytes(std::span(&half, 1));
    bytes_.insert(bytes_.end(), both.begin(), both.end());
  }
  return sink_(bytes_);
}

Status TensorEncoder::put_panel() {
  const Status status = storage_ == TensorStorage::kPackedInt8 ? put_integers() : put_transposed();
  panel_.clear();
  return status;
}

Status TensorEncoder::put_transposed() {
  std::vector<float> transposed(panel_.size());  // [input][16]
  for (size_t o = 0; o < kPanelOutputs; ++o) {
    for (size_t i = 0; i < columns_; ++i) transposed[i * kPanelOutputs + o] = panel_[o * columns_ + i];
  }
  if (storage_ == TensorStorage::kPackedFloat16) return put_halves(transposed);
  return sink_(std::as_bytes(std::span(transposed)));
}

Status TensorEncoder::put_integers() {
  bytes_.assign((columns_ + 3) / 4 * 4 * kPanelOutputs, std::byte{});
  for (size_t o = 0; o < kPanelOutputs; ++o) {
    const float* row = panel_.data() + o * columns_;
    float largest = 0;
    for (size_t i = 0; i < columns_; ++i) largest = std::max(largest, std::fabs(row[i]));
    const float scale = largest / kLargestInteger;
    int32_t sum = 0;
    // Where the scale underflows to 0 the weights are nothing beside any bias.
    for (size_t i = 0; scale > 0 && i < columns_; ++i) {
      const float integer = std::clamp(std::nearbyint(row[i] / scale), -kLargestInteger, kLargestInteger);
      sum += static_cast<int32_t>(integer);
      bytes_[(i / 4 * kPanelOutputs + o) * 4 + i % 4] = static_cast<std::byte>(static_cast<int8_t>(integer));
    }
    scales_.push_back(scale);
    sums_.push_back(sum);
  }
  return sink_(bytes_);
}

}  // namespace pg_semantic::encoder
