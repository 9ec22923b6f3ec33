// See model_tensors.h.
#include "encoder/model_tensors.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace pg_semantic::encoder {

namespace {

using Role = TensorRole;

bool is_norm_weight(Role role) {
  switch (role) {
    case Role::kEmbeddingNormWeight:
    case Role::kAttentionNormWeight:
    case Role::kOutputNormWeight:
    case Role::kHeadNormWeight:
    case Role::kBottleneckNormWeight:
    case Role::kSharedBottleneckNormWeight:
    case Role::kOutputBottleneckNormWeight:
    case Role::kStackedNormWeight:
      return true;
    default:
      return false;
  }
}

// The linear layers that forward() multiplies with.
bool is_packed(Role role) {
  switch (role) {
    case Role::kQueryKeyValueWeight:
    case Role::kQueryKeyWeight:
    case Role::kValueWeight:
    case Role::kAttentionOutputWeight:
    case Role::kFeedForwardInWeight:
    case Role::kFeedForwardOutWeight:
    case Role::kStackedInWeight:
    case Role::kStackedOutWeight:
    case Role::kEmbeddingProjectionWeight:
    case Role::kBottleneckWeight:
    case Role::kSharedBottleneckWeight:
    case Role::kOutputBottleneckWeight:
      return true;
    default:
      return false;
  }
}

TensorStorage storage_of(Role role, const std::string& model_precision) {
  const bool half = model_precision == "fp16";
  const bool int8 = model_precision == "int8";
  if (is_packed(role)) {
    if (int8) return TensorStorage::kPackedInt8;
    return half ? TensorStorage::kPackedFloat16 : TensorStorage::kPackedFloat32;
  }
  return role == Role::kWordEmbeddings && (half || int8) ? TensorStorage::kFloat16 : TensorStorage::kFloat32;
}

// The role of the bias that goes with a weight.
Role following(Role weight) { return static_cast<Role>(static_cast<uint32_t>(weight) + 1); }

// Inputs of the projection of the embeddings.
int64_t projected_width(const TransformerConfig& t) { return (t.trigrams ? 3 : 1) * t.word_width(); }

// Writes the plan; Reader takes the tensors in the same order.
class Planner {
 public:
  explicit Planner(const ModelConfig& config) : config_(config), t_(config.transformer) {}

  std::vector<TensorSpec> plan() {
    add_embeddings();
    for (int64_t layer = 0; layer < t_.stored_layers(); ++layer) add_layer(layer);
    for (size_t i = 0; i < config_.modules.size() + config_.late_interaction.projections.size(); ++i) {
      const ModuleConfig& module = dense_module(config_, i);
      if (module.kind != ModuleConfig::Kind::kDense) continue;
      add(Role::kDenseWeight, static_cast<int64_t>(i), module.outputs, module.inputs);
      if (module.bias) add(Role::kDenseBias, static_cast<int64_t>(i), 1, module.outputs);
    }
    if (config_.head.outputs > 0) add_head(config_.head);
    return std::move(plan_);
  }

 private:
  void add(Role role, int64_t index, int64_t rows, int64_t columns) {
    plan_.push_back({role, static_cast<uint32_t>(index), rows, columns, storage_of(role, config_.model_precision)});
  }

  // A weight, and the bias whose role follows its own.
  void add_linear(Role weight, int64_t index, int64_t outputs, int64_t inputs) {
    add(weight, index, outputs, inputs);
    add(following(weight), index, 1, outputs);
  }

  void add_norm(Role weight, int64_t index, int64_t width) {
    add(weight, index, 1, width);
    add(following(weight), index, 1, width);
  }

  void add_embeddings() {
    add(Role::kWordEmbeddings, 0, t_.vocabulary_size, t_.word_width());
    add(Role::kPositionEmbeddings, 0, t_.positions, t_.summed_width());
    if (t_.token_types > 0) add(Role::kTokenTypeEmbeddings, 0, t_.token_types, t_.summed_width());
    add_norm(Role::kEmbeddingNormWeight, 0, t_.summed_width());
    if (t_.projects_embeddings || t_.projects_words) {
      add_linear(Role::kEmbeddingProjectionWeight, 0, t_.width, projected_width(t_));
    }
    if (t_.relative_buckets > 0) add(Role::kRelativePositionBias, 0, t_.relative_buckets, t_.heads);
  }

  void add_layer(int64_t layer) {
    const int64_t inner = t_.inner_width();
    if (t_.shared_bottleneck) {
      add(Role::kQueryKeyWeight, layer, 2 * inner, inner);
      add(Role::kValueWeight, layer, inner, t_.width);
    } else {
      add(Role::kQueryKeyValueWeight, layer, 3 * inner, inner);
    }
    add(Role::kQueryKeyValueBias, layer, 1, 3 * inner);
    add_linear(Role::kAttentionOutputWeight, layer, inner, inner);
    add_norm(Role::kAttentionNormWeight, layer, inner);
    add_linear(Role::kFeedForwardInWeight, layer, t_.feed_forward, inner);
    add_linear(Role::kFeedForwardOutWeight, layer, inner, t_.feed_forward);
    add_norm(Role::kOutputNormWeight, layer, inner);
    for (int64_t i = layer * (t_.feed_forwards - 1); i < (layer + 1) * (t_.feed_forwards - 1); ++i) {
      add_linear(Role::kStackedInWeight, i, t_.feed_forward, inner);
      add_linear(Role::kStackedOutWeight, i, inner, t_.feed_forward);
      add_norm(Role::kStackedNormWeight, i, inner);
    }
    if (t_.bottleneck_width == 0) return;
    add_linear(Role::kBottleneckWeight, layer, inner, t_.width);
    add_norm(Role::kBottleneckNormWeight, layer, inner);
    if (t_.shared_bottleneck) {
      add_linear(Role::kSharedBottleneckWeight, layer, inner, t_.width);
      add_norm(Role::kSharedBottleneckNormWeight, layer, inner);
    }
    add_linear(Role::kOutputBottleneckWeight, layer, t_.width, inner);
    add_norm(Role::kOutputBottleneckNormWeight, layer, t_.width);
  }

  void add_head(const HeadConfig& head) {
    const int64_t width = head.width > 0 ? head.width : t_.width;
    if (head.transform) add_linear(Role::kHeadTransformWeight, 0, width, t_.width);
    if (head.norm) add_norm(Role::kHeadNormWeight, 0, width);
    if (!head.tied) add(Role::kHeadOutputWeight, 0, head.outputs, width - head.extra_inputs);
    if (head.extra_inputs > 0) add(Role::kHeadExtraWeight, 0, head.extra_inputs, head.outputs);
    add(Role::kHeadOutputBias, 0, 1, head.outputs);
  }

  const ModelConfig& config_;
  const TransformerConfig& t_;
  std::vector<TensorSpec> plan_;
};

// Takes tensors in the order of the plan.
class Reader {
 public:
  Reader(const ModelConfig& config, std::span<const std::byte* const> tensors)
      : config_(config), t_(config.transformer), tensors_(tensors) {}

  ModelWeights read() {
    ModelWeights weights;
    read_embeddings(&weights);
    read_layers(&weights);
    for (const ModuleConfig& module : config_.modules) weights.modules.push_back(take_module(module));
    for (const ModuleConfig& module : config_.late_interaction.projections) {
      weights.token_projections.push_back(take_module(module));
    }
    if (config_.head.outputs > 0) read_head(config_.head, &weights);
    return weights;
  }

 private:
  const float* take() { return reinterpret_cast<const float*>(tensors_[next_++]); }

  MatrixRows take_rows(int64_t columns) { return {tensors_[next_++], static_cast<size_t>(columns), false}; }

  PackedWeights take_packed(int64_t inputs, int64_t outputs) {
    return {tensors_[next_++], static_cast<size_t>(inputs), static_cast<size_t>(outputs),
            storage_of(Role::kQueryKeyValueWeight, config_.model_precision)};
  }

  PackedLinear take_linear(int64_t inputs, int64_t outputs) {
    const PackedWeights weight = take_packed(inputs, outputs);
    return {weight, take()};
  }

  LinearWeights take_module(const ModuleConfig& module) {
    LinearWeights linear;
    if (module.kind != ModuleConfig::Kind::kDense) return linear;
    linear.inputs = static_cast<size_t>(module.inputs);
    linear.outputs = static_cast<size_t>(module.outputs);
    linear.weight = take_rows(module.inputs);
    if (module.bias) linear.bias = take();
    return linear;
  }

  LayerNormWeights take_norm(bool affine_only) {
    const float* weight = take();
    return {weight, take(), static_cast<float>(t_.layer_norm_epsilon), affine_only};
  }

  // MobileBertEmbeddings and MobileBertOutput do not pass layer_norm_eps on: theirs is PyTorch's default.
  LayerNormWeights take_main_norm() {
    LayerNormWeights norm = take_norm(t_.no_norm);
    if (t_.architecture == Architecture::kMobileBert) norm.epsilon = 1e-5F;
    return norm;
  }

  BottleneckWeights take_bottleneck(int64_t inputs, int64_t outputs) {
    const PackedLinear linear = take_linear(inputs, outputs);
    return {linear, take_norm(t_.no_norm)};
  }

  FeedForwardWeights take_feed_forward(bool last) {
    FeedForwardWeights feed_forward;
    feed_forward.in = take_linear(t_.inner_width(), t_.feed_forward);
    feed_forward.out = take_linear(t_.feed_forward, t_.inner_width());
    feed_forward.norm = last ? take_main_norm() : take_norm(t_.no_norm);
    return feed_forward;
  }

  void read_embeddings(ModelWeights* weights) {
    weights->word_embeddings = take_rows(t_.word_width());
    weights->word_embeddings.half =
        storage_of(Role::kWordEmbeddings, config_.model_precision) == TensorStorage::kFloat16;
    weights->position_embeddings = take();
    if (t_.token_types > 0) weights->token_type_embeddings = take();
    weights->embedding_norm = take_main_norm();
    if (t_.projects_embeddings || t_.projects_words) {
      weights->embedding_projection = take_linear(projected_width(t_), t_.width);
    }
    if (t_.relative_buckets > 0) weights->relative_position_bias = take();
  }

  LayerWeights take_layer() {
    const int64_t inner = t_.inner_width();
    LayerWeights layer;
    layer.query_key_value.weight = take_packed(inner, t_.shared_bottleneck ? 2 * inner : 3 * inner);
    if (t_.shared_bottleneck) layer.value.weight = take_packed(t_.width, inner);
    layer.query_key_value.bias = take();
    layer.value.bias = layer.query_key_value.bias + 2 * inner;
    layer.attention_output = take_linear(inner, inner);
    layer.attention_norm = take_norm(t_.no_norm);
    const FeedForwardWeights last = take_feed_forward(true);
    for (int64_t i = 1; i < t_.feed_forwards; ++i) layer.feed_forwards.push_back(take_feed_forward(false));
    layer.feed_forwards.push_back(last);
    if (t_.bottleneck_width == 0) return layer;
    layer.bottleneck = take_bottleneck(t_.width, inner);
    if (t_.shared_bottleneck) layer.shared_bottleneck = take_bottleneck(t_.width, inner);
    layer.output_bottleneck = take_bottleneck(inner, t_.width);
    return layer;
  }

  void read_layers(ModelWeights* weights) {
    std::vector<LayerWeights> stored;
    for (int64_t i = 0; i < t_.stored_layers(); ++i) stored.push_back(take_layer());
    if (t_.layer_groups == 0) {
      weights->layers = std::move(stored);
      return;
    }
    // transformers' AlbertTransformer: the same division, so that the same rounding chooses the group.
    const double in_group = static_cast<double>(t_.layers) / static_cast<double>(t_.layer_groups);
    for (int64_t i = 0; i < t_.layers; ++i) {
      const auto group = std::min(static_cast<int64_t>(static_cast<double>(i) / in_group), t_.layer_groups - 1);
      const auto first = stored.begin() + group * t_.layers_per_group;
      weights->layers.insert(weights->layers.end(), first, first + t_.layers_per_group);
    }
  }

  void read_head(const HeadConfig& config, ModelWeights* weights) {
    HeadWeights& head = weights->head;
    const int64_t width = config.width > 0 ? config.width : t_.width;
    if (config.transform) {
      head.transform.weight = take_rows(t_.width);
      head.transform.bias = take();
      head.transform.inputs = static_cast<size_t>(t_.width);
      head.transform.outputs = static_cast<size_t>(width);
    }
    if (config.norm) head.norm = take_norm(false);
    head.output.inputs = static_cast<size_t>(width - config.extra_inputs);
    head.output.outputs = static_cast<size_t>(config.outputs);
    head.output.weight = config.tied ? weights->word_embeddings : take_rows(width - config.extra_inputs);
    if (config.extra_inputs > 0) head.extra = take();
    head.extra_inputs = static_cast<size_t>(config.extra_inputs);
    head.output.bias = take();
  }

  const ModelConfig& config_;
  const TransformerConfig& t_;
  const std::span<const std::byte* const> tensors_;
  size_t next_ = 0;
};

}  // namespace

const ModuleConfig& dense_module(const ModelConfig& config, size_t index) {
  const size_t pooled = config.modules.size();
  return index < pooled ? config.modules[index] : config.late_interaction.projections[index - pooled];
}

bool is_bias(TensorRole role) {
  switch (role) {
    case Role::kEmbeddingNormBias:
    case Role::kQueryKeyValueBias:
    case Role::kAttentionOutputBias:
    case Role::kAttentionNormBias:
    case Role::kFeedForwardInBias:
    case Role::kFeedForwardOutBias:
    case Role::kOutputNormBias:
    case Role::kDenseBias:
    case Role::kHeadTransformBias:
    case Role::kHeadNormBias:
    case Role::kHeadOutputBias:
    case Role::kEmbeddingProjectionBias:
    case Role::kBottleneckBias:
    case Role::kBottleneckNormBias:
    case Role::kSharedBottleneckBias:
    case Role::kSharedBottleneckNormBias:
    case Role::kOutputBottleneckBias:
    case Role::kOutputBottleneckNormBias:
    case Role::kStackedInBias:
    case Role::kStackedOutBias:
    case Role::kStackedNormBias:
      return true;
    default:
      return false;
  }
}

bool is_vector(TensorRole role) { return is_bias(role) || is_norm_weight(role); }

std::vector<TensorSpec> tensor_plan(const ModelConfig& config) { return Planner(config).plan(); }

const float* MatrixRows::read(size_t first, size_t count, std::vector<float>* scratch) const {
  if (!half) return reinterpret_cast<const float*>(data) + first * columns;
  scratch->resize(count * columns);
  kernels().widen(count * columns, reinterpret_cast<const uint16_t*>(data) + first * columns, scratch->data());
  return scratch->data();
}

void MatrixRows::read(size_t row, float* out) const {
  if (half) {
    kernels().widen(columns, reinterpret_cast<const uint16_t*>(data) + row * columns, out);
  } else {
    std::memcpy(out, data + row * columns * sizeof(float), columns * sizeof(float));
  }
}

ModelWeights weights_of(const ModelConfig& config, std::span<const std::byte* const> tensors) {
  return Reader(config, tensors).read();
}

}  // namespace pg_semantic::encoder
