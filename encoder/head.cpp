// See head.h.
#include "encoder/head.h"

#include <algorithm>

#include "encoder/blas.h"
#include "encoder/kernels.h"

namespace pg_semantic::encoder {

namespace {

// Outputs whose weights are widened at a time, where they are fp16.
constexpr size_t kOutputBlock = 1024;

// out[rows, outputs] = activation(x[rows, inputs] · weightᵀ + bias)
void apply_linear(const LinearWeights& linear, Activation activation, size_t rows, const float* x, float* out) {
  std::vector<float> widened;
  const float* weight = linear.weight.read(0, linear.outputs, &widened);
  multiply_transposed({rows, linear.outputs, linear.inputs}, {x, linear.inputs}, {weight, linear.inputs},
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
  if (config.norm) kernels().add_layer_norm(tokens, width, nullptr, weights.norm, hidden);
  return hidden;
}

void project_outputs(const HeadWeights& weights, OutputRange range, size_t tokens, const float* hidden,
                     std::vector<float>* scratch, float* logits) {
  const LinearWeights& output = weights.output;
  const size_t width = output.inputs + weights.extra_inputs;
  std::vector<float> widened;
  for (size_t first = 0; first < range.count; first += kOutputBlock) {
    const size_t count = std::min(kOutputBlock, range.count - first);
    const float* weight = output.weight.read(range.first + first, count, &widened);
    multiply_transposed({tokens, count, output.inputs}, {hidden, width}, {weight, output.inputs},
                        {logits + first, range.count});
  }
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
