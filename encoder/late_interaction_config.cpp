// See late_interaction_config.h.  Names and defaults are those of
// colbert/infra/config/settings.py (ColBERT 0.2) and pylate/models/colbert.py.
#include "encoder/late_interaction_config.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace pg_semantic::encoder {

namespace {

using nlohmann::json;

// Python's string.punctuation, a word each.
std::vector<std::string> punctuation() {
  constexpr std::string_view kPunctuation = R"(!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~)";
  std::vector<std::string> words;
  for (const char sign : kPunctuation) words.emplace_back(1, sign);
  return words;
}

// Absent and null leave *value as it is.
Status take_string(const json& object, const char* key, const std::string& path, std::string* value) {
  Result<std::optional<std::string>> found = json_string(object, key, path);
  if (!found) return found.status();
  if (found->has_value()) *value = std::move(**found);
  return Status::ok();
}

Status take_words(const json& object, const char* key, const std::string& path, std::vector<std::string>* words) {
  const json* found = json_member(object, key);
  if (found == nullptr || found->is_null()) return Status::ok();
  const bool usable = found->is_array() && found->size() <= kMaxSkippedWords &&
                      std::all_of(found->begin(), found->end(), [](const json& word) { return word.is_string(); });
  if (!usable) {
    return corrupt(path, "The value of \"" + std::string(key) + "\" must be an array of at most " +
                             std::to_string(kMaxSkippedWords) + " strings.");
  }
  *words = found->get<std::vector<std::string>>();
  return Status::ok();
}

// A text longer than the encoder's positions could not be read: the published
// code fails on it.  A padded query keeps its length, a document may be cut.
void limit_document_length(ModelConfig* model) {
  int64_t& length = model->late_interaction.document_length;
  length = std::min(length, model->transformer.usable_positions());
}

}  // namespace

Status read_colbert_settings(const ConfigFiles& files, ModelDirectory* model) {
  const std::string name = "artifact.metadata";
  const std::string path = files.path(name);
  Result<json> metadata = files.read(name);
  if (!metadata) return metadata.status();
  if (const json* nested = json_member(*metadata, "config"); nested != nullptr) metadata = json(*nested);

  LateInteractionConfig& late = model->config.late_interaction;
  late.query_marker = "[unused0]";
  late.document_marker = "[unused1]";
  late.document_length = 220;
  late.pads_are_masks = true;
  ModuleConfig projection;
  projection.kind = ModuleConfig::Kind::kDense;
  projection.inputs = model->config.transformer.width;
  projection.outputs = 128;
  projection.bias = false;
  projection.activation = Activation::kIdentity;
  bool skip_punctuation = true;
  std::string similarity = "cosine";
  std::string interaction = "colbert";
  PG_SEMANTIC_RETURN_IF_ERROR(take_string(*metadata, "query_token_id", path, &late.query_marker));
  PG_SEMANTIC_RETURN_IF_ERROR(take_string(*metadata, "doc_token_id", path, &late.document_marker));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*metadata, {"query_maxlen"}, path, &late.query_length));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*metadata, {"doc_maxlen"}, path, &late.document_length));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*metadata, {"dim"}, path, &projection.outputs));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*metadata, "attend_to_mask_tokens", path, &late.attend_to_expansion));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*metadata, "mask_punctuation", path, &skip_punctuation));
  PG_SEMANTIC_RETURN_IF_ERROR(take_string(*metadata, "similarity", path, &similarity));
  PG_SEMANTIC_RETURN_IF_ERROR(take_string(*metadata, "interaction", path, &interaction));
  if (similarity != "cosine" && similarity != "l2") {
    return unsupported(path, "Its similarity is \"" + similarity + "\"; the supported ones are cosine and l2.");
  }
  if (interaction != "colbert") return unsupported(path, "Its interaction is \"" + interaction + "\".");
  late.squared_distance = similarity == "l2";
  if (skip_punctuation) late.skipped_words = punctuation();
  late.projections = {projection};
  model->dense_directories = {model->encoder_directory};
  limit_document_length(&model->config);
  return Status::ok();
}

Status read_pylate_settings(const ConfigFiles& files, ModelConfig* model) {
  const std::string name = "config_sentence_transformers.json";
  const std::string path = files.path(name);
  const Result<json> settings = files.read(name);
  if (!settings) return settings.status();
  LateInteractionConfig& late = model->late_interaction;
  late.query_marker = "[Q] ";
  late.document_marker = "[D] ";
  late.skipped_words = punctuation();
  PG_SEMANTIC_RETURN_IF_ERROR(take_string(*settings, "query_prefix", path, &late.query_marker));
  PG_SEMANTIC_RETURN_IF_ERROR(take_string(*settings, "document_prefix", path, &late.document_marker));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*settings, {"query_length"}, path, &late.query_length));
  PG_SEMANTIC_RETURN_IF_ERROR(take_integer(*settings, {"document_length"}, path, &late.document_length));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*settings, "do_query_expansion", path, &late.expand_queries));
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(*settings, "attend_to_expansion_tokens", path, &late.attend_to_expansion));
  PG_SEMANTIC_RETURN_IF_ERROR(take_words(*settings, "skiplist_words", path, &late.skipped_words));
  limit_document_length(model);
  return Status::ok();
}

}  // namespace pg_semantic::encoder
