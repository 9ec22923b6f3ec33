// See model_directory.h.  Which files are read and what wins over what follows
// transformers (PretrainedConfig) and sentence-transformers (models/).
#include "encoder/model_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "encoder/file_reader.h"
#include "encoder/head_config.h"
#include "encoder/json.h"
#include "encoder/tokenizer_config.h"
#include "encoder/transformer_config.h"

namespace pg_semantic::encoder {

namespace {

using nlohmann::json;

constexpr size_t kMaxConfigFile = 4 << 20;

Status corrupt(const std::string& path, std::string detail) {
  return {StatusCode::kCorrupt, "file \"" + path + "\" has a wrong value", std::move(detail)};
}

Status unsupported(const std::string& path, std::string detail) {
  return {StatusCode::kUnsupported, "file \"" + path + "\" asks for something that is not supported",
          std::move(detail)};
}

// The configuration files of one directory.
class ConfigFiles {
 public:
  explicit ConfigFiles(std::string directory) : directory_(std::move(directory)), reader_(directory_) {}

  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }

  [[nodiscard]] const FileReader& reader() const { return reader_; }

  // The parsed file; null when there is none.
  [[nodiscard]] Result<json> read(const std::string& name) const {
    Result<std::optional<std::string>> text = reader_.read_small_file(name, kMaxConfigFile);
    if (!text) return text.status();
    if (!text->has_value()) return json();
    Result<json> parsed = parse_json(**text, path(name));
    if (parsed && !parsed->is_structured()) return corrupt(path(name), "It is neither a JSON object nor an array.");
    return parsed;
  }

 private:
  std::string directory_;
  DirectoryReader reader_;
};

// ---- sentence-transformers ------------------------------------------------------

Status set_pooling_mode(std::string_view mode, const std::string& path, PoolingConfig* pooling) {
  if (mode.ends_with("_tokens")) mode.remove_suffix(7);
  if (mode.ends_with("_token")) mode.remove_suffix(6);
  if (mode == "cls") {
    pooling->cls = true;
  } else if (mode == "max") {
    pooling->max = true;
  } else if (mode == "mean") {
    pooling->mean = true;
  } else if (mode == "mean_sqrt_len") {
    pooling->mean_sqrt_len = true;
  } else {
    return unsupported(path, "Its pooling mode is \"" + std::string(mode) +
                                 "\"; the supported ones are cls, max, mean and mean_sqrt_len.");
  }
  return Status::ok();
}

// "mean", "cls+mean" or ["cls", "mean"].
Status read_named_modes(const json& modes, const std::string& path, PoolingConfig* pooling) {
  pooling->mean = false;
  if (modes.is_string()) {
    const auto text = modes.get<std::string>();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('+', begin), text.size());
      PG_SEMANTIC_RETURN_IF_ERROR(set_pooling_mode(text.substr(begin, end - begin), path, pooling));
      begin = end + 1;
    }
    return Status::ok();
  }
  if (!modes.is_array()) return corrupt(path, "The value of \"pooling_mode\" must be a string or an array of them.");
  for (const json& mode : modes) {
    if (!mode.is_string()) return corrupt(path, "The value of \"pooling_mode\" must be a string or an array of them.");
    PG_SEMANTIC_RETURN_IF_ERROR(set_pooling_mode(mode.get<std::string>(), path, pooling));
  }
  return Status::ok();
}

Result<PoolingConfig> read_pooling(const ConfigFiles& files, int64_t width) {
  const std::string path = files.path("config.json");
  const Result<json> config = files.read("config.json");
  if (!config) return config.status();
  if (!config->is_object()) return corrupt(path, "It is missing or not a JSON object.");
  PoolingConfig pooling;
  for (const char* key : {"word_embedding_dimension", "embedding_dimension"}) {
    int64_t dimension = width;
    PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*config, {key}, path, &dimension));
    if (dimension != width) {
      return corrupt(path, "The value of \"" + std::string(key) + "\" is " + std::to_string(dimension) +
                               ", but the encoder's hidden size is " + std::to_string(width) + ".");
    }
  }
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, "include_prompt", path, &pooling.include_prompt));
  if (const json* modes = json_member(*config, "pooling_mode"); modes != nullptr) {
    PG_SEMANTIC_RETURN_IF_ERROR(read_named_modes(*modes, path, &pooling));
  } else {
    PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, "pooling_mode_cls_token", path, &pooling.cls));
    PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, "pooling_mode_max_tokens", path, &pooling.max));
    PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, "pooling_mode_mean_tokens", path, &pooling.mean));
    PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, "pooling_mode_mean_sqrt_len_tokens", path, &pooling.mean_sqrt_len));
    for (const char* key : {"pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"}) {
      bool used = false;
      PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, key, path, &used));
      if (used) return unsupported(path, "It sets \"" + std::string(key) + "\".");
    }
  }
  if (pooling.modes() == 0) return corrupt(path, "It chooses no pooling mode.");
  return pooling;
}

Result<ModuleConfig> read_dense(const ConfigFiles& files) {
  const std::string path = files.path("config.json");
  const Result<json> config = files.read("config.json");
  if (!config) return config.status();
  if (!config->is_object()) return corrupt(path, "It is missing or not a JSON object.");
  ModuleConfig module;
  module.kind = ModuleConfig::Kind::kDense;
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*config, {"in_features"}, path, &module.inputs));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*config, {"out_features"}, path, &module.outputs));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, "bias", path, &module.bias));
  const Result<std::optional<std::string>> activation = json_string(*config, "activation_function", path);
  if (!activation) return activation.status();
  const std::string name = activation->value_or("torch.nn.modules.activation.Tanh");
  const std::optional<Activation> known = activation_from_torch_class(name);
  if (!known) return unsupported(path, "Its activation_function is \"" + name + "\".");
  module.activation = *known;
  for (const char* key : {"module_input_name", "module_output_name"}) {
    const Result<std::optional<std::string>> feature = json_string(*config, key, path);
    if (!feature) return feature.status();
    if (feature->value_or("sentence_embedding") != "sentence_embedding") {
      return unsupported(path, "Its " + std::string(key) + " is \"" + **feature + "\".");
    }
  }
  return module;
}

struct ModuleEntry {
  std::string type;  // the class, without its package
  std::string path;  // relative; empty: the directory itself
};

Result<std::vector<ModuleEntry>> parse_modules(const json& modules, const std::string& path) {
  if (!modules.is_array() || modules.empty() || modules.size() > 64) {
    return corrupt(path, "It must be a JSON array of 1 to 64 modules.");
  }
  std::vector<ModuleEntry> entries;
  for (const json& module : modules) {
    const json* type = json_member(module, "type");
    const json* where = json_member(module, "path");
    if (type == nullptr || !type->is_string() || (where != nullptr && !where->is_string())) {
      return corrupt(path, "A module lacks its type or path.");
    }
    ModuleEntry entry{type->get<std::string>(), where == nullptr ? "" : where->get<std::string>()};
    entry.type.erase(0, entry.type.rfind('.') + 1);
    while (!entry.path.empty() && entry.path.back() == '/') entry.path.pop_back();
    const std::string slashed = "/" + entry.path + "/";
    if (entry.path.starts_with('/') || slashed.find("/../") != std::string::npos ||
        entry.path.find('\0') != std::string::npos) {
      return corrupt(path, "The module path \"" + entry.path + "\" leaves the model's directory.");
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string below(const std::string& directory, const std::string& path) {
  return path.empty() ? directory : directory + "/" + path;
}

// Pooling, then any number of Dense, Normalize and (idle after training) Dropout.
Status read_modules(const std::vector<ModuleEntry>& entries, const std::string& directory, const std::string& path,
                    ModelDirectory* model) {
  if (entries.size() < 2 || entries[1].type != "Pooling") {
    return unsupported(path, "Its second module is not a Pooling module.");
  }
  Result<PoolingConfig> pooling =
      read_pooling(ConfigFiles(below(directory, entries[1].path)), model->config.transformer.width);
  if (!pooling) return pooling.status();
  model->config.pooling = *pooling;
  for (size_t i = 2; i < entries.size(); ++i) {
    const std::string module_directory = below(directory, entries[i].path);
    if (entries[i].type == "Dense") {
      Result<ModuleConfig> dense = read_dense(ConfigFiles(module_directory));
      if (!dense) return dense.status();
      model->config.modules.push_back(*dense);
      model->dense_directories.push_back(module_directory);
    } else if (entries[i].type == "Normalize") {
      model->config.modules.push_back({});
    } else if (entries[i].type != "Dropout") {
      return unsupported(path, "It has a module of type \"" + entries[i].type +
                                   "\"; the supported ones are Transformer, Pooling, Dense and Normalize.");
    }
  }
  return Status::ok();
}

// max_seq_length wins; else the smaller of model_max_length and the positions.
Status read_sentence_settings(const ConfigFiles& files, ModelDirectory* model) {
  ModelConfig* config = &model->config;
  const int64_t positions = config->transformer.usable_positions();
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
    if (entries[0].type != "Transformer") {
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
  PG_SEMANTIC_RETURN_IF_ERROR(read_transformer(*config, path, &model.config));
  PG_SEMANTIC_RETURN_IF_ERROR(read_sentence_settings(files, &model));
  PG_SEMANTIC_RETURN_IF_ERROR(read_prompts(root, &model.config));
  if (sentence_model) {
    PG_SEMANTIC_RETURN_IF_ERROR(read_modules(entries, directory, root.path("modules.json"), &model));
  } else {
    PG_SEMANTIC_RETURN_IF_ERROR(read_head(*config, path, &model.config));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(check_config(model.config));
  return model;
}

}  // namespace pg_semantic::encoder
