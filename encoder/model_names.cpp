// See model_names.h.  The names are those of transformers' classes.
#include "encoder/model_names.h"

#include <array>
#include <utility>

namespace pg_semantic::encoder {

namespace {

using Role = TensorRole;

// Of the modules that hold weights and biases.
struct PublishedNames {
  Architecture architecture;
  std::string_view prefix;
  std::string_view layer;  // before the layer's number
  std::array<std::string_view, 3> query_key_value;
  std::string_view attention_output, attention_norm, feed_forward_in, feed_forward_out, output_norm;
  std::string_view embedding_projection = "";
};

constexpr std::array<std::string_view, 3> kSelfAttention = {"attention.self.query", "attention.self.key",
                                                            "attention.self.value"};

// BERT's names, which most of its descendants kept.
constexpr PublishedNames bert_like(Architecture architecture, std::string_view prefix,
                                   std::string_view embedding_projection = "") {
  return {architecture,
          prefix,
          "encoder.layer.",
          kSelfAttention,
          "attention.output.dense",
          "attention.output.LayerNorm",
          "intermediate.dense",
          "output.dense",
          "output.LayerNorm",
          embedding_projection};
}

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
    bert_like(Architecture::kBert, "bert."),
    bert_like(Architecture::kRoberta, "roberta."),
    bert_like(Architecture::kElectra, "electra.", "embeddings_project"),
    bert_like(Architecture::kMobileBert, "mobilebert.", "embeddings.embedding_transformation"),
    {Architecture::kMpnet,
     "mpnet.",
     "encoder.layer.",
     {"attention.attn.q", "attention.attn.k", "attention.attn.v"},
     "attention.attn.o",
     "attention.LayerNorm",
     "intermediate.dense",
     "output.dense",
     "output.LayerNorm"},
    {Architecture::kAlbert,
     "albert.",
     "encoder.albert_layer_groups.",
     {"attention.query", "attention.key", "attention.value"},
     "attention.dense",
     "attention.LayerNorm",
     "ffn",
     "ffn_output",
     "full_layer_layer_norm",
     "encoder.embedding_hidden_mapping_in"},
};

struct PublishedHead {
  Architecture architecture;
  std::string_view task;
  std::string_view transform;  // "": none
  bool inner_transform;        // the transform is one of the encoder's own modules
  std::optional<Activation> activation;
  std::string_view norm;  // "": none
  std::string_view output;
};

constexpr std::nullopt_t kOwnActivation = std::nullopt;

constexpr PublishedHead kPublishedHeads[] = {
    {Architecture::kDistilBert, kSequenceClassification, "pre_classifier", false, Activation::kRelu, "", "classifier"},
    {Architecture::kDistilBert, kMultipleChoice, "pre_classifier", false, Activation::kRelu, "", "classifier"},
    {Architecture::kDistilBert, kFillMask, "vocab_transform", false, kOwnActivation, "vocab_layer_norm",
     "vocab_projector"},
    {Architecture::kBert, kSequenceClassification, "pooler.dense", true, Activation::kTanh, "", "classifier"},
    {Architecture::kBert, kMultipleChoice, "pooler.dense", true, Activation::kTanh, "", "classifier"},
    {Architecture::kBert, kFillMask, "cls.predictions.transform.dense", false, kOwnActivation,
     "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"},
    {Architecture::kRoberta, kSequenceClassification, "classifier.dense", false, Activation::kTanh, "",
     "classifier.out_proj"},
    {Architecture::kRoberta, kMultipleChoice, "pooler.dense", true, Activation::kTanh, "", "classifier"},
    {Architecture::kRoberta, kFillMask, "lm_head.dense", false, Activation::kGelu, "lm_head.layer_norm",
     "lm_head.decoder"},
    {Architecture::kElectra, kSequenceClassification, "classifier.dense", false, Activation::kGelu, "",
     "classifier.out_proj"},
    {Architecture::kElectra, kMultipleChoice, "sequence_summary.summary", false, Activation::kGelu, "", "classifier"},
    {Architecture::kElectra, kFillMask, "generator_predictions.dense", false, Activation::kGelu,
     "generator_predictions.LayerNorm", "generator_lm_head"},
    {Architecture::kMpnet, kSequenceClassification, "classifier.dense", false, Activation::kTanh, "",
     "classifier.out_proj"},
    {Architecture::kMpnet, kMultipleChoice, "pooler.dense", true, Activation::kTanh, "", "classifier"},
    {Architecture::kMpnet, kFillMask, "lm_head.dense", false, Activation::kGelu, "lm_head.layer_norm",
     "lm_head.decoder"},
    {Architecture::kAlbert, kSequenceClassification, "pooler", true, Activation::kTanh, "", "classifier"},
    {Architecture::kAlbert, kMultipleChoice, "pooler", true, Activation::kTanh, "", "classifier"},
    {Architecture::kAlbert, kFillMask, "predictions.dense", false, kOwnActivation, "predictions.LayerNorm",
     "predictions.decoder"},
    {Architecture::kMobileBert, kSequenceClassification, "pooler.dense", true, Activation::kTanh, "", "classifier"},
    {Architecture::kMobileBert, kMultipleChoice, "pooler.dense", true, Activation::kTanh, "", "classifier"},
    {Architecture::kMobileBert, kFillMask, "cls.predictions.transform.dense", false, kOwnActivation,
     "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"},
};

// The same in every family.
constexpr PublishedHead kTokenHead = {{}, kTokenClassification, "", false, kOwnActivation, "", "classifier"};
constexpr PublishedHead kAnswerHead = {{}, kQuestionAnswering, "", false, kOwnActivation, "", "qa_outputs"};

const PublishedHead& head_of(Architecture architecture, std::string_view task) {
  for (const PublishedHead& head : kPublishedHeads) {
    if (head.architecture == architecture && head.task == task) return head;
  }
  return task == kQuestionAnswering ? kAnswerHead : kTokenHead;
}

const PublishedNames& names_of(Architecture architecture) {
  for (const PublishedNames& names : kPublishedNames) {
    if (names.architecture == architecture) return names;
  }
  return kPublishedNames[0];
}

// "encoder.layer.3.": of the layer, or layer of a shared group, that is stored as number `index`.
std::string layer_name(const TransformerConfig& t, const PublishedNames& names, uint32_t index) {
  const std::string layer(names.layer);
  if (t.layer_groups == 0) return layer + std::to_string(index) + ".";
  const auto in_group = static_cast<uint32_t>(t.layers_per_group);
  return layer + std::to_string(index / in_group) + ".albert_layers." + std::to_string(index % in_group) + ".";
}

// The module of a layer that holds a tensor; "" for tensors of no layer.
std::string_view layer_module(const PublishedNames& names, Role role) {
  switch (role) {
    case Role::kAttentionOutputWeight:
    case Role::kAttentionOutputBias:
      return names.attention_output;
    case Role::kAttentionNormWeight:
    case Role::kAttentionNormBias:
      return names.attention_norm;
    case Role::kFeedForwardInWeight:
    case Role::kFeedForwardInBias:
      return names.feed_forward_in;
    case Role::kFeedForwardOutWeight:
    case Role::kFeedForwardOutBias:
      return names.feed_forward_out;
    case Role::kOutputNormWeight:
    case Role::kOutputNormBias:
      return names.output_norm;
    case Role::kValueWeight:
      return names.query_key_value[2];
    case Role::kBottleneckWeight:
    case Role::kBottleneckBias:
      return "bottleneck.input.dense";
    case Role::kBottleneckNormWeight:
    case Role::kBottleneckNormBias:
      return "bottleneck.input.LayerNorm";
    case Role::kSharedBottleneckWeight:
    case Role::kSharedBottleneckBias:
      return "bottleneck.attention.dense";
    case Role::kSharedBottleneckNormWeight:
    case Role::kSharedBottleneckNormBias:
      return "bottleneck.attention.LayerNorm";
    case Role::kOutputBottleneckWeight:
    case Role::kOutputBottleneckBias:
      return "output.bottleneck.dense";
    case Role::kOutputBottleneckNormWeight:
    case Role::kOutputBottleneckNormBias:
      return "output.bottleneck.LayerNorm";
    default:
      return "";
  }
}

// Of the feed-forward networks before a layer's last one.
std::string_view stacked_module(Role role) {
  switch (role) {
    case Role::kStackedInWeight:
    case Role::kStackedInBias:
      return "intermediate.dense";
    case Role::kStackedOutWeight:
    case Role::kStackedOutBias:
      return "output.dense";
    case Role::kStackedNormWeight:
    case Role::kStackedNormBias:
      return "output.LayerNorm";
    default:
      return "";
  }
}

// A module of the encoder outside its layers.
std::string_view encoder_module(const PublishedNames& names, Role role) {
  switch (role) {
    case Role::kWordEmbeddings:
      return "embeddings.word_embeddings";
    case Role::kPositionEmbeddings:
      return "embeddings.position_embeddings";
    case Role::kTokenTypeEmbeddings:
      return "embeddings.token_type_embeddings";
    case Role::kEmbeddingNormWeight:
    case Role::kEmbeddingNormBias:
      return "embeddings.LayerNorm";
    case Role::kEmbeddingProjectionWeight:
    case Role::kEmbeddingProjectionBias:
      return names.embedding_projection;
    case Role::kRelativePositionBias:
      return "encoder.relative_attention_bias";
    default:
      return "";
  }
}

std::string head_module(const PublishedHead& head, Role role, const std::string& prefix) {
  switch (role) {
    case Role::kHeadTransformWeight:
    case Role::kHeadTransformBias:
      return (head.inner_transform ? prefix : "") + std::string(head.transform);
    case Role::kHeadNormWeight:
    case Role::kHeadNormBias:
      return std::string(head.norm);
    case Role::kHeadExtraWeight:
      return "cls.predictions.dense";
    default:
      return std::string(head.output);
  }
}

}  // namespace

std::string published_prefix(Architecture architecture) { return std::string(names_of(architecture).prefix); }

std::string published_vocabulary_projection(Architecture architecture) {
  return std::string(head_of(architecture, kFillMask).output) + ".weight";
}

HeadShape published_head_shape(Architecture architecture, std::string_view task) {
  const PublishedHead& head = head_of(architecture, task);
  return {!head.transform.empty(), head.activation, !head.norm.empty()};
}

TensorSource published_source(const ModelConfig& config, const TensorSpec& spec, const std::string& prefix) {
  const TransformerConfig& t = config.transformer;
  const PublishedNames& names = names_of(t.architecture);
  const std::string member = is_bias(spec.role) ? ".bias" : ".weight";
  TensorSource source;
  source.shape =
      is_vector(spec.role) ? std::vector<int64_t>{spec.columns} : std::vector<int64_t>{spec.rows, spec.columns};
  if (const std::string_view module = encoder_module(names, spec.role); !module.empty()) {
    source.names = {prefix + std::string(module) + member};
  } else if (const std::string_view of_layer = layer_module(names, spec.role); !of_layer.empty()) {
    source.names = {prefix + layer_name(t, names, spec.index) + std::string(of_layer) + member};
  } else if (const std::string_view stacked = stacked_module(spec.role); !stacked.empty()) {
    const auto in_layer = static_cast<uint32_t>(t.feed_forwards - 1);
    source.names = {prefix + layer_name(t, names, spec.index / in_layer) + "ffn." +
                    std::to_string(spec.index % in_layer) + "." + std::string(stacked) + member};
  } else if (spec.role == Role::kQueryKeyValueWeight || spec.role == Role::kQueryKeyValueBias ||
             spec.role == Role::kQueryKeyWeight) {
    const size_t parts = spec.role == Role::kQueryKeyWeight ? 2 : 3;
    for (size_t i = 0; i < parts; ++i) {
      source.names.push_back(
          (prefix + layer_name(t, names, spec.index)).append(names.query_key_value[i]).append(member));
    }
    source.shape.front() /= static_cast<int64_t>(parts);
  } else if (spec.role == Role::kDenseWeight || spec.role == Role::kDenseBias) {
    source.names = {"linear" + member};
  } else {
    source.names = {head_module(head_of(t.architecture, config.task), spec.role, prefix) + member};
  }
  return source;
}

}  // namespace pg_semantic::encoder
