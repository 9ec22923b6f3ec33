// See head.h.
#include "encoder/head.h"

#include "encoder/blas.h"
#include "encoder/kernels.h"

namespace pg_semantic::encoder {

namespace {

// out[rows, outputs] = activation(x[rows, inputs] · weightᵀ + bias)
void apply_linear(const LinearWeights& linear, Activation activation, size_t rows, const float* x, float* out) {
  multiply_transposed({rows, linear.outputs, linear.inputs}, {x, linear.inputs}, {linear.weight, linear.inputs},
                      {out, linear.outputs});
  kernels().add_bias(rows, linear.outputs, linear.bias, activation, out);
}

}  // namespace

const float* transform_hidden(const HeadConfig& config, const HeadWeights& weights, size_t tokens, HeadState* state) {
  const size_t width = weights.output.inputs;
  float* hidden = state->hidden.data();
  if (config.transform) {
    state->transformed.resize(tokens * width);
    apply_linear(weights.transform, config.transform_activation, tokens, hidden, state->transformed.data());
    hidden = state->transformed.data();
  }
  if (config.norm) kernels().add_layer_norm(tokens, width, nullptr, nullptr, weights.norm, hidden);
  return hidden;
}

void compute_logits(const HeadConfig& config, const HeadWeights& weights, size_t tokens, HeadState* state) {
  const float* hidden = transform_hidden(config, weights, tokens, state);
  state->logits.resize(tokens * weights.output.outputs);
  apply_linear(weights.output, Activation::kIdentity, tokens, hidden, state->logits.data());
}

}  // namespace pg_semantic::encoder
