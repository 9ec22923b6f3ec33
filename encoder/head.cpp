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

void compute_logits(const HeadConfig& config, const HeadWeights& weights, size_t tokens, HeadState* state) {
  const LinearWeights& output = weights.output;
  const size_t width = output.inputs + weights.extra_inputs;
  float* hidden = state->hidden.data();
  if (config.transform) {
    state->transformed.resize(tokens * width);
    apply_linear(weights.transform, config.transform_activation, tokens, hidden, state->transformed.data());
    hidden = state->transformed.data();
  }
  if (config.norm) kernels().add_layer_norm(tokens, width, nullptr, nullptr, weights.norm, hidden);

  state->logits.resize(tokens * output.outputs);
  float* logits = state->logits.data();
  multiply_transposed({tokens, output.outputs, output.inputs}, {hidden, width}, {output.weight, output.inputs},
                      {logits, output.outputs});
  if (weights.extra != nullptr) {
    state->extra.resize(tokens * output.outputs);
    kernels().multiply({tokens, output.outputs, weights.extra_inputs}, {hidden + output.inputs, width},
                       {weights.extra, output.outputs}, {state->extra.data(), output.outputs});
    for (size_t i = 0; i < state->extra.size(); ++i) logits[i] += state->extra[i];
  }
  kernels().add_bias(tokens, output.outputs, output.bias, Activation::kIdentity, logits);
}

}  // namespace pg_semantic::encoder
