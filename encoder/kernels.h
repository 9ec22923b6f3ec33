// The encoder's arithmetic, chosen at run time for the processor.
//
// Three builds of one source (kernels_impl.inc): portable, AVX2, AVX-512.  They
// differ in rounding only.  A number depends on its own row and operands, never
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

  // x[r, c] = activation(x[r, c] + bias[c]); bias may be nullptr
  void (*add_bias)(size_t rows, size_t columns, const float* bias, Activation activation, float* x);

  // x[r, c] += bias[c - r]: one number for each distance, also negative ones
  void (*add_diagonals)(size_t rows, size_t columns, const float* bias, Matrix x);

  // Each row of x, `columns` long, becomes its softmax (numbers ≥ 0 that add up to 1).
  void (*softmax)(size_t rows, size_t columns, Matrix x);

  // x[r] = LayerNorm(x[r] + delta[r] + delta_bias); delta and delta_bias may be nullptr together
  void (*add_layer_norm)(size_t rows, size_t columns, const float* delta, const float* delta_bias,
                         const LayerNormWeights& norm, float* x);
};

// The build of `level`; the caller makes sure that the processor has it.
const Kernels& kernels_for(VectorLevel level);

// The best build for this processor.
inline const Kernels& kernels() { return kernels_for(vector_level()); }

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_KERNELS_H
