// The encoder's arithmetic, chosen at run time for the processor.
//
// Four builds of one source (kernels_impl.inc): portable, AVX2, AVX-512, AVX-512
// with VNNI.  They differ in rounding only.  A number depends on its own row and operands, never
// on its place in a vector register or on the rows beside it.
//
// Matrices are row-major fp32; `stride` counts floats from row to row.  No
// alignment is asked for.  NaN and infinity pass through.
//
// Thread safety: pure functions of their arguments.
#ifndef PG_SEMANTIC_ENCODER_KERNELS_H
#define PG_SEMANTIC_ENCODER_KERNELS_H

#include <cstddef>
#include <cstdint>

#include "encoder/cpu_features.h"
#include "encoder/packed_weights.h"

namespace pg_semantic::encoder {

enum class Activation : uint8_t {
  kIdentity,
  kGelu,       // x Φ(x), exact (Hendrycks and Gimpel, arXiv 1606.08415)
  kGeluTanh,   // its tanh approximation: gelu_new, gelu_fast, gelu_pytorch_tanh
  kQuickGelu,  // x σ(1.702 x)
  kRelu,
  kSilu,
  kTanh,
  kSigmoid,
};

// A matrix that is read, or written, by a kernel.
struct ConstMatrix {
  const float* data;
  size_t stride;
};
struct Matrix {
  float* data;
  size_t stride;
};

struct ProductShape {
  size_t rows;     // of the result
  size_t columns;  // of the result
  size_t inner;
};

// Panels first … last - 1 of packed weights.
struct PanelRange {
  size_t first;
  size_t last;
};

// Rows of numbers x ≈ scales[row] · data[row, column] + least[row].
struct QuantizedRows {
  uint8_t* data;  // a row is filled up with zeros to a multiple of 4
  size_t stride;  // at least that
  float* scales;
  float* least;
};

struct LayerNormWeights {
  const float* weight;
  const float* bias;
  float epsilon;
  bool affine_only = false;  // MobileBERT's NoNorm: weight · x + bias, without mean and variance
};

struct Kernels {
  // c[rows, columns] = scale · a[rows, inner] · b[columns, inner]ᵀ
  void (*multiply_transposed)(ProductShape shape, float scale, ConstMatrix a, ConstMatrix b, Matrix c);

  // c[rows, columns] = a[rows, inner] · b[inner, columns]
  void (*multiply)(ProductShape shape, ConstMatrix a, ConstMatrix b, Matrix c);

  // The columns of `range` of c = activation(a[rows, inputs] · weightsᵀ + bias), for weights stored as fp32 or fp16;
  // bias may be nullptr.  c is the matrix of all outputs.
  void (*multiply_packed)(size_t rows, ConstMatrix a, const PackedWeights& weights, PanelRange range, const float* bias,
                          Activation activation, Matrix c);

  // Each row of x by itself: 256 equal steps from its least to its greatest number.
  void (*quantize_rows)(size_t rows, size_t columns, ConstMatrix x, QuantizedRows out);

  // As multiply_packed, for weights stored as int8.
  void (*multiply_quantized)(size_t rows, QuantizedRows a, const PackedWeights& weights, PanelRange range,
                             const float* bias, Activation activation, Matrix c);

  // Panels, laid out as kPackedFloat32 is, of scale · x[rows, columns]: x's rows are the outputs.
  void (*pack_transposed)(size_t rows, size_t columns, float scale, ConstMatrix x, float* panels);

  // The same of x itself: its columns are the outputs.
  void (*pack)(size_t rows, size_t columns, ConstMatrix x, float* panels);

  // c[rows, columns] = a[rows, inner] · panels, a row times row_scales[row] where that is not nullptr.
  void (*multiply_panels)(ProductShape shape, ConstMatrix a, const float* panels, const float* row_scales, Matrix c);

  // out[i] = halves[i], IEEE half precision
  void (*widen)(size_t count, const uint16_t* halves, float* out);

  // x[r, c] = activation(x[r, c] + bias[c]); bias may be nullptr
  void (*add_bias)(size_t rows, size_t columns, const float* bias, Activation activation, float* x);

  // x[r, c] += bias[c - r]: one number for each distance, also negative ones
  void (*add_diagonals)(size_t rows, size_t columns, const float* bias, Matrix x);

  // Each row of x, `columns` long, becomes e^(x - its largest): times inverse_sums[row] that is its softmax.
  void (*softmax_numerators)(size_t rows, size_t columns, Matrix x, float* inverse_sums);

  // x[r] = LayerNorm(x[r] + delta[r]); delta may be nullptr
  void (*add_layer_norm)(size_t rows, size_t columns, const float* delta, const LayerNormWeights& norm, float* x);
};

// The build of `level`; the caller makes sure that the processor has it.
const Kernels& kernels_for(VectorLevel level);

// The best build for this processor.
inline const Kernels& kernels() { return kernels_for(vector_level()); }

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_KERNELS_H
