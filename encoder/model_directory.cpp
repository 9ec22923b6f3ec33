// See model_directory.h.  Which files are read and what wins over what follows
// transformers (PretrainedConfig) and sentence-transformers (models/).
#include "encoder/model_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "encoder/config_files.h"
#include "encoder/head_config.h"
#include "encoder/json.h"
#include "encoder/late_interaction_config.h"
#include "encoder/sentence_modules.h"
#include "encoder/tokenizer_config.h"
#include "encoder/transformer_config.h"

namespace pg_semantic::encoder {

namespace {

using nlohmann::json;

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
  PG_SEMANTIC_RETURN_IF_ERROR(read_transformer(*config, path, &model.config));
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
