// See model_directory.h.  Which files are read and what wins over what follows
// transformers (PretrainedConfig) and sentence-transformers (models/).
#include "encoder/model_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "encoder/config_files.h"
#include "encoder/head_config.h"
#include "encoder/json.h"
#include "encoder/late_interaction_config.h"
#include "encoder/sentence_modules.h"
#include "encoder/tokenizer_config.h"

namespace pg_semantic::encoder {

namespace {

using nlohmann::json;

// What config.json calls each number, the published name first.
struct ConfigKeys {
  Architecture architecture;
  std::string_view class_prefix;  // of the names in "architectures"
  std::initializer_list<const char*> width, layers, heads, feed_forward, activation;
  int64_t default_layers;
};

const ConfigKeys kConfigKeys[] = {
    {Architecture::kDistilBert,
     "DistilBert",
     {"dim", "hidden_size"},
     {"n_layers", "num_hidden_layers"},
     {"n_heads", "num_attention_heads"},
     {"hidden_dim"},
     {"activation"},
     6},
    {Architecture::kBert,
     "Bert",
     {"hidden_size"},
     {"num_hidden_layers"},
     {"num_attention_heads"},
     {"intermediate_size"},
     {"hidden_act"},
     12},
};

std::string first_architecture(const json& config) {
  const json* names = json_member(config, "architectures");
  if (names == nullptr || !names->is_array() || names->empty() || !names->front().is_string()) return "";
  return names->front().get<std::string>();
}

Result<const ConfigKeys*> find_keys(const json& config, const std::string& path) {
  const Result<std::optional<std::string>> type = json_string(config, "model_type", path);
  if (!type) return type.status();
  for (const ConfigKeys& keys : kConfigKeys) {
    if (type->has_value() ? **type == model_type(keys.architecture)
                          : first_architecture(config).starts_with(keys.class_prefix)) {
      return &keys;
    }
  }
  return unsupported(
      path, "Its model_type is \"" + type->value_or("") + "\"; the supported ones are \"bert\" and \"distilbert\".");
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

Result<TransformerConfig> read_transformer(const json& config, const std::string& path) {
  if (!config.is_object()) return corrupt(path, "It is not a JSON object.");
  const Result<const ConfigKeys*> keys = find_keys(config, path);
  if (!keys) return keys.status();
  PG_SEMANTIC_RETURN_IF_ERROR(refuse_variants(config, path));

  TransformerConfig t;
  t.architecture = (*keys)->architecture;
  t.layers = (*keys)->default_layers;
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"vocab_size"}, path, &t.vocabulary_size));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"max_position_embeddings"}, path, &t.positions));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, (*keys)->width, path, &t.width));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, (*keys)->layers, path, &t.layers));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, (*keys)->heads, path, &t.heads));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, (*keys)->feed_forward, path, &t.feed_forward));
  if (t.architecture == Architecture::kBert) {
    PG_SEMANTIC_RETURN_IF_ERROR(take_integer(config, {"type_vocab_size"}, path, &t.token_types));
    if (t.token_types < 1) return corrupt(path, "The value of \"type_vocab_size\" must be at least 1.");
    const Result<std::optional<double>> epsilon = json_number(config, "layer_norm_eps", path);
    if (!epsilon) return epsilon.status();
    t.layer_norm_epsilon = epsilon->value_or(t.layer_norm_epsilon);
  } else {
    t.token_types = 0;
    PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "sinusoidal_pos_embds", path, &t.sinusoidal_positions));
  }
  for (const char* key : (*keys)->activation) {
    const Result<std::optional<std::string>> name = json_string(config, key, path);
    if (!name) return name.status();
    const std::optional<Activation> activation = activation_from_name(name->value_or("gelu"));
    if (!activation) return unsupported(path, "Its activation is \"" + **name + "\".");
    t.activation = *activation;
  }
  return t;
}

// max_seq_length wins; else the smaller of model_max_length and the positions.
Status read_sentence_settings(const ConfigFiles& files, ModelDirectory* model) {
  ModelConfig* config = &model->config;
  const int64_t positions = config->transformer.positions;
  for (const char* name :
       {"sentence_bert_config.json", "sentence_distilbert_config.json", "sentence_roberta_config.json"}) {
    const Result<json> sentence = files.read(name);
    if (!sentence) return sentence.status();
    PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*sentence, "do_lower_case", files.path(name), &model->lower_case));
    constexpr int64_t kAbsent = INT64_MIN;
    int64_t length = kAbsent;
    PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*sentence, {"max_seq_length"}, files.path(name), &length));
    if (length == kAbsent) continue;
    if (length < 3) return corrupt(files.path(name), "The value of \"max_seq_length\" must be at least 3.");
    config->max_tokens = std::min(length, positions);
    return Status::ok();
  }
  const Result<std::optional<int32_t>> length = load_model_max_length(files.reader());
  if (!length) return length.status();
  config->max_tokens = positions;
  if (!length->has_value()) return Status::ok();
  if (**length < 3) {
    return corrupt(files.path("tokenizer_config.json"), "The value of \"model_max_length\" must be at least 3.");
  }
  config->max_tokens = std::min<int64_t>(**length, positions);
  return Status::ok();
}

Status read_prompts(const ConfigFiles& files, ModelConfig* config) {
  const std::string name = "config_sentence_transformers.json";
  const Result<json> settings = files.read(name);
  if (!settings) return settings.status();
  if (const json* prompts = json_member(*settings, "prompts"); prompts != nullptr) {
    if (!prompts->is_object()) return corrupt(files.path(name), "The value of \"prompts\" must be an object.");
    for (const auto& [key, prompt] : prompts->items()) {
      if (prompt.is_null()) continue;
      if (!prompt.is_string()) return corrupt(files.path(name), "The prompt \"" + key + "\" must be a string.");
      config->prompts[key] = prompt.get<std::string>();
    }
  }
  Result<std::optional<std::string>> chosen = json_string(*settings, "default_prompt_name", files.path(name));
  if (!chosen) return chosen.status();
  if (chosen->has_value() && !config->prompts.contains(**chosen)) {
    return corrupt(files.path(name), "The default prompt \"" + **chosen + "\" is not among the prompts.");
  }
  config->default_prompt_name = std::move(*chosen);
  return Status::ok();
}

Status check_is_directory(const std::string& directory) {
  struct stat found {};
  if (stat(directory.c_str(), &found) != 0) {
    const int error = errno;
    return {error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIoError,
            "could not open directory \"" + directory + "\": " + std::strerror(error)};
  }
  if (S_ISDIR(found.st_mode)) return Status::ok();
  return {StatusCode::kNotFound, "\"" + directory + "\" is not a directory"};
}

}  // namespace

Result<ModelDirectory> read_model_directory(const std::string& directory) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_is_directory(directory));
  ModelDirectory model;
  model.encoder_directory = directory;
  const ConfigFiles root(directory);

  const Result<json> modules = root.read("modules.json");
  if (!modules) return modules.status();
  const bool sentence_model = !modules->is_null();
  std::vector<ModuleEntry> entries;
  if (sentence_model) {
    Result<std::vector<ModuleEntry>> parsed = parse_modules(*modules, root.path("modules.json"));
    if (!parsed) return parsed.status();
    entries = std::move(*parsed);
    // MLMTransformer: with the masked-LM head; only SpladePooling can follow.
    if (entries[0].type != "Transformer" && entries[0].type != "MLMTransformer") {
      return unsupported(root.path("modules.json"), "Its first module is not a Transformer module.");
    }
    model.encoder_directory = below(directory, entries[0].path);
  }

  const ConfigFiles files(model.encoder_directory);
  const std::string path = files.path("config.json");
  const Result<json> config = files.read("config.json");
  if (!config) return config.status();
  if (config->is_null()) {
    return Status(StatusCode::kNotFound, "directory \"" + model.encoder_directory + "\" has no file \"config.json\"",
                  "", "A model is a directory as Hugging Face publishes it.");
  }
  Result<TransformerConfig> transformer = read_transformer(*config, path);
  if (!transformer) return transformer.status();
  model.config.transformer = *transformer;
  model.config.architecture_name = first_architecture(*config);
  if (model.config.architecture_name.empty()) {
    model.config.architecture_name =
        transformer->architecture == Architecture::kDistilBert ? "DistilBertModel" : "BertModel";
  }
  PG_SEMANTIC_RETURN_IF_ERROR(read_sentence_settings(files, &model));
  PG_SEMANTIC_RETURN_IF_ERROR(read_prompts(root, &model.config));
  if (sentence_model) {
    PG_SEMANTIC_RETURN_IF_ERROR(read_modules(entries, directory, root.path("modules.json"), &model));
  } else if (model.config.architecture_name == kColbertArchitecture) {
    PG_SEMANTIC_RETURN_IF_ERROR(read_colbert_settings(files, &model));
  }
  const bool sparse = sentence_model && entries[1].type == "SpladePooling";
  if (!sentence_model || sparse) PG_SEMANTIC_RETURN_IF_ERROR(read_head(*config, path, &model.config));
  if (sparse && model.config.task != kFillMask) {
    return unsupported(path, "Its class is " + model.config.architecture_name +
                                 ", but SpladePooling takes one with a masked-LM head.");
  }
  PG_SEMANTIC_RETURN_IF_ERROR(check_config(model.config));
  return model;
}

}  // namespace pg_semantic::encoder
