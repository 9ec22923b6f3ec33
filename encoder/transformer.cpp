// See transformer.h.  Post-norm encoder layers (Vaswani et al., arXiv 1706.03762,
// section 3.1): x = LN(x + attention(x)); x = LN(x + feed_forward(x)).
#include "encoder/transformer.h"

#include <algorithm>
#include <cmath>

#include "encoder/blas.h"
#include "encoder/kernels.h"

namespace pg_semantic::encoder {

namespace {

// Queries of one text that are scored against all its keys at a time: bounds the
// scores' memory for long texts.
constexpr size_t kQueryBlock = 64;

Status check_batch(const TransformerConfig& config, const TokenBatch& batch) {
  for (size_t text = 0; text < batch.texts(); ++text) {
    if (batch.length(text) > static_cast<size_t>(config.positions)) {
      return {StatusCode::kInvalidArgument, "a text has more tokens than the model has positions"};
    }
    if (batch.keys(text) > batch.length(text) || (batch.keys(text) == 0 && batch.length(text) > 0)) {
      return {StatusCode::kInvalidArgument, "a text's tokens attend to none of them, or to more than there are"};
    }
    if (config.token_types == 1 && batch.first_segment(text) < batch.length(text)) {
      return {StatusCode::kUnsupported, "the model does not read pairs of texts",
              "It has one type of tokens; a pair takes two."};
    }
  }
  for (const int32_t id : batch.ids) {
    if (id < 0 || id >= config.vocabulary_size) {
      return {StatusCode::kInvalidArgument, "token id " + std::to_string(id) + " is not in the model's vocabulary"};
    }
  }
  return Status::ok();
}

// hidden[t] = LN(word[id] + position[i] + token_type[0 or 1])
void embed_tokens(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
                  float* hidden) {
  const auto width = static_cast<size_t>(config.width);
  for (size_t text = 0; text < batch.texts(); ++text) {
    for (size_t i = 0; i < batch.length(text); ++i) {
      const size_t token = batch.begins[text] + i;
      const float* word = weights.word_embeddings + static_cast<size_t>(batch.ids[token]) * width;
      const float* position = weights.position_embeddings + i * width;
      float* out = hidden + token * width;
      for (size_t c = 0; c < width; ++c) out[c] = word[c] + position[c];
      if (weights.token_type_embeddings == nullptr) continue;
      const float* type = weights.token_type_embeddings + (i < batch.first_segment(text) ? 0 : width);
      for (size_t c = 0; c < width; ++c) out[c] += type[c];
    }
  }
  kernels().add_layer_norm(batch.ids.size(), width, nullptr, nullptr, weights.embedding_norm, hidden);
}

// out[rows, outputs] = x · weightᵀ, without the bias
void project(const LinearWeights& linear, size_t rows, const float* x, float* out) {
  multiply_transposed({rows, linear.outputs, linear.inputs}, {x, linear.inputs}, {linear.weight, linear.inputs},
                      {out, linear.outputs});
}

// context = softmax(q · kᵀ / √d) · v for each text and head.
void attend(const TransformerConfig& config, const TokenBatch& batch, const float* query_key_value, float* scores,
            float* context) {
  const auto width = static_cast<size_t>(config.width);
  const size_t head_width = width / static_cast<size_t>(config.heads);
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_width)));
  const size_t stride = 3 * width;
  const Kernels& k = kernels();
  for (size_t text = 0; text < batch.texts(); ++text) {
    const size_t length = batch.length(text);
    const size_t keys = batch.keys(text);
    const float* of_text = query_key_value + batch.begins[text] * stride;
    for (size_t head = 0; head < static_cast<size_t>(config.heads); ++head) {
      const float* query = of_text + head * head_width;
      const float* key = query + width;
      const float* value = key + width;
      for (size_t first = 0; first < length; first += kQueryBlock) {
        const size_t queries = std::min(kQueryBlock, length - first);
        k.multiply_transposed({queries, keys, head_width}, scale, {query + first * stride, stride}, {key, stride},
                              {scores, keys});
        k.softmax(queries, keys, {scores, keys});
        k.multiply({queries, head_width, keys}, {scores, keys}, {value, stride},
                   {context + (batch.begins[text] + first) * width + head * head_width, width});
      }
    }
  }
}

template <typename T>
T* at_least(std::vector<T>* buffer, size_t size) {
  if (buffer->size() < size) {
    buffer->clear();  // nothing to carry over
    buffer->resize(size);
  }
  return buffer->data();
}

}  // namespace

Status forward(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
               const Interrupted& interrupted, TransformerState* state) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_batch(config, batch));
  const size_t tokens = batch.ids.size();
  const auto width = static_cast<size_t>(config.width);
  size_t longest = 0;
  for (size_t text = 0; text < batch.texts(); ++text) longest = std::max(longest, batch.length(text));

  float* hidden = at_least(&state->hidden_, tokens * width);
  float* query_key_value = at_least(&state->query_key_value_, tokens * 3 * width);
  float* context = at_least(&state->context_, tokens * width);
  float* projected = at_least(&state->projected_, tokens * width);
  float* feed_forward = at_least(&state->feed_forward_, tokens * static_cast<size_t>(config.feed_forward));
  float* scores = at_least(&state->scores_, std::min(longest, kQueryBlock) * longest);

  const Kernels& k = kernels();
  embed_tokens(config, weights, batch, hidden);
  for (const LayerWeights& layer : weights.layers) {
    if (interrupted && interrupted()) return Status::cancelled();

    project(layer.query_key_value, tokens, hidden, query_key_value);
    k.add_bias(tokens, 3 * width, layer.query_key_value.bias, Activation::kIdentity, query_key_value);
    attend(config, batch, query_key_value, scores, context);
    project(layer.attention_output, tokens, context, projected);
    k.add_layer_norm(tokens, width, projected, layer.attention_output.bias, layer.attention_norm, hidden);

    project(layer.feed_forward_in, tokens, hidden, feed_forward);
    k.add_bias(tokens, layer.feed_forward_in.outputs, layer.feed_forward_in.bias, config.activation, feed_forward);
    project(layer.feed_forward_out, tokens, feed_forward, projected);
    k.add_layer_norm(tokens, width, projected, layer.feed_forward_out.bias, layer.output_norm, hidden);
  }
  return Status::ok();
}

}  // namespace pg_semantic::encoder
