// See model_tensors.h.
#include "encoder/model_tensors.h"

#include <array>
#include <string_view>

namespace pg_semantic::encoder {

namespace {

struct PublishedNames {
  Architecture architecture;
  std::string_view prefix;
  std::string_view layer;  // before the layer's number
  std::array<std::string_view, 3> query_key_value;
  std::string_view attention_output, attention_norm, feed_forward_in, feed_forward_out, output_norm;
};

constexpr PublishedNames kPublishedNames[] = {
    {Architecture::kDistilBert,
     "distilbert.",
     "transformer.layer.",
     {"attention.q_lin", "attention.k_lin", "attention.v_lin"},
     "attention.out_lin",
     "sa_layer_norm",
     "ffn.lin1",
     "ffn.lin2",
     "output_layer_norm"},
    {Architecture::kBert,
     "bert.",
     "encoder.layer.",
     {"attention.self.query", "attention.self.key", "attention.self.value"},
     "attention.output.dense",
     "attention.output.LayerNorm",
     "intermediate.dense",
     "output.dense",
     "output.LayerNorm"},
};

struct PublishedHead {
  Architecture architecture;
  std::string_view task;
  std::string_view transform;  // of the encoder's own modules where `inner_transform`
  bool inner_transform;
  std::string_view norm;
  std::string_view output;
};

constexpr PublishedHead kPublishedHeads[] = {
    {Architecture::kDistilBert, kSequenceClassification, "pre_classifier", false, "", "classifier"},
    {Architecture::kDistilBert, kMultipleChoice, "pre_classifier", false, "", "classifier"},
    {Architecture::kDistilBert, kTokenClassification, "", false, "", "classifier"},
    {Architecture::kDistilBert, kQuestionAnswering, "", false, "", "qa_outputs"},
    {Architecture::kDistilBert, kFillMask, "vocab_transform", false, "vocab_layer_norm", "vocab_projector"},
    {Architecture::kBert, kSequenceClassification, "pooler.dense", true, "", "classifier"},
    {Architecture::kBert, kMultipleChoice, "pooler.dense", true, "", "classifier"},
    {Architecture::kBert, kTokenClassification, "", false, "", "classifier"},
    {Architecture::kBert, kQuestionAnswering, "", false, "", "qa_outputs"},
    {Architecture::kBert, kFillMask, "cls.predictions.transform.dense", false, "cls.predictions.transform.LayerNorm",
     "cls.predictions.decoder"},
};

const PublishedHead& head_of(Architecture architecture, std::string_view task) {
  for (const PublishedHead& head : kPublishedHeads) {
    if (head.architecture == architecture && head.task == task) return head;
  }
  return kPublishedHeads[0];
}

const PublishedNames& names_of(Architecture architecture) {
  for (const PublishedNames& names : kPublishedNames) {
    if (names.architecture == architecture) return names;
  }
  return kPublishedNames[0];
}

bool is_bias(TensorRole role) {
  switch (role) {
    case TensorRole::kEmbeddingNormBias:
    case TensorRole::kQueryKeyValueBias:
    case TensorRole::kAttentionOutputBias:
    case TensorRole::kAttentionNormBias:
    case TensorRole::kFeedForwardInBias:
    case TensorRole::kFeedForwardOutBias:
    case TensorRole::kOutputNormBias:
    case TensorRole::kDenseBias:
    case TensorRole::kHeadTransformBias:
    case TensorRole::kHeadNormBias:
    case TensorRole::kHeadOutputBias:
      return true;
    default:
      return false;
  }
}

bool is_norm(TensorRole role) {
  switch (role) {
    case TensorRole::kEmbeddingNormWeight:
    case TensorRole::kEmbeddingNormBias:
    case TensorRole::kAttentionNormWeight:
    case TensorRole::kAttentionNormBias:
    case TensorRole::kOutputNormWeight:
    case TensorRole::kOutputNormBias:
    case TensorRole::kHeadNormWeight:
    case TensorRole::kHeadNormBias:
      return true;
    default:
      return false;
  }
}

// The module of a layer that holds the tensor.
std::string_view layer_module(const PublishedNames& names, TensorRole role) {
  switch (role) {
    case TensorRole::kAttentionOutputWeight:
    case TensorRole::kAttentionOutputBias:
      return names.attention_output;
    case TensorRole::kAttentionNormWeight:
    case TensorRole::kAttentionNormBias:
      return names.attention_norm;
    case TensorRole::kFeedForwardInWeight:
    case TensorRole::kFeedForwardInBias:
      return names.feed_forward_in;
    case TensorRole::kFeedForwardOutWeight:
    case TensorRole::kFeedForwardOutBias:
      return names.feed_forward_out;
    default:
      return names.output_norm;
  }
}

}  // namespace

const ModuleConfig& dense_module(const ModelConfig& config, size_t index) {
  const size_t pooled = config.modules.size();
  return index < pooled ? config.modules[index] : config.late_interaction.projections[index - pooled];
}

std::vector<TensorSpec> tensor_plan(const ModelConfig& config) {
  using Role = TensorRole;
  const TransformerConfig& t = config.transformer;
  std::vector<TensorSpec> plan;
  const auto add = [&](Role role, int64_t index, int64_t rows, int64_t columns) {
    plan.push_back({role, static_cast<uint32_t>(index), rows, columns});
  };
  add(Role::kWordEmbeddings, 0, t.vocabulary_size, t.width);
  add(Role::kPositionEmbeddings, 0, t.positions, t.width);
  if (t.token_types > 0) add(Role::kTokenTypeEmbeddings, 0, t.token_types, t.width);
  add(Role::kEmbeddingNormWeight, 0, 1, t.width);
  add(Role::kEmbeddingNormBias, 0, 1, t.width);
  for (int64_t layer = 0; layer < t.layers; ++layer) {
    add(Role::kQueryKeyValueWeight, layer, 3 * t.width, t.width);
    add(Role::kQueryKeyValueBias, layer, 1, 3 * t.width);
    add(Role::kAttentionOutputWeight, layer, t.width, t.width);
    add(Role::kAttentionOutputBias, layer, 1, t.width);
    add(Role::kAttentionNormWeight, layer, 1, t.width);
    add(Role::kAttentionNormBias, layer, 1, t.width);
    add(Role::kFeedForwardInWeight, layer, t.feed_forward, t.width);
    add(Role::kFeedForwardInBias, layer, 1, t.feed_forward);
    add(Role::kFeedForwardOutWeight, layer, t.width, t.feed_forward);
    add(Role::kFeedForwardOutBias, layer, 1, t.width);
    add(Role::kOutputNormWeight, layer, 1, t.width);
    add(Role::kOutputNormBias, layer, 1, t.width);
  }
  for (size_t i = 0; i < config.modules.size() + config.late_interaction.projections.size(); ++i) {
    const ModuleConfig& module = dense_module(config, i);
    if (module.kind != ModuleConfig::Kind::kDense) continue;
    add(Role::kDenseWeight, static_cast<int64_t>(i), module.outputs, module.inputs);
    if (module.bias) add(Role::kDenseBias, static_cast<int64_t>(i), 1, module.outputs);
  }
  const HeadConfig& head = config.head;
  if (head.outputs == 0) return plan;
  if (head.transform) {
    add(Role::kHeadTransformWeight, 0, t.width, t.width);
    add(Role::kHeadTransformBias, 0, 1, t.width);
  }
  if (head.norm) {
    add(Role::kHeadNormWeight, 0, 1, t.width);
    add(Role::kHeadNormBias, 0, 1, t.width);
  }
  if (!head.tied) add(Role::kHeadOutputWeight, 0, head.outputs, t.width);
  add(Role::kHeadOutputBias, 0, 1, head.outputs);
  return plan;
}

std::string published_prefix(Architecture architecture) { return std::string(names_of(architecture).prefix); }

std::string published_vocabulary_projection(Architecture architecture) {
  return std::string(head_of(architecture, kFillMask).output) + ".weight";
}

TensorSource published_source(const ModelConfig& config, const TensorSpec& spec, const std::string& prefix) {
  using Role = TensorRole;
  const PublishedNames& names = names_of(config.transformer.architecture);
  const PublishedHead& head = head_of(config.transformer.architecture, config.task);
  const std::string member = is_bias(spec.role) ? ".bias" : ".weight";
  TensorSource source;
  source.shape = is_bias(spec.role) || is_norm(spec.role) ? std::vector<int64_t>{spec.columns}
                                                          : std::vector<int64_t>{spec.rows, spec.columns};
  const std::string layer = prefix + std::string(names.layer) + std::to_string(spec.index) + ".";
  switch (spec.role) {
    case Role::kWordEmbeddings:
      source.names = {prefix + "embeddings.word_embeddings.weight"};
      break;
    case Role::kPositionEmbeddings:
      source.names = {prefix + "embeddings.position_embeddings.weight"};
      break;
    case Role::kTokenTypeEmbeddings:
      source.names = {prefix + "embeddings.token_type_embeddings.weight"};
      break;
    case Role::kEmbeddingNormWeight:
    case Role::kEmbeddingNormBias:
      source.names = {prefix + "embeddings.LayerNorm" + member};
      break;
    case Role::kQueryKeyValueWeight:
    case Role::kQueryKeyValueBias:
      for (const std::string_view part : names.query_key_value) {
        source.names.push_back(std::string(layer).append(part).append(member));
      }
      source.shape.front() /= 3;
      break;
    case Role::kDenseWeight:
    case Role::kDenseBias:
      source.names = {"linear" + member};
      break;
    case Role::kHeadTransformWeight:
    case Role::kHeadTransformBias:
      source.names = {(head.inner_transform ? prefix : "") + std::string(head.transform) + member};
      break;
    case Role::kHeadNormWeight:
    case Role::kHeadNormBias:
      source.names = {std::string(head.norm) + member};
      break;
    case Role::kHeadOutputWeight:
    case Role::kHeadOutputBias:
      source.names = {std::string(head.output) + member};
      break;
    default:
      source.names = {layer + std::string(layer_module(names, spec.role)) + member};
  }
  return source;
}

ModelWeights weights_of(const ModelConfig& config, std::span<const float* const> tensors) {
  const TransformerConfig& t = config.transformer;
  const auto width = static_cast<size_t>(t.width);
  const auto feed_forward = static_cast<size_t>(t.feed_forward);
  const auto epsilon = static_cast<float>(t.layer_norm_epsilon);
  size_t next = 0;
  const auto take = [&] { return tensors[next++]; };
  const auto take_linear = [&](size_t inputs, size_t outputs) {
    LinearWeights linear;
    linear.inputs = inputs;
    linear.outputs = outputs;
    linear.weight = take();
    linear.bias = take();
    return linear;
  };
  const auto take_norm = [&] {
    const float* weight = take();
    return LayerNormWeights{weight, take(), epsilon};
  };

  ModelWeights weights;
  weights.word_embeddings = take();
  weights.position_embeddings = take();
  if (t.token_types > 0) weights.token_type_embeddings = take();
  weights.embedding_norm = take_norm();
  for (int64_t i = 0; i < t.layers; ++i) {
    LayerWeights& layer = weights.layers.emplace_back();
    layer.query_key_value = take_linear(width, 3 * width);
    layer.attention_output = take_linear(width, width);
    layer.attention_norm = take_norm();
    layer.feed_forward_in = take_linear(width, feed_forward);
    layer.feed_forward_out = take_linear(feed_forward, width);
    layer.output_norm = take_norm();
  }
  const auto take_module = [&](const ModuleConfig& module) {
    LinearWeights linear;
    if (module.kind != ModuleConfig::Kind::kDense) return linear;
    linear.inputs = static_cast<size_t>(module.inputs);
    linear.outputs = static_cast<size_t>(module.outputs);
    linear.weight = take();
    if (module.bias) linear.bias = take();
    return linear;
  };
  for (const ModuleConfig& module : config.modules) weights.modules.push_back(take_module(module));
  for (const ModuleConfig& module : config.late_interaction.projections) {
    weights.token_projections.push_back(take_module(module));
  }
  if (config.head.outputs == 0) return weights;
  HeadWeights& head = weights.head;
  if (config.head.transform) head.transform = take_linear(width, width);
  if (config.head.norm) head.norm = take_norm();
  head.output.inputs = width;
  head.output.outputs = static_cast<size_t>(config.head.outputs);
  head.output.weight = config.head.tied ? weights.word_embeddings : take();
  head.output.bias = take();
  return weights;
}

}  // namespace pg_semantic::encoder
