// See pooling.h.
#include "encoder/pooling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "encoder/blas.h"
#include "encoder/kernels.h"

namespace pg_semantic::encoder {

namespace {

// sentence-transformers' stand-in for the states that the maximum must not see.
constexpr float kMasked = -1e9F;

void pool_max(const TextStates& text, float* out) {
  std::fill_n(out, text.width, text.skipped > 0 ? kMasked : -INFINITY);
  for (size_t t = text.skipped; t < text.tokens; ++t) {
    const float* state = text.states + t * text.width;
    for (size_t c = 0; c < text.width; ++c) out[c] = std::max(out[c], state[c]);
  }
}

// The sum over the tokens divided by `divisor`; zeros where there is no token.
void pool_sum(const TextStates& text, double divisor, float* out) {
  std::vector<double> sums(text.width);
  for (size_t t = text.skipped; t < text.tokens; ++t) {
    const float* state = text.states + t * text.width;
    for (size_t c = 0; c < text.width; ++c) sums[c] += state[c];
  }
  for (size_t c = 0; c < text.width; ++c) out[c] = static_cast<float>(sums[c] / divisor);
}

// Returns how many floats were written.
size_t pool(const PoolingConfig& pooling, const TextStates& text, float* out) {
  // A count of 0 is 1e-9 there; the sum is then 0 as well.
  const double count = std::max(1.0, static_cast<double>(text.tokens - text.skipped));
  float* next = out;
  if (pooling.cls) {
    std::memcpy(next, text.states, text.width * sizeof(float));
    next += text.width;
  }
  if (pooling.max) {
    pool_max(text, next);
    next += text.width;
  }
  if (pooling.mean) {
    pool_sum(text, count, next);
    next += text.width;
  }
  if (pooling.mean_sqrt_len) {
    pool_sum(text, std::sqrt(count), next);
    next += text.width;
  }
  return static_cast<size_t>(next - out);
}

// torch.nn.functional.normalize: a zero vector stays zero.
void normalize(size_t size, float* x) {
  double squares = 0;
  for (size_t i = 0; i < size; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double scale = 1.0 / std::max(std::sqrt(squares), 1e-12);
  for (size_t i = 0; i < size; ++i) x[i] = static_cast<float>(x[i] * scale);
}

}  // namespace

void sentence_embedding(const ModelConfig& config, const ModelWeights& weights, const TextStates& text,
                        std::vector<float>* scratch, float* out) {
  size_t widest = text.width * static_cast<size_t>(config.pooling.modes());
  for (const LinearWeights& linear : weights.modules) widest = std::max(widest, linear.outputs);
  scratch->resize(2 * widest);
  float* current = scratch->data();
  float* next = current + widest;

  TextStates seen = text;
  seen.skipped = std::min(text.skipped, text.tokens);
  size_t size = pool(config.pooling, seen, current);
  for (size_t i = 0; i < config.modules.size(); ++i) {
    const LinearWeights& linear = weights.modules[i];
    if (config.modules[i].kind == ModuleConfig::Kind::kNormalize) {
      normalize(size, current);
      continue;
    }
    const Kernels& k = kernels();
    k.multiply_transposed({1, linear.outputs, linear.inputs}, 1.0F, {current, linear.inputs},
                          {linear.weight.read(0, linear.outputs, nullptr), linear.inputs}, {next, linear.outputs});
    k.add_bias(1, linear.outputs, linear.bias, config.modules[i].activation, next);
    std::swap(current, next);
    size = linear.outputs;
  }
  std::memcpy(out, current, size * sizeof(float));
}

void project_tokens(const ModelConfig& config, const ModelWeights& weights, size_t tokens, std::vector<float>* states,
                    std::vector<float>* scratch) {
  for (size_t i = 0; i < weights.token_projections.size(); ++i) {
    const LinearWeights& linear = weights.token_projections[i];
    scratch->resize(tokens * linear.outputs);
    multiply_transposed({tokens, linear.outputs, linear.inputs}, {states->data(), linear.inputs},
                        {linear.weight.read(0, linear.outputs, nullptr), linear.inputs},
                        {scratch->data(), linear.outputs});
    kernels().add_bias(tokens, linear.outputs, linear.bias, config.late_interaction.projections[i].activation,
                       scratch->data());
    std::swap(*states, *scratch);
  }
  if (tokens == 0) return;
  const size_t dimensions = states->size() / tokens;
  for (size_t t = 0; t < tokens; ++t) normalize(dimensions, states->data() + t * dimensions);
}

void truncate_embeddings(size_t count, size_t dimensions, size_t kept, float* embeddings) {
  if (kept >= dimensions) return;
  for (size_t i = 1; i < count; ++i) {
    std::memmove(embeddings + i * kept, embeddings + i * dimensions, kept * sizeof(float));
  }
}

}  // namespace pg_semantic::encoder
