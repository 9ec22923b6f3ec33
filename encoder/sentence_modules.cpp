// See sentence_modules.h.
#include "encoder/sentence_modules.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "encoder/late_interaction_config.h"

namespace pg_semantic::encoder {

namespace {

using nlohmann::json;

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

// `feature`: what the module transforms, "sentence_embedding" or "token_embeddings".
Result<ModuleConfig> read_dense(const ConfigFiles& files, std::string_view feature) {
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
    const Result<std::optional<std::string>> name = json_string(*config, key, path);
    if (!name) return name.status();
    // PyLate's modules, which transform tokens, keep the default of the class that they derive from.
    const std::string named = name->value_or("sentence_embedding");
    if (named != "sentence_embedding" && named != feature) {
      return unsupported(path, "Its " + std::string(key) + " is \"" + named + "\".");
    }
  }
  bool residual = false;
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*config, "use_residual", path, &residual));
  if (residual) return unsupported(path, "It adds its input to its output (\"use_residual\" is true).");
  return module;
}

// SPLADE's pooling over the logits of the masked-LM head.
Result<SparsePoolingConfig> read_sparse_pooling(const ConfigFiles& files) {
  const std::string path = files.path("config.json");
  const Result<json> config = files.read("config.json");
  if (!config) return config.status();
  if (!config->is_object()) return corrupt(path, "It is missing or not a JSON object.");
  const Result<std::optional<std::string>> strategy = json_string(*config, "pooling_strategy", path);
  if (!strategy) return strategy.status();
  const Result<std::optional<std::string>> activation = json_string(*config, "activation_function", path);
  if (!activation) return activation.status();
  SparsePoolingConfig sparse;
  sparse.sum = strategy->value_or("max") == "sum";
  sparse.log_twice = activation->value_or("relu") == "log1p_relu";
  if (!sparse.sum && strategy->value_or("max") != "max") {
    return unsupported(path, "Its pooling_strategy is \"" + **strategy + "\"; the supported ones are max and sum.");
  }
  if (!sparse.log_twice && activation->value_or("relu") != "relu") {
    return unsupported(
        path, "Its activation_function is \"" + **activation + "\"; the supported ones are relu and log1p_relu.");
  }
  return sparse;
}

// Dense modules, and (idle after training) Dropout, from entries[first] on.
Status read_token_projections(const std::vector<ModuleEntry>& entries, const std::string& directory,
                              const std::string& path, ModelDirectory* model) {
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].type == "Dropout") continue;
    if (entries[i].type != "Dense") {
      return unsupported(path, "It has a module of type \"" + entries[i].type +
                                   "\" and no Pooling; the supported ones are Transformer and Dense then.");
    }
    const std::string module_directory = below(directory, entries[i].path);
    Result<ModuleConfig> dense = read_dense(ConfigFiles(module_directory), "token_embeddings");
    if (!dense) return dense.status();
    model->config.late_interaction.projections.push_back(*dense);
    model->dense_directories.push_back(module_directory);
  }
  return read_pylate_settings(ConfigFiles(directory), &model->config);
}

}  // namespace

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

Status read_modules(const std::vector<ModuleEntry>& entries, const std::string& directory, const std::string& path,
                    ModelDirectory* model) {
  const std::string second = entries.size() < 2 ? "" : entries[1].type;
  if (second == "SpladePooling" && entries.size() == 2) {
    const Result<SparsePoolingConfig> sparse = read_sparse_pooling(ConfigFiles(below(directory, entries[1].path)));
    if (!sparse) return sparse.status();
    model->config.sparse_pooling = *sparse;
    return Status::ok();
  }
  if (second == "Dense") return read_token_projections(entries, directory, path, model);
  if (second != "Pooling") {
    return unsupported(path, "Its second module is not a Pooling module, nor a Dense module or SpladePooling alone.");
  }
  Result<PoolingConfig> pooling =
      read_pooling(ConfigFiles(below(directory, entries[1].path)), model->config.transformer.width);
  if (!pooling) return pooling.status();
  model->config.pooling = *pooling;
  for (size_t i = 2; i < entries.size(); ++i) {
    const std::string module_directory = below(directory, entries[i].path);
    if (entries[i].type == "Dense") {
      Result<ModuleConfig> dense = read_dense(ConfigFiles(module_directory), "sentence_embedding");
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

}  // namespace pg_semantic::encoder
