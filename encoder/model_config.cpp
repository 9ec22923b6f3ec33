// See model_config.h.
#include "encoder/model_config.h"

#include <algorithm>
#include <array>
#include <exception>
#include <stdexcept>
#include <utility>

#include "encoder/json.h"

namespace pg_semantic::encoder {

namespace {

constexpr std::array<std::pair<Activation, std::string_view>, 8> kActivationNames = {{
    {Activation::kIdentity, "identity"},
    {Activation::kGelu, "gelu"},
    {Activation::kGeluTanh, "gelu_tanh"},
    {Activation::kQuickGelu, "quick_gelu"},
    {Activation::kRelu, "relu"},
    {Activation::kSilu, "silu"},
    {Activation::kTanh, "tanh"},
    {Activation::kSigmoid, "sigmoid"},
}};

constexpr std::array<std::pair<Architecture, std::string_view>, 7> kModelTypes = {{
    {Architecture::kDistilBert, "distilbert"},
    {Architecture::kBert, "bert"},
    {Architecture::kRoberta, "roberta"},
    {Architecture::kElectra, "electra"},
    {Architecture::kMpnet, "mpnet"},
    {Architecture::kAlbert, "albert"},
    {Architecture::kMobileBert, "mobilebert"},
}};

// Fields that are kept only when they differ from their defaults.
constexpr std::pair<const char*, int64_t TransformerConfig::*> kOptionalNumbers[] = {
    {"padding_index", &TransformerConfig::padding_index},
    {"embedding_width", &TransformerConfig::embedding_width},
    {"relative_buckets", &TransformerConfig::relative_buckets},
    {"layer_groups", &TransformerConfig::layer_groups},
    {"layers_per_group", &TransformerConfig::layers_per_group},
    {"bottleneck_width", &TransformerConfig::bottleneck_width},
    {"feed_forwards", &TransformerConfig::feed_forwards}};
constexpr std::pair<const char*, bool TransformerConfig::*> kOptionalFlags[] = {
    {"projects_embeddings", &TransformerConfig::projects_embeddings},
    {"projects_words", &TransformerConfig::projects_words},
    {"trigrams", &TransformerConfig::trigrams},
    {"bottleneck_attention", &TransformerConfig::bottleneck_attention},
    {"shared_bottleneck", &TransformerConfig::shared_bottleneck},
    {"no_norm", &TransformerConfig::no_norm}};

std::string_view own_name(Activation activation) {
  for (const auto& [value, name] : kActivationNames) {
    if (value == activation) return name;
  }
  return "identity";
}

std::optional<Activation> from_own_name(std::string_view name) {
  for (const auto& [value, own] : kActivationNames) {
    if (own == name) return value;
  }
  return std::nullopt;
}

Status out_of_range(std::string detail) {
  return {StatusCode::kCorrupt, "the model's configuration is not usable", std::move(detail)};
}

Status check_range(const char* what, int64_t value, int64_t minimum, int64_t maximum) {
  if (value >= minimum && value <= maximum) return Status::ok();
  return out_of_range("The " + std::string(what) + " is " + std::to_string(value) + "; it must be between " +
                      std::to_string(minimum) + " and " + std::to_string(maximum) + ".");
}

// What distinguishes the families: sizes, and flags that make sense together.
Status check_variations(const TransformerConfig& t) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("padding index", t.padding_index, -1, t.positions - 4));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("embedding size", t.embedding_width, 0, kMaxWidth));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of layer groups", t.layer_groups, 0, t.layers));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of layers in a group", t.layers_per_group, 1, 64));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("bottleneck size", t.bottleneck_width, 0, kMaxWidth));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of feed-forward networks", t.feed_forwards, 1, 64));
  if (t.relative_buckets != 0 && t.relative_buckets != kRelativeBuckets) {
    return out_of_range("The number of buckets of relative positions is " + std::to_string(t.relative_buckets) +
                        "; it must be " + std::to_string(kRelativeBuckets) + ".");
  }
  const bool projected = t.projects_embeddings || t.projects_words;
  if ((t.projects_embeddings && t.projects_words) || (t.trigrams && !t.projects_words) ||
      (!projected && t.word_width() != t.width)) {
    return out_of_range("The embedding size " + std::to_string(t.word_width()) + " does not lead to the hidden size " +
                        std::to_string(t.width) + ".");
  }
  if (t.layer_groups == 0 && t.layers_per_group != 1) return out_of_range("There are layers, but no groups of them.");
  const bool from_bottleneck = t.bottleneck_attention || t.shared_bottleneck;
  if ((from_bottleneck && t.bottleneck_width == 0) || (t.bottleneck_attention && t.shared_bottleneck) ||
      (!from_bottleneck && t.inner_width() != t.width)) {
    return out_of_range("The bottleneck size " + std::to_string(t.bottleneck_width) +
                        " does not fit where queries, keys and values come from.");
  }
  return Status::ok();
}

Status check_transformer(const TransformerConfig& t) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("vocabulary size", t.vocabulary_size, 1, 1 << 22));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of positions", t.positions, 3, 1 << 16));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of token types", t.token_types, 0, 1024));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("hidden size", t.width, 1, kMaxWidth));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of layers", t.layers, 1, 256));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("feed-forward size", t.feed_forward, 1, 1 << 16));
  PG_SEMANTIC_RETURN_IF_ERROR(check_variations(t));
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of attention heads", t.heads, 1, t.inner_width()));
  if (t.inner_width() % t.heads != 0) {
    return out_of_range("The hidden size " + std::to_string(t.inner_width()) + " is not a multiple of the " +
                        std::to_string(t.heads) + " attention heads.");
  }
  if (!(t.layer_norm_epsilon > 0 && t.layer_norm_epsilon <= 1)) {
    return out_of_range("The epsilon of layer normalization must be between 0 and 1.");
  }
  // With the ranges above below 2^60.
  const int64_t inner = t.inner_width();
  const int64_t feed_forwards = t.feed_forwards * 2 * inner * t.feed_forward;
  const int64_t bottlenecks = t.bottleneck_width > 0 ? 3 * t.width * inner : 0;
  const int64_t layer = 3 * inner * std::max(inner, t.bottleneck_width > 0 ? t.width : inner) + inner * inner +
                        bottlenecks + feed_forwards;
  const int64_t embeddings = t.vocabulary_size * t.word_width() + (t.positions + t.token_types) * t.summed_width() +
                             3 * t.word_width() * t.width;
  const int64_t parameters = embeddings + t.stored_layers() * layer;
  if (parameters <= kMaxParameters) return Status::ok();
  return {StatusCode::kUnsupported, "the model is too large",
          "Its configuration asks for " + std::to_string(parameters) + " parameters; at most " +
              std::to_string(kMaxParameters) + " are supported."};
}

// Modules one after the other, the first of which gets `dimensions` numbers.
Status check_module_chain(const std::vector<ModuleConfig>& modules, int64_t dimensions) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of modules", static_cast<int64_t>(modules.size()), 0, 64));
  for (const ModuleConfig& module : modules) {
    if (module.kind != ModuleConfig::Kind::kDense) continue;
    if (module.inputs != dimensions) {
      return out_of_range("A dense module takes " + std::to_string(module.inputs) + " inputs, but gets " +
                          std::to_string(dimensions) + ".");
    }
    PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of a dense module's outputs", module.outputs, 1, kMaxWidth));
    dimensions = module.outputs;
  }
  return Status::ok();
}

Status check_modules(const ModelConfig& config) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of pooling modes", config.pooling.modes(), 1, 4));
  return check_module_chain(config.modules, config.transformer.width * config.pooling.modes());
}

Status check_late_interaction(const ModelConfig& config) {
  const LateInteractionConfig& late = config.late_interaction;
  if (late.projections.empty()) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(check_module_chain(late.projections, config.transformer.width));
  for (const ModuleConfig& module : late.projections) {
    if (module.kind != ModuleConfig::Kind::kDense) return out_of_range("A projection of tokens is not a dense module.");
  }
  // [CLS], a marker, a token and [SEP] at least.
  PG_SEMANTIC_RETURN_IF_ERROR(
      check_range("length of queries", late.query_length, 4, config.transformer.usable_positions()));
  PG_SEMANTIC_RETURN_IF_ERROR(
      check_range("length of documents", late.document_length, 4, config.transformer.usable_positions()));
  return check_range("number of skipped words", static_cast<int64_t>(late.skipped_words.size()), 0,
                     static_cast<int64_t>(kMaxSkippedWords));
}

// A projection whose weight is the word embedding takes as many inputs as that has columns.
Status check_head_width(const HeadConfig& head, const TransformerConfig& transformer) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("head's width", head.width, 0, kMaxWidth));
  const int64_t width = head.width > 0 ? head.width : transformer.width;
  PG_SEMANTIC_RETURN_IF_ERROR(check_range("number of the head's extra inputs", head.extra_inputs, 0, width - 1));
  if ((head.width > 0 && !head.transform) || (head.tied && width - head.extra_inputs != transformer.word_width())) {
    return out_of_range("The head's width " + std::to_string(width) + " does not fit.");
  }
  return Status::ok();
}

// As many outputs as the task reads: what uses a head relies on it.
Status check_head(const ModelConfig& config) {
  const HeadConfig& head = config.head;
  if (head.outputs == 0) return Status::ok();
  const auto labels = static_cast<int64_t>(config.labels.size());
  const std::pair<std::string_view, int64_t> needs[] = {{kSequenceClassification, labels},
                                                        {kTokenClassification, labels},
                                                        {kQuestionAnswering, 2},
                                                        {kFillMask, config.transformer.vocabulary_size},
                                                        {kMultipleChoice, 1}};
  for (const auto& [task, outputs] : needs) {
    if (task != config.task) continue;
    if (head.outputs != outputs) {
      return out_of_range("The head for " + config.task + " has " + std::to_string(head.outputs) +
                          " outputs, but needs " + std::to_string(outputs) + ".");
    }
    if (head.tied && task != kFillMask) return out_of_range("Only a head that fills masks can be tied.");
    PG_SEMANTIC_RETURN_IF_ERROR(check_head_width(head, config.transformer));
    return check_range("number of the head's outputs", head.outputs, 1, 1 << 22);
  }
  return out_of_range("There is a head for the task \"" + config.task + "\".");
}

nlohmann::json head_to_json(const HeadConfig& head) {
  nlohmann::json value = {{"outputs", head.outputs},
                          {"transform", head.transform},
                          {"transform_activation", own_name(head.transform_activation)},
                          {"norm", head.norm},
                          {"tied", head.tied},
                          {"multi_label", head.multi_label},
                          {"score_activation", own_name(head.score_activation)}};
  if (head.width > 0) value["width"] = head.width;
  if (head.extra_inputs > 0) value["extra_inputs"] = head.extra_inputs;
  return value;
}

nlohmann::json transformer_to_json(const TransformerConfig& t) {
  nlohmann::json value = {{"model_type", model_type(t.architecture)},
                          {"vocabulary_size", t.vocabulary_size},
                          {"positions", t.positions},
                          {"token_types", t.token_types},
                          {"width", t.width},
                          {"layers", t.layers},
                          {"heads", t.heads},
                          {"feed_forward", t.feed_forward},
                          {"activation", own_name(t.activation)},
                          {"layer_norm_epsilon", t.layer_norm_epsilon},
                          {"sinusoidal_positions", t.sinusoidal_positions}};
  const TransformerConfig defaults;
  for (const auto& [key, field] : kOptionalNumbers) {
    if (t.*field != defaults.*field) value[key] = t.*field;
  }
  for (const auto& [key, field] : kOptionalFlags) {
    if (t.*field) value[key] = true;
  }
  return value;
}

nlohmann::json module_to_json(const ModuleConfig& module) {
  if (module.kind == ModuleConfig::Kind::kNormalize) return {{"kind", "normalize"}};
  return {{"kind", "dense"},
          {"inputs", module.inputs},
          {"outputs", module.outputs},
          {"bias", module.bias},
          {"activation", own_name(module.activation)}};
}

nlohmann::json modules_to_json(const std::vector<ModuleConfig>& modules) {
  nlohmann::json values = nlohmann::json::array();
  for (const ModuleConfig& module : modules) values.push_back(module_to_json(module));
  return values;
}

nlohmann::json late_interaction_to_json(const LateInteractionConfig& late) {
  return {{"projections", modules_to_json(late.projections)}, {"query_marker", late.query_marker},
          {"document_marker", late.document_marker},          {"query_length", late.query_length},
          {"document_length", late.document_length},          {"expand_queries", late.expand_queries},
          {"attend_to_expansion", late.attend_to_expansion},  {"pads_are_masks", late.pads_are_masks},
          {"squared_distance", late.squared_distance},        {"skipped_words", late.skipped_words}};
}

// Reading throws nlohmann's exceptions for what to_json() would not have written.
Activation read_activation(const nlohmann::json& value) {
  const std::optional<Activation> activation = from_own_name(value.get<std::string>());
  if (!activation) throw std::invalid_argument("unknown activation");
  return *activation;
}

Architecture read_architecture(std::string_view type) {
  for (const auto& [architecture, name] : kModelTypes) {
    if (name == type) return architecture;
  }
  throw std::invalid_argument("unknown model type");
}

// A floating-point number is not converted: one out of range would be undefined.
int64_t read_integer(const nlohmann::json& object, const char* key) {
  const nlohmann::json& value = object.at(key);
  if (!value.is_number_integer()) throw std::invalid_argument(std::string(key) + " is not an integer");
  return value.get<int64_t>();
}

ModuleConfig read_module(const nlohmann::json& value) {
  ModuleConfig module;
  if (value.at("kind").get<std::string>() != "dense") return module;
  module.kind = ModuleConfig::Kind::kDense;
  module.inputs = read_integer(value, "inputs");
  module.outputs = read_integer(value, "outputs");
  module.bias = value.at("bias").get<bool>();
  module.activation = read_activation(value.at("activation"));
  return module;
}

HeadConfig read_head(const nlohmann::json& value) {
  HeadConfig head;
  head.outputs = read_integer(value, "outputs");
  head.transform = value.at("transform").get<bool>();
  head.transform_activation = read_activation(value.at("transform_activation"));
  head.norm = value.at("norm").get<bool>();
  head.tied = value.at("tied").get<bool>();
  head.multi_label = value.at("multi_label").get<bool>();
  head.score_activation = read_activation(value.at("score_activation"));
  if (value.contains("width")) head.width = read_integer(value, "width");
  if (value.contains("extra_inputs")) head.extra_inputs = read_integer(value, "extra_inputs");
  return head;
}

LateInteractionConfig read_late_interaction(const nlohmann::json& value) {
  LateInteractionConfig late;
  for (const nlohmann::json& module : value.at("projections")) late.projections.push_back(read_module(module));
  late.query_marker = value.at("query_marker").get<std::string>();
  late.document_marker = value.at("document_marker").get<std::string>();
  late.query_length = read_integer(value, "query_length");
  late.document_length = read_integer(value, "document_length");
  late.expand_queries = value.at("expand_queries").get<bool>();
  late.attend_to_expansion = value.at("attend_to_expansion").get<bool>();
  late.pads_are_masks = value.at("pads_are_masks").get<bool>();
  late.squared_distance = value.at("squared_distance").get<bool>();
  late.skipped_words = value.at("skipped_words").get<std::vector<std::string>>();
  return late;
}

TransformerConfig read_transformer(const nlohmann::json& from) {
  TransformerConfig t;
  t.architecture = read_architecture(from.at("model_type").get<std::string>());
  t.vocabulary_size = read_integer(from, "vocabulary_size");
  t.positions = read_integer(from, "positions");
  t.token_types = read_integer(from, "token_types");
  t.width = read_integer(from, "width");
  t.layers = read_integer(from, "layers");
  t.heads = read_integer(from, "heads");
  t.feed_forward = read_integer(from, "feed_forward");
  t.activation = read_activation(from.at("activation"));
  t.layer_norm_epsilon = from.at("layer_norm_epsilon").get<double>();
  t.sinusoidal_positions = from.at("sinusoidal_positions").get<bool>();
  for (const auto& [key, field] : kOptionalNumbers) {
    if (from.contains(key)) t.*field = read_integer(from, key);
  }
  for (const auto& [key, field] : kOptionalFlags) {
    if (from.contains(key)) t.*field = from.at(key).get<bool>();
  }
  return t;
}

ModelConfig read_config(const nlohmann::json& value) {
  ModelConfig config;
  config.architecture_name = value.at("architecture_name").get<std::string>();
  config.task = value.at("task").get<std::string>();
  config.model_precision = value.at("model_precision").get<std::string>();
  config.transformer = read_transformer(value.at("transformer"));
  const nlohmann::json& pooling = value.at("pooling");
  config.pooling.cls = pooling.at("cls").get<bool>();
  config.pooling.max = pooling.at("max").get<bool>();
  config.pooling.mean = pooling.at("mean").get<bool>();
  config.pooling.mean_sqrt_len = pooling.at("mean_sqrt_len").get<bool>();
  config.pooling.include_prompt = pooling.at("include_prompt").get<bool>();
  for (const nlohmann::json& module : value.at("modules")) config.modules.push_back(read_module(module));
  config.max_tokens = read_integer(value, "max_tokens");
  config.prompts = value.at("prompts").get<std::map<std::string, std::string>>();
  if (value.contains("default_prompt_name")) {
    config.default_prompt_name = value.at("default_prompt_name").get<std::string>();
  }
  config.labels = value.at("labels").get<std::vector<std::string>>();
  if (value.contains("head")) config.head = read_head(value.at("head"));
  if (value.contains("sparse_pooling")) {
    config.sparse_pooling.sum = value.at("sparse_pooling").at("sum").get<bool>();
    config.sparse_pooling.log_twice = value.at("sparse_pooling").at("log_twice").get<bool>();
  }
  if (value.contains("late_interaction")) config.late_interaction = read_late_interaction(value.at("late_interaction"));
  return config;
}

}  // namespace

std::string_view model_type(Architecture architecture) {
  for (const auto& [value, name] : kModelTypes) {
    if (value == architecture) return name;
  }
  return "";
}

std::optional<Activation> activation_from_name(std::string_view name) {
  // transformers' ACT2FN; the three tanh forms of GELU differ in rounding only.
  static constexpr std::pair<std::string_view, Activation> kNames[] = {{"gelu", Activation::kGelu},
                                                                       {"gelu_python", Activation::kGelu},
                                                                       {"gelu_new", Activation::kGeluTanh},
                                                                       {"gelu_fast", Activation::kGeluTanh},
                                                                       {"gelu_pytorch_tanh", Activation::kGeluTanh},
                                                                       {"gelu_accurate", Activation::kGeluTanh},
                                                                       {"quick_gelu", Activation::kQuickGelu},
                                                                       {"relu", Activation::kRelu},
                                                                       {"silu", Activation::kSilu},
                                                                       {"swish", Activation::kSilu},
                                                                       {"tanh", Activation::kTanh},
                                                                       {"sigmoid", Activation::kSigmoid},
                                                                       {"linear", Activation::kIdentity}};
  for (const auto& [known, activation] : kNames) {
    if (known == name) return activation;
  }
  return std::nullopt;
}

std::optional<Activation> activation_from_torch_class(std::string_view class_name) {
  const size_t dot = class_name.rfind('.');
  if (dot != std::string_view::npos) class_name.remove_prefix(dot + 1);
  static constexpr std::pair<std::string_view, Activation> kNames[] = {
      {"Identity", Activation::kIdentity}, {"Tanh", Activation::kTanh},       {"ReLU", Activation::kRelu},
      {"GELU", Activation::kGelu},         {"Sigmoid", Activation::kSigmoid}, {"SiLU", Activation::kSilu}};
  for (const auto& [known, activation] : kNames) {
    if (known == class_name) return activation;
  }
  return std::nullopt;
}

bool is_model_precision(std::string_view name) { return name == "fp32" || name == "fp16" || name == "int8"; }

Status check_config(const ModelConfig& config) {
  if (!is_model_precision(config.model_precision)) {
    return out_of_range("There is no model precision \"" + config.model_precision + "\".");
  }
  PG_SEMANTIC_RETURN_IF_ERROR(check_transformer(config.transformer));
  PG_SEMANTIC_RETURN_IF_ERROR(check_modules(config));
  PG_SEMANTIC_RETURN_IF_ERROR(check_head(config));
  PG_SEMANTIC_RETURN_IF_ERROR(check_late_interaction(config));
  // [CLS], a token and [SEP] at least.
  return check_range("greatest number of tokens", config.max_tokens, 3, config.transformer.usable_positions());
}

int64_t embedding_dimensions(const ModelConfig& config) {
  int64_t dimensions = config.transformer.width * config.pooling.modes();
  for (const ModuleConfig& module : config.modules) {
    if (module.kind == ModuleConfig::Kind::kDense) dimensions = module.outputs;
  }
  return dimensions;
}

bool ends_normalized(const ModelConfig& config) {
  return !config.modules.empty() && config.modules.back().kind == ModuleConfig::Kind::kNormalize;
}

std::string pooling_name(const PoolingConfig& pooling) {
  std::string name;
  const auto add = [&](bool used, const char* mode) {
    if (used) name += (name.empty() ? "" : "+") + std::string(mode);
  };
  add(pooling.cls, "cls");
  add(pooling.max, "max");
  add(pooling.mean, "mean");
  add(pooling.mean_sqrt_len, "mean_sqrt_len");
  return name;
}

nlohmann::json to_json(const ModelConfig& config) {
  nlohmann::json value = {{"architecture_name", config.architecture_name},
                          {"task", config.task},
                          {"model_precision", config.model_precision},
                          {"transformer", transformer_to_json(config.transformer)},
                          {"pooling",
                           {{"cls", config.pooling.cls},
                            {"max", config.pooling.max},
                            {"mean", config.pooling.mean},
                            {"mean_sqrt_len", config.pooling.mean_sqrt_len},
                            {"include_prompt", config.pooling.include_prompt}}},
                          {"modules", modules_to_json(config.modules)},
                          {"max_tokens", config.max_tokens},
                          {"prompts", config.prompts},
                          {"labels", config.labels}};
  if (config.default_prompt_name) value["default_prompt_name"] = *config.default_prompt_name;
  // Absent where there is none: models without a head keep the fingerprints they had before there were heads.
  if (config.head.outputs > 0) value["head"] = head_to_json(config.head);
  const SparsePoolingConfig& sparse = config.sparse_pooling;
  if (sparse != SparsePoolingConfig{}) value["sparse_pooling"] = {{"sum", sparse.sum}, {"log_twice", sparse.log_twice}};
  if (!config.late_interaction.projections.empty()) {
    value["late_interaction"] = late_interaction_to_json(config.late_interaction);
  }
  return value;
}

Result<ModelConfig> config_from_json(std::string_view text) {
  const Result<nlohmann::json> parsed = parse_json(text, "model file");
  if (!parsed) return parsed.status();
  ModelConfig config;
  try {
    config = read_config(*parsed);
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    return Status(StatusCode::kCorrupt, "the model file's configuration is not readable",
                  "The JSON library says: " + std::string(e.what()) + ".");
  }
  PG_SEMANTIC_RETURN_IF_ERROR(check_config(config));
  return config;
}

}  // namespace pg_semantic::encoder
