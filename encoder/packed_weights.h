// How tensors lie in a model file, and the weights of linear layers as the
// kernels read them.
//
// Packed weights [outputs, inputs] are panels of 16 outputs, the last one filled
// up with zeros:
//
//   kPackedFloat32  [panel][input][16]           fp32
//   kPackedFloat16  [panel][input][16]           IEEE half precision
//   kPackedInt8     [panel][input / 4][16][4]    int8, inputs filled up to a multiple of 4 with zeros; then
//                   [panel][16] fp32 scales and [panel][16] int32 sums of an output's integers
//
// An int8 weight is its integer, -127 to 127, times the scale of its output
// (Jacob et al., arXiv 1712.05877, section 2.1, symmetric).
//
// Thread safety: values and pure functions; a TensorEncoder belongs to one thread.
#ifndef PG_SEMANTIC_ENCODER_PACKED_WEIGHTS_H
#define PG_SEMANTIC_ENCODER_PACKED_WEIGHTS_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "encoder/status.h"

namespace pg_semantic::encoder {

enum class TensorStorage : uint8_t {
  kFloat32,  // row-major
  kFloat16,  // row-major
  kPackedFloat32,
  kPackedFloat16,
  kPackedInt8,
};

inline constexpr size_t kPanelOutputs = 16;

// Bytes of a tensor of rows · columns values (of a linear layer: outputs · inputs).
size_t stored_bytes(TensorStorage storage, size_t rows, size_t columns);

// A view of packed weights.
struct PackedWeights {
  const std::byte* data = nullptr;  // nullptr: there are none
  size_t inputs = 0;
  size_t outputs = 0;
  TensorStorage storage = TensorStorage::kPackedFloat32;

  [[nodiscard]] size_t panels() const { return (outputs + kPanelOutputs - 1) / kPanelOutputs; }

  // Of kPackedInt8.
  [[nodiscard]] size_t input_groups() const { return (inputs + 3) / 4; }
  [[nodiscard]] const float* scales() const {
    return reinterpret_cast<const float*>(data + panels() * kPanelOutputs * 4 * input_groups());
  }
  [[nodiscard]] const int32_t* sums() const {
    return reinterpret_cast<const int32_t*>(scales() + panels() * kPanelOutputs);
  }
};

// Half precision, to nearest, ties to even; a value that is too large becomes infinite.
uint16_t half_from_float(float value);
float float_from_half(uint16_t half);

// Makes a tensor's bytes of its values, which come in the order of its rows.
class TensorEncoder {
 public:
  using Sink = std::function<Status(std::span<const std::byte>)>;

  TensorEncoder(TensorStorage storage, size_t rows, size_t columns, Sink sink);

  // kUnsupported for a value that half precision cannot hold.
  Status append(std::span<const float> values);
  Status finish();  // after rows · columns values

 private:
  Status put_halves(std::span<const float> values);
  Status put_panel();
  Status put_transposed();
  Status put_integers();

  const TensorStorage storage_;
  const size_t columns_;
  const Sink sink_;
  std::vector<float> panel_;  // [16, columns]: rows that wait for their panel to be full
  std::vector<std::byte> bytes_;
  std::vector<float> scales_;
  std::vector<int32_t> sums_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_PACKED_WEIGHTS_H
