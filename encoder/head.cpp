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
  const size_t width = weights.output.inputs + weights.extra_inputs;
  float* hidden = state->hidden.data();
  if (config.transform) {
    state->transformed.resize(tokens * width);
    apply_linear(weights.transform, config.transform_activation, tokens, hidden, state->transformed.data());
    hidden = state->transformed.data();
  }
  if (config.norm) kernels().add_layer_norm(tokens, width, nullptr, nullptr, weights.norm, hidden);
  return hidden;
}

void project_outputs(const HeadWeights& weights, OutputRange range, size_t tokens, const float* hidden,
                     std::vector<float>* scratch, float* logits) {
  const LinearWeights& output = weights.output;
  const size_t width = output.inputs + weights.extra_inputs;
  multiply_transposed({tokens, range.count, output.inputs}, {hidden, width},
                      {output.weight + range.first * output.inputs, output.inputs}, {logits, range.count});
  if (weights.extra != nullptr) {
    scratch->resize(tokens * range.count);
    kernels().multiply({tokens, range.count, weights.extra_inputs}, {hidden + output.inputs, width},
                       {weights.extra + range.first, output.outputs}, {scratch->data(), range.count});
    for (size_t i = 0; i < scratch->size(); ++i) logits[i] += (*scratch)[i];
  }
  const float* bias = output.bias == nullptr ? nullptr : output.bias + range.first;
  kernels().add_bias(tokens, range.count, bias, Activation::kIdentity, logits);
}

void compute_logits(const HeadConfig& config, const HeadWeights& weights, size_t tokens, HeadState* state) {
  const float* hidden = transform_hidden(config, weights, tokens, state);
  state->logits.resize(tokens * weights.output.outputs);
  project_outputs(weights, {0, weights.output.outputs}, tokens, hidden, &state->extra, state->logits.data());
}

}  // namespace pg_semantic::encoder
