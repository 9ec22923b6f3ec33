// See transformer.h.  Post-norm encoder layers (Vaswani et al., arXiv 1706.03762,
// section 3.1): x = LN(x + attention(x)); x = LN(x + feed_forward(x)).
#include "encoder/transformer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "encoder/blas.h"
#include "encoder/kernels.h"

namespace pg_semantic::encoder {

namespace {

// Queries of one text that are scored against all its keys at a time: bounds the
// scores' memory for long texts.
constexpr size_t kQueryBlock = 64;

Status check_batch(const TransformerConfig& config, const TokenBatch& batch) {
  for (size_t text = 0; text < batch.texts(); ++text) {
    if (batch.length(text) > static_cast<size_t>(config.usable_positions())) {
      return {StatusCode::kInvalidArgument, "a text has more tokens than the model has positions"};
    }
    if (batch.keys(text) > batch.length(text) || (batch.keys(text) == 0 && batch.length(text) > 0)) {
      return {StatusCode::kInvalidArgument, "a text's tokens attend to none of them, or to more than there are"};
    }
    // RoBERTa reads pairs, all of the one type.
    if (config.token_types == 1 && config.architecture != Architecture::kRoberta &&
        batch.first_segment(text) < batch.length(text)) {
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

// out[rows, outputs] = x · weightᵀ, without the bias
void project(const LinearWeights& linear, size_t rows, const float* x, Matrix out) {
  multiply_transposed({rows, linear.outputs, linear.inputs}, {x, linear.inputs}, {linear.weight, linear.inputs}, out);
}

// Raffel et al., arXiv 1910.10683, section 2.1, as MPNet computes it with 32 buckets: half of them for
// each direction; of these half for a distance each, the others for distances that grow by √2 from
// bucket to bucket, the last from 91 on.
size_t relative_bucket(size_t query, size_t key) {
  constexpr size_t kHalf = kRelativeBuckets / 2;
  constexpr size_t kExact = kHalf / 2;
  const size_t direction = key > query ? kHalf : 0;
  const size_t distance = key > query ? key - query : query - key;
  if (distance < kExact) return direction + distance;
  size_t bucket = kExact;
  for (size_t square = 2 * kExact * kExact; bucket + 1 < kHalf && distance * distance >= square; square *= 2) ++bucket;
  return direction + bucket;
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

// One call of forward(): what it computes on, and its steps.
class ForwardPass {
 public:
  ForwardPass(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
              TransformerState* state)
      : config_(config),
        weights_(weights),
        batch_(batch),
        state_(*state),
        tokens_(batch.ids.size()),
        width_(static_cast<size_t>(config.width)),
        inner_(static_cast<size_t>(config.inner_width())),
        hidden_(at_least(&state->hidden_, tokens_ * width_)),
        query_key_value_(at_least(&state->query_key_value_, tokens_ * 3 * inner_)),
        context_(at_least(&state->context_, tokens_ * inner_)),
        projected_(at_least(&state->projected_, tokens_ * std::max(width_, inner_))),
        feed_forward_(at_least(&state->feed_forward_, tokens_ * static_cast<size_t>(config.feed_forward))) {
    for (size_t text = 0; text < batch.texts(); ++text) longest_ = std::max(longest_, batch.length(text));
    scores_ = at_least(&state->scores_, std::min(longest_, kQueryBlock) * longest_);
  }

  void embed_tokens() {
    if (config_.projects_words) {
      float* words = at_least(&state_.embeddings_, tokens_ * weights_.embedding_projection.inputs);
      gather_words(words);
      project_embeddings(words);
      sum_embeddings(hidden_);
    } else if (config_.projects_embeddings) {
      float* sums = at_least(&state_.embeddings_, tokens_ * weights_.embedding_projection.inputs);
      gather_words(sums);
      sum_embeddings(sums);
      project_embeddings(sums);
    } else {
      gather_words(hidden_);
      sum_embeddings(hidden_);
    }
    if (config_.relative_buckets > 0) spread_distance_bias();
  }

  void compute_layer(const LayerWeights& layer) {
    float* x = hidden_;
    if (layer.bottleneck.linear.weight != nullptr) {
      x = at_least(&state_.bottleneck_, tokens_ * inner_);
      narrow(layer.bottleneck, x);
    }
    project_attention_inputs(layer, x);
    for (size_t text = 0; text < batch_.texts(); ++text) attend(text);
    project(layer.attention_output, tokens_, context_, {projected_, inner_});
    k_.add_layer_norm(tokens_, inner_, projected_, layer.attention_output.bias, layer.attention_norm, x);

    for (const FeedForwardWeights& network : layer.feed_forwards) {
      project(network.in, tokens_, x, {feed_forward_, network.in.outputs});
      k_.add_bias(tokens_, network.in.outputs, network.in.bias, config_.activation, feed_forward_);
      project(network.out, tokens_, feed_forward_, {projected_, inner_});
      k_.add_layer_norm(tokens_, inner_, projected_, network.out.bias, network.norm, x);
    }
    if (layer.output_bottleneck.linear.weight == nullptr) return;
    const auto& [linear, norm] = layer.output_bottleneck;
    project(linear, tokens_, x, {projected_, width_});
    k_.add_layer_norm(tokens_, width_, projected_, linear.bias, norm, hidden_);
  }

 private:
  // out[t] = word[id], or the words next, here and before side by side; none is zeros.
  void gather_words(float* out) const {
    const auto width = static_cast<size_t>(config_.word_width());
    const auto put = [&](size_t text, size_t i, float* to) {
      const float* word = nullptr;
      if (i < batch_.length(text)) {
        word = weights_.word_embeddings + static_cast<size_t>(batch_.ids[batch_.begins[text] + i]) * width;
      }
      for (size_t c = 0; c < width; ++c) to[c] = word == nullptr ? 0 : word[c];
    };
    for (size_t text = 0; text < batch_.texts(); ++text) {
      for (size_t i = 0; i < batch_.length(text); ++i) {
        if (config_.trigrams) put(text, i + 1, std::exchange(out, out + width));
        put(text, i, std::exchange(out, out + width));
        if (config_.trigrams) put(text, i - 1, std::exchange(out, out + width));  // before the first: past any length
      }
    }
  }

  // out[t] = LN(out[t] + position[…] + token_type[0 or 1])
  void sum_embeddings(float* out) const {
    const auto width = static_cast<size_t>(config_.summed_width());
    for (size_t text = 0; text < batch_.texts(); ++text) {
      auto next_position = static_cast<size_t>(config_.padding_index + 1);
      for (size_t i = 0; i < batch_.length(text); ++i) {
        const size_t token = batch_.begins[text] + i;
        const bool padding = batch_.ids[token] == config_.padding_index;
        const size_t row = padding ? static_cast<size_t>(config_.padding_index) : next_position++;
        const float* position = weights_.position_embeddings + row * width;
        float* sum = out + token * width;
        for (size_t c = 0; c < width; ++c) sum[c] += position[c];
        if (weights_.token_type_embeddings == nullptr) continue;
        const bool second = config_.token_types > 1 && i >= batch_.first_segment(text);
        const float* type = weights_.token_type_embeddings + (second ? width : 0);
        for (size_t c = 0; c < width; ++c) sum[c] += type[c];
      }
    }
    k_.add_layer_norm(tokens_, width, nullptr, nullptr, weights_.embedding_norm, out);
  }

  void project_embeddings(const float* embeddings) const {
    project(weights_.embedding_projection, tokens_, embeddings, {hidden_, width_});
    k_.add_bias(tokens_, width_, weights_.embedding_projection.bias, Activation::kIdentity, hidden_);
  }

  // out = norm(linear(hidden))
  void narrow(const BottleneckWeights& bottleneck, float* out) const {
    project(bottleneck.linear, tokens_, hidden_, {out, inner_});
    k_.add_bias(tokens_, inner_, bottleneck.linear.bias, Activation::kIdentity, out);
    k_.add_layer_norm(tokens_, inner_, nullptr, nullptr, bottleneck.norm, out);
  }

  // Queries, keys and values of all heads, side by side.
  void project_attention_inputs(const LayerWeights& layer, const float* x) {
    const size_t stride = 3 * inner_;
    const float* from = config_.bottleneck_attention ? x : hidden_;
    if (config_.shared_bottleneck) {
      float* shared = at_least(&state_.shared_bottleneck_, tokens_ * inner_);
      narrow(layer.shared_bottleneck, shared);
      project(layer.value, tokens_, hidden_, {query_key_value_ + 2 * inner_, stride});
      from = shared;
    }
    project(layer.query_key_value, tokens_, from, {query_key_value_, stride});
    k_.add_bias(tokens_, stride, layer.query_key_value.bias, Activation::kIdentity, query_key_value_);
  }

  // bias[head][longest - 1 + key - query], from the buckets'
  void spread_distance_bias() {
    const auto heads = static_cast<size_t>(config_.heads);
    float* bias = at_least(&state_.distance_bias_, heads * (2 * longest_ - 1));
    for (size_t i = 0; i < 2 * longest_ - 1; ++i) {
      const float* of_bucket = weights_.relative_position_bias + relative_bucket(longest_ - 1, i) * heads;
      for (size_t head = 0; head < heads; ++head) bias[head * (2 * longest_ - 1) + i] = of_bucket[head];
    }
  }

  // context = softmax(q · kᵀ / √d + bias) · v for each head of a text.
  void attend(size_t text) const {
    const size_t heads = static_cast<size_t>(config_.heads);
    const size_t head_width = inner_ / heads;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_width)));
    const size_t stride = 3 * inner_;
    const size_t length = batch_.length(text);
    const size_t keys = batch_.keys(text);
    for (size_t head = 0; head < heads; ++head) {
      const float* query = query_key_value_ + batch_.begins[text] * stride + head * head_width;
      const float* key = query + inner_;
      const float* value = key + inner_;
      for (size_t first = 0; first < length; first += kQueryBlock) {
        const size_t queries = std::min(kQueryBlock, length - first);
        k_.multiply_transposed({queries, keys, head_width}, scale, {query + first * stride, stride}, {key, stride},
                               {scores_, keys});
        if (config_.relative_buckets > 0) {
          const float* bias = state_.distance_bias_.data() + head * (2 * longest_ - 1) + longest_ - 1;
          k_.add_diagonals(queries, keys, bias - first, {scores_, keys});
        }
        k_.softmax(queries, keys, {scores_, keys});
        k_.multiply({queries, head_width, keys}, {scores_, keys}, {value, stride},
                    {context_ + (batch_.begins[text] + first) * inner_ + head * head_width, inner_});
      }
    }
  }

  const TransformerConfig& config_;
  const ModelWeights& weights_;
  const TokenBatch& batch_;
  const Kernels& k_ = kernels();
  TransformerState& state_;
  const size_t tokens_;
  const size_t width_;
  const size_t inner_;
  size_t longest_ = 0;
  float* hidden_;
  float* query_key_value_;
  float* context_;
  float* projected_;
  float* feed_forward_;
  float* scores_;
};

Status forward(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
               const Interrupted& interrupted, TransformerState* state) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_batch(config, batch));
  if (batch.ids.empty()) return Status::ok();
  ForwardPass pass(config, weights, batch, state);
  pass.embed_tokens();
  for (const LayerWeights& layer : weights.layers) {
    if (interrupted && interrupted()) return Status::cancelled();
    pass.compute_layer(layer);
  }
  return Status::ok();
}

}  // namespace pg_semantic::encoder
