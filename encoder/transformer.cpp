// See transformer.h.  Post-norm encoder layers (Vaswani et al., arXiv 1706.03762,
// section 3.1): x = LN(x + attention(x)); x = LN(x + feed_forward(x)).
#include "encoder/transformer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "encoder/kernels.h"
#include "encoder/thread_pool.h"
#include "encoder/thread_team.h"

namespace pg_semantic::encoder {

namespace {

// Queries of one text that are scored against all its keys at a time: bounds the
// scores' memory for long texts.
constexpr size_t kQueryBlock = 64;

// Panels that a member of a team takes at a time, at least: a register tile's.
constexpr size_t kPanelUnit = 3;
// Rows, at least.
constexpr size_t kRowUnit = 8;

bool quantizes(const ModelWeights& weights) {
  return weights.layers.front().attention_output.weight.storage == TensorStorage::kPackedInt8;
}

size_t padded(size_t outputs) { return (outputs + kPanelOutputs - 1) / kPanelOutputs * kPanelOutputs; }

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

}  // namespace

void TransformerState::reserve(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
                               size_t threads) {
  const size_t tokens = batch.ids.size();
  const auto width = static_cast<size_t>(config.width);
  const auto inner = static_cast<size_t>(config.inner_width());
  const size_t widest = std::max(width, inner);
  const auto feed_forward = static_cast<size_t>(config.feed_forward);
  const auto heads = static_cast<size_t>(config.heads);
  const size_t embeddings = weights.embedding_projection.weight.inputs;
  size_t longest = 0;
  for (size_t text = 0; text < batch.texts(); ++text) longest = std::max(longest, batch.length(text));

  hidden_.at_least(tokens * width);
  embeddings_.at_least(tokens * embeddings);
  if (config.bottleneck_width > 0) bottleneck_.at_least(tokens * inner);
  if (config.shared_bottleneck) shared_bottleneck_.at_least(tokens * inner);
  query_key_value_.at_least(tokens * 3 * inner);
  context_.at_least(tokens * inner);
  projected_.at_least(tokens * widest);
  feed_forward_.at_least(tokens * feed_forward);
  if (config.relative_buckets > 0) distance_bias_.at_least(heads * (2 * longest - 1));
  if (quantizes(weights)) {
    quantized_stride_ = (std::max({widest, feed_forward, embeddings}) + 63) / 64 * 64;
    quantized_.at_least(tokens * quantized_stride_);
    quantized_scales_.at_least(tokens);
    quantized_least_.at_least(tokens);
  }
  if (heads_.size() < threads) heads_.resize(threads);
  const size_t head_width = inner / heads;
  for (size_t i = 0; i < threads; ++i) {
    heads_[i].keys.at_least(padded(longest) * head_width);
    heads_[i].values.at_least(longest * padded(head_width));
    heads_[i].scores.at_least(std::min(longest, kQueryBlock) * longest);
    heads_[i].inverse_sums.at_least(kQueryBlock);
  }
}

// One call of forward() on one of its threads: what it computes on, and its
// steps, whose parts are some of a matrix's columns or rows, or of the heads.
class ForwardPass {
 public:
  ForwardPass(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch, TeamMember& member,
              TransformerState* state)
      : config_(config),
        weights_(weights),
        batch_(batch),
        member_(member),
        state_(*state),
        scratch_(state->heads_[member.rank()]),
        tokens_(batch.ids.size()),
        width_(static_cast<size_t>(config.width)),
        inner_(static_cast<size_t>(config.inner_width())),
        hidden_(state->hidden_.data()),
        query_key_value_(state->query_key_value_.data()),
        context_(state->context_.data()),
        projected_(state->projected_.data()),
        feed_forward_(state->feed_forward_.data()),
        quantized_{state->quantized_.data(), state->quantized_stride_, state->quantized_scales_.data(),
                   state->quantized_least_.data()} {
    for (size_t text = 0; text < batch.texts(); ++text) {
      longest_ = std::max(longest_, batch.length(text));
      attention_work_ += batch.length(text) * batch.keys(text) * static_cast<size_t>(config.heads);
    }
  }

  void embed_tokens() {
    float* const embeddings = state_.embeddings_.data();
    member_.step(1, [&](size_t) {
      gather_words(config_.projects_words || config_.projects_embeddings ? embeddings : hidden_);
      if (config_.relative_buckets > 0) spread_distance_bias();
    });
    if (config_.projects_words) {
      project(weights_.embedding_projection, embeddings, Activation::kIdentity, {hidden_, width_});
      sum_embeddings(hidden_);
    } else if (config_.projects_embeddings) {
      sum_embeddings(embeddings);
      project(weights_.embedding_projection, embeddings, Activation::kIdentity, {hidden_, width_});
    } else {
      sum_embeddings(hidden_);
    }
  }

  void compute_layer(const LayerWeights& layer) {
    float* x = hidden_;
    if (layer.bottleneck.linear.weight.data != nullptr) {
      x = state_.bottleneck_.data();
      narrow(layer.bottleneck, x);
    }
    project_attention_inputs(layer, x);
    attend();
    project(layer.attention_output, context_, Activation::kIdentity, {projected_, inner_});
    add_layer_norm(inner_, projected_, layer.attention_norm, x);

    for (const FeedForwardWeights& network : layer.feed_forwards) {
      project(network.in, x, config_.activation, {feed_forward_, network.in.weight.outputs});
      project(network.out, feed_forward_, Activation::kIdentity, {projected_, inner_});
      add_layer_norm(inner_, projected_, network.norm, x);
    }
    if (layer.output_bottleneck.linear.weight.data == nullptr) return;
    project(layer.output_bottleneck.linear, x, Activation::kIdentity, {projected_, width_});
    add_layer_norm(width_, projected_, layer.output_bottleneck.norm, hidden_);
  }

 private:
  // out = activation(x · weightᵀ + bias), x being [tokens, inputs]
  void project(const PackedLinear& linear, const float* x, Activation activation, Matrix out) {
    const PackedWeights& weight = linear.weight;
    const bool int8 = weight.storage == TensorStorage::kPackedInt8;
    if (int8 && quantized_from_ != x) {
      for_rows([&](Range rows) { quantize(rows, weight.inputs, x); });
      quantized_from_ = nullptr;  // what x holds will change
    }
    const size_t parts = member_.parts((weight.panels() + kPanelUnit - 1) / kPanelUnit);
    member_.step(parts, [&](size_t part) {
      const Range range = part_of(weight.panels(), part, parts, kPanelUnit);
      const PanelRange panels = {range.first, range.last};
      if (int8) {
        k_.multiply_quantized(tokens_, quantized_, weight, panels, linear.bias, activation, out);
      } else {
        k_.multiply_packed(tokens_, {x, weight.inputs}, weight, panels, linear.bias, activation, out);
      }
    });
  }

  // A step whose parts are rows of a matrix.
  template <typename Compute>
  void for_rows(const Compute& compute) {
    const size_t parts = member_.parts(tokens_ / kRowUnit);
    member_.step(parts, [&](size_t part) { compute(part_of(tokens_, part, parts)); });
  }

  void quantize(Range rows, size_t columns, const float* x) const {
    k_.quantize_rows(rows.size(), columns, {x + rows.first * columns, columns},
                     {quantized_.data + rows.first * quantized_.stride, quantized_.stride,
                      quantized_.scales + rows.first, quantized_.least + rows.first});
  }

  // x = LayerNorm(x + delta); delta may be nullptr.  What is normalised is multiplied next.
  void add_layer_norm(size_t columns, const float* delta, const LayerNormWeights& norm, float* x) {
    const bool int8 = quantizes(weights_);
    for_rows([&](Range rows) {
      k_.add_layer_norm(rows.size(), columns, delta == nullptr ? nullptr : delta + rows.first * columns, norm,
                        x + rows.first * columns);
      if (int8) quantize(rows, columns, x);
    });
    if (int8) quantized_from_ = x;
  }

  // out[t] = word[id], or the words next, here and before side by side; none is zeros.
  void gather_words(float* out) const {
    const auto width = static_cast<size_t>(config_.word_width());
    const auto put = [&](size_t text, size_t i, float* to) {
      if (i < batch_.length(text)) {
        weights_.word_embeddings.read(static_cast<size_t>(batch_.ids[batch_.begins[text] + i]), to);
      } else {
        std::fill_n(to, width, 0.0F);
      }
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
  void sum_embeddings(float* out) {
    member_.step(1, [&](size_t) { add_positions(out); });
    add_layer_norm(static_cast<size_t>(config_.summed_width()), nullptr, weights_.embedding_norm, out);
  }

  void add_positions(float* out) const {
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
  }

  // out = norm(linear(hidden))
  void narrow(const BottleneckWeights& bottleneck, float* out) {
    project(bottleneck.linear, hidden_, Activation::kIdentity, {out, inner_});
    add_layer_norm(inner_, nullptr, bottleneck.norm, out);
  }

  // Queries, keys and values of all heads, side by side.
  void project_attention_inputs(const LayerWeights& layer, const float* x) {
    const size_t stride = 3 * inner_;
    const float* from = config_.bottleneck_attention ? x : hidden_;
    if (config_.shared_bottleneck) {
      float* shared = state_.shared_bottleneck_.data();
      narrow(layer.shared_bottleneck, shared);
      project(layer.value, hidden_, Activation::kIdentity, {query_key_value_ + 2 * inner_, stride});
      from = shared;
    }
    project(layer.query_key_value, from, Activation::kIdentity, {query_key_value_, stride});
  }

  // bias[head][longest - 1 + key - query], from the buckets'
  void spread_distance_bias() {
    const auto heads = static_cast<size_t>(config_.heads);
    float* bias = state_.distance_bias_.data();
    for (size_t i = 0; i < 2 * longest_ - 1; ++i) {
      const float* of_bucket = weights_.relative_position_bias + relative_bucket(longest_ - 1, i) * heads;
      for (size_t head = 0; head < heads; ++head) bias[head * (2 * longest_ - 1) + i] = of_bucket[head];
    }
  }

  // context = softmax(q · kᵀ / √d + bias) · v for each head of each text.
  void attend() {
    const size_t heads = static_cast<size_t>(config_.heads);
    const size_t parts = member_.parts(heads * batch_.texts());
    member_.step(
        parts, [&](size_t part) { attend_part(attention_work_ * part / parts, attention_work_ * (part + 1) / parts); });
  }

  // The blocks of queries that begin between `first` and `last`, counted in pairs of a query and a key.
  void attend_part(size_t first, size_t last) const {
    size_t work = 0;
    for (size_t text = 0; text < batch_.texts() && work < last; ++text) {
      const size_t of_head = batch_.length(text) * batch_.keys(text);
      for (size_t head = 0; head < static_cast<size_t>(config_.heads) && work < last; ++head, work += of_head) {
        if (work + of_head <= first) continue;
        bool packed = false;
        for (size_t query = 0; query < batch_.length(text); query += kQueryBlock) {
          const size_t begin = work + query * batch_.keys(text);
          if (begin < first || begin >= last) continue;
          if (!packed) pack_head(text, head);
          packed = true;
          attend(text, head, query, std::min(kQueryBlock, batch_.length(text) - query));
        }
      }
    }
  }

  void pack_head(size_t text, size_t head) const {
    const size_t stride = 3 * inner_;
    const size_t head_width = inner_ / static_cast<size_t>(config_.heads);
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_width)));
    const float* key = query_key_value_ + batch_.begins[text] * stride + inner_ + head * head_width;
    k_.pack_transposed(batch_.keys(text), head_width, scale, {key, stride}, scratch_.keys.data());
    k_.pack(batch_.keys(text), head_width, {key + inner_, stride}, scratch_.values.data());
  }

  // Of `queries` queries from the text's `first` on.
  void attend(size_t text, size_t head, size_t first, size_t queries) const {
    const size_t stride = 3 * inner_;
    const size_t head_width = inner_ / static_cast<size_t>(config_.heads);
    const size_t keys = batch_.keys(text);
    const size_t token = batch_.begins[text] + first;
    float* scores = scratch_.scores.data();
    float* inverse_sums = scratch_.inverse_sums.data();
    k_.multiply_panels({queries, keys, head_width}, {query_key_value_ + token * stride + head * head_width, stride},
                       scratch_.keys.data(), nullptr, {scores, keys});
    if (config_.relative_buckets > 0) {
      const float* bias = state_.distance_bias_.data() + head * (2 * longest_ - 1) + longest_ - 1;
      k_.add_diagonals(queries, keys, bias - first, {scores, keys});
    }
    k_.softmax_numerators(queries, keys, {scores, keys}, inverse_sums);
    k_.multiply_panels({queries, head_width, keys}, {scores, keys}, scratch_.values.data(), inverse_sums,
                       {context_ + token * inner_ + head * head_width, inner_});
  }

  const TransformerConfig& config_;
  const ModelWeights& weights_;
  const TokenBatch& batch_;
  TeamMember& member_;
  const Kernels& k_ = kernels();
  TransformerState& state_;
  TransformerState::HeadScratch& scratch_;
  const size_t tokens_;
  const size_t width_;
  const size_t inner_;
  size_t longest_ = 0;
  size_t attention_work_ = 0;
  float* hidden_;
  float* query_key_value_;
  float* context_;
  float* projected_;
  float* feed_forward_;
  QuantizedRows quantized_;
  const float* quantized_from_ = nullptr;  // what quantized_ holds, if it is up to date
};

Status forward(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
               const ForwardOptions& options, TransformerState* state) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_batch(config, batch));
  if (batch.ids.empty()) return Status::ok();
  const int threads = std::clamp(options.threads, 1, kMaxThreads);
  state->reserve(config, weights, batch, static_cast<size_t>(threads));
  const auto work = [&](TeamMember& member) {
    ForwardPass pass(config, weights, batch, member, state);
    pass.embed_tokens();
    for (const LayerWeights& layer : weights.layers) {
      if (member.rank() == 0 && options.interrupted && options.interrupted()) member.stop();
      if (member.stopped()) return;
      pass.compute_layer(layer);
    }
  };
  const size_t layer_steps = 20 + 5 * weights.layers.front().feed_forwards.size();
  run_team(threads, 10 + layer_steps * weights.layers.size(), &state->steps_, std::cref(work));
  return state->steps_.stopped() ? Status::cancelled() : Status::ok();
}

}  // namespace pg_semantic::encoder
