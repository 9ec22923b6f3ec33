// See transformer_config.h.  Keys and defaults are those of transformers'
// configuration classes (BertConfig, ElectraConfig, …).
#include "encoder/transformer_config.h"

#include <initializer_list>

#include "encoder/config_files.h"
#include "encoder/json.h"

namespace pg_semantic::encoder {

namespace {

using nlohmann::json;

// What config.json calls each number, the published name first.
struct Keys {
  std::initializer_list<const char*> width, layers, heads, feed_forward;
  const char* activation;
};

const Keys kBertKeys = {
    {"hidden_size"}, {"num_hidden_layers"}, {"num_attention_heads"}, {"intermediate_size"}, "hidden_act"};
const Keys kDistilBertKeys = {{"dim", "hidden_size"},
                              {"n_layers", "num_hidden_layers"},
                              {"n_heads", "num_attention_heads"},
                              {"hidden_dim"},
                              "activation"};

struct Family {
  std::string_view model_type;
  std::string_view class_prefix;  // of the names in "architectures"
  const Keys& keys;
  TransformerConfig defaults;
};

const Family kFamilies[] = {
    {"bert", "Bert", kBertKeys, {.architecture = Architecture::kBert}},
    {"distilbert",
     "DistilBert",
     kDistilBertKeys,
     {.architecture = Architecture::kDistilBert, .token_types = 0, .layers = 6}},
    {"roberta",
     "Roberta",
     kBertKeys,
     {.architecture = Architecture::kRoberta, .vocabulary_size = 50265, .padding_index = 1}},
    {"xlm-roberta", "XLMRoberta", kBertKeys, {.architecture = Architecture::kRoberta, .padding_index = 1}},
    {"camembert", "Camembert", kBertKeys, {.architecture = Architecture::kRoberta, .padding_index = 1}},
    {"electra",
     "Electra",
     kBertKeys,
     {.architecture = Architecture::kElectra, .width = 256, .heads = 4, .feed_forward = 1024, .embedding_width = 128}},
    {"mpnet",
     "MPNet",
     kBertKeys,
     {.architecture = Architecture::kMpnet,
      .vocabulary_size = 30527,
      .token_types = 0,
      .padding_index = 1,  // not pad_token_id: MPNetEmbeddings has the number
      .relative_buckets = kRelativeBuckets}},
    {"albert",
     "Albert",
     kBertKeys,
     {.architecture = Architecture::kAlbert,
      .vocabulary_size = 30000,
      .width = 4096,
      .heads = 64,
      .feed_forward = 16384,
      .activation = Activation::kGeluTanh,
      .embedding_width = 128,
      .projects_embeddings = true,
      .layer_groups = 1}},
    {"mobilebert",
     "MobileBert",
     kBertKeys,
     {.architecture = Architecture::kMobileBert,
      .width = 512,
      .layers = 24,
      .heads = 4,
      .feed_forward = 512,
      .activation = Activation::kRelu,
      .embedding_width = 128,
      .trigrams = true,
      .bottleneck_width = 128,
      .shared_bottleneck = true,
      .feed_forwards = 4,
      .no_norm = true}},
};

std::string first_architecture(const json& config) {
  const json* names = json_member(config, "architectures");
  if (names == nullptr || !names->is_array() || names->empty() || !names->front().is_string()) return "";
  return names->front().get<std::string>();
}

// "bert", "distilbert", …
std::string supported_types() {
  std::string list;
  for (const Family& family : kFamilies) list += (list.empty() ? "\"" : ", \"") + std::string(family.model_type) + "\"";
  return list;
}

Result<const Family*> find_family(const json& config, const std::string& path) {
  const Result<std::optional<std::string>> type = json_string(config, "model_type", path);
  if (!type) return type.status();
  const std::string architecture = first_architecture(config);
  for (const Family& family : kFamilies) {
    if (type->has_value() ? **type == family.model_type : architecture.starts_with(family.class_prefix)) {
      return &family;
    }
  }
  if (type->value_or("").starts_with("deberta") || (!type->has_value() && architecture.starts_with("Deberta"))) {
    return unsupported(path,
                       "Its model_type is \"" + type->value_or("deberta") +
                           "\"; DeBERTa takes disentangled attention, which scores contents and relative positions "
                           "apart, and that is not computed here.",
                       "The model types that work are " + supported_types() + ".");
  }
  return unsupported(
      path, "Its model_type is \"" + type->value_or("") + "\"; the supported ones are " + supported_types() + ".");
}

// Things that change what the encoder computes, and that we do not compute.
Status refuse_variants(const json& config, const std::string& path) {
  bool decoder = false;
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "is_decoder", path, &decoder));
  if (decoder) return unsupported(path, "It is a decoder (\"is_decoder\" is true).");
  const Result<std::optional<std::string>> positions = json_string(config, "position_embedding_type", path);
  if (!positions) return positions.status();
  if (positions->value_or("absolute") != "absolute") {
    return unsupported(path, "Its position_embedding_type is \"" + **positions + "\"; only \"absolute\" is supported.");
  }
  const json* pruned = json_member(config, "pruned_heads");
  if (pruned != nullptr && !pruned->empty()) return unsupported(path, "It has pruned attention heads.");
  return Status::ok();
}

Status read_distilbert(const json& config, const std::string& path, TransformerConfig* t) {
  return take_bool(config, "sinusoidal_pos_embds", path, &t->sinusoidal_positions);
}

Status read_roberta(const json& config, const std::string& path, TransformerConfig* t) {
  return take_integer(config, {"pad_token_id"}, path, &t->padding_index);
}

// ElectraModel projects its embeddings where their size is not the hidden size.
Status read_electra(const json& config, const std::string& path, TransformerConfig* t) {
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"embedding_size"}, path, &t->embedding_width));
  t->projects_embeddings = t->embedding_width != t->width;
  return Status::ok();
}

Status read_mpnet(const json& config, const std::string& path, TransformerConfig* t) {
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"relative_attention_num_buckets"}, path, &t->relative_buckets));
  if (t->relative_buckets == kRelativeBuckets) return Status::ok();
  return unsupported(path, "Its relative_attention_num_buckets is " + std::to_string(t->relative_buckets) + "; only " +
                               std::to_string(kRelativeBuckets) + " is supported.");
}

Status read_albert(const json& config, const std::string& path, TransformerConfig* t) {
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"embedding_size"}, path, &t->embedding_width));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"num_hidden_groups"}, path, &t->layer_groups));
  if (t->layer_groups < 1) return corrupt(path, "The value of \"num_hidden_groups\" must be at least 1.");
  return take_integer(config, {"inner_group_num"}, path, &t->layers_per_group);
}

Status read_mobilebert(const json& config, const std::string& path, TransformerConfig* t) {
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"embedding_size"}, path, &t->embedding_width));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "trigram_input", path, &t->trigrams));
  t->projects_words = t->trigrams || t->embedding_width != t->width;
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"num_feedforward_networks"}, path, &t->feed_forwards));
  bool bottleneck = true;
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "use_bottleneck", path, &bottleneck));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"intra_bottleneck_size"}, path, &t->bottleneck_width));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "use_bottleneck_attention", path, &t->bottleneck_attention));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "key_query_shared_bottleneck", path, &t->shared_bottleneck));
  if (!bottleneck) {
    t->bottleneck_width = 0;
    t->bottleneck_attention = t->shared_bottleneck = false;
  } else if (t->bottleneck_width < 1) {
    return corrupt(path, "The value of \"intra_bottleneck_size\" must be at least 1.");
  }
  if (t->bottleneck_attention) t->shared_bottleneck = false;
  const Result<std::optional<std::string>> norm = json_string(config, "normalization_type", path);
  if (!norm) return norm.status();
  const std::string name = norm->value_or("no_norm");
  t->no_norm = name == "no_norm";
  if (t->no_norm || name == "layer_norm") return Status::ok();
  return unsupported(path, "Its normalization_type is \"" + name + "\".");
}

// What only this family's configuration has.
Status read_variations(const json& config, const std::string& path, TransformerConfig* t) {
  switch (t->architecture) {
    case Architecture::kDistilBert:
      return read_distilbert(config, path, t);
    case Architecture::kBert:
      return Status::ok();
    case Architecture::kRoberta:
      return read_roberta(config, path, t);
    case Architecture::kElectra:
      return read_electra(config, path, t);
    case Architecture::kMpnet:
      return read_mpnet(config, path, t);
    case Architecture::kAlbert:
      return read_albert(config, path, t);
    case Architecture::kMobileBert:
      return read_mobilebert(config, path, t);
  }
  return Status::ok();
}

}  // namespace

Status read_transformer(const json& config, const std::string& path, ModelConfig* model) {
  if (!config.is_object()) return corrupt(path, "It is not a JSON object.");
  const Result<const Family*> family = find_family(config, path);
  if (!family) return family.status();
  PG_SEMANTIC_RETURN_IF_ERROR(refuse_variants(config, path));

  const Keys& keys = (*family)->keys;
  TransformerConfig& t = model->transformer;
  t = (*family)->defaults;
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"vocab_size"}, path, &t.vocabulary_size));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"max_position_embeddings"}, path, &t.positions));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, keys.width, path, &t.width));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, keys.layers, path, &t.layers));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, keys.heads, path, &t.heads));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, keys.feed_forward, path, &t.feed_forward));
  if (t.token_types > 0) {
    PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"type_vocab_size"}, path, &t.token_types));
    if (t.token_types < 1) return corrupt(path, "The value of \"type_vocab_size\" must be at least 1.");
  }
  if (t.architecture != Architecture::kDistilBert) {
    const Result<std::optional<double>> epsilon = json_number(config, "layer_norm_eps", path);
    if (!epsilon) return epsilon.status();
    t.layer_norm_epsilon = epsilon->value_or(t.layer_norm_epsilon);
  }
  const Result<std::optional<std::string>> name = json_string(config, keys.activation, path);
  if (!name) return name.status();
  if (name->has_value()) {
    const std::optional<Activation> activation = activation_from_name(**name);
    if (!activation) return unsupported(path, "Its activation is \"" + **name + "\".");
    t.activation = *activation;
  }
  PG_SEMANTIC_RETURN_IF_ERROR(read_variations(config, path, &t));
  if (t.embedding_width == t.width) t.embedding_width = 0;

  model->architecture_name = first_architecture(config);
  if (model->architecture_name.empty()) model->architecture_name = std::string((*family)->class_prefix) + "Model";
  return Status::ok();
}

}  // namespace pg_semantic::encoder
