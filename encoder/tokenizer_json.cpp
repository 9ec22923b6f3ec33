// tokenizer.json; see tokenizer_json.h.
#include "encoder/tokenizer_json.h"

#include <algorithm>
#include <utility>

#include "encoder/json.h"
#include "encoder/tokenizer_json_values.h"
#include "encoder/tokenizer_decoder.h"
#include "encoder/tokenizer_post_processor.h"
#include "encoder/tokenizer_pre_tokenizer.h"
#include "encoder/tokenizer_tables.h"
#include "encoder/tokenizer_text_normalizer.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

Status unsupported(const std::string& part, const std::string& type) {
  return {StatusCode::kUnsupported, "tokenizer " + part + " \"" + type + "\" is not supported",
          "File \"tokenizer.json\" asks for it."};
}

std::string type_of(const json& part) {
  const json* type = json_member(part, "type");
  return type != nullptr && type->is_string() ? type->get<std::string>() : "(none)";
}

// A part alone or as the only member of a Sequence; `list` is what the sequence's members are called.
const json* sole_part(const json& document, const char* name, const char* list) {
  const json* part = json_member(document, name);
  if (part == nullptr || type_of(*part) != "Sequence") return part;
  const json* parts = json_member(*part, list);
  return parts != nullptr && parts->is_array() && parts->size() == 1 ? &parts->front() : part;
}

Status read_flag(const json& object, const char* key, std::optional<bool>* value) {
  Result<std::optional<bool>> read = json_bool(object, key, kTokenizerJson);
  if (!read.is_ok()) return read.status();
  *value = *read;
  return Status::ok();
}

Status read_normalizer(const json& document, TokenizerJson* out) {
  TokenizerConfig& config = out->config;
  const json* normalizer = sole_part(document, "normalizer", "normalizers");
  if (normalizer == nullptr) {
    config.clean_text = config.handle_chinese_chars = config.strip_accents = config.lowercase = false;
    out->strip_accents = false;
    return Status::ok();
  }
  if (type_of(*normalizer) != "BertNormalizer") return unsupported("normalizer", type_of(*normalizer));
  std::optional<bool> clean_text;
  std::optional<bool> handle_chinese_chars;
  std::optional<bool> lowercase;
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(*normalizer, "clean_text", &clean_text));
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(*normalizer, "handle_chinese_chars", &handle_chinese_chars));
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(*normalizer, "lowercase", &lowercase));
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(*normalizer, "strip_accents", &out->strip_accents));
  config.clean_text = clean_text.value_or(true);
  config.handle_chinese_chars = handle_chinese_chars.value_or(true);
  config.lowercase = lowercase.value_or(true);
  return Status::ok();
}

Status read_model(const json& document, TokenizerConfig* config) {
  const json* model = json_member(document, "model");
  if (model == nullptr || !model->is_object()) return corrupt_tokenizer("It has no model.");
  // Early files leave the type out; then only WordPiece has these members.
  const std::string type = type_of(*model);
  const bool untyped = type == "(none)" && json_member(*model, "max_input_chars_per_word") != nullptr;
  if (type != "WordPiece" && !untyped) return unsupported("model", type);

  const auto read_string = [&](const char* key, std::string* value) {
    Result<std::optional<std::string>> read = json_string(*model, key, kTokenizerJson);
    if (!read.is_ok()) return read.status();
    if (!read->has_value()) return corrupt_tokenizer("The model has no \"" + std::string(key) + "\".");
    *value = **read;
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(read_string("unk_token", &config->unknown_token));
  PG_SEMANTIC_RETURN_IF_ERROR(read_string("continuing_subword_prefix", &config->continuing_prefix));
  const Result<std::optional<int64_t>> max_chars =
      json_integer(*model, "max_input_chars_per_word", 0, INT64_MAX, kTokenizerJson);
  if (!max_chars.is_ok()) return max_chars.status();
  if (max_chars->has_value()) {
    config->max_input_chars_per_word = static_cast<uint32_t>(std::min<int64_t>(**max_chars, UINT32_MAX));
  }
  const json* pieces = json_member(*model, "vocab");
  return pieces != nullptr ? read_vocabulary(*pieces, &config->vocabulary)
                           : corrupt_tokenizer("The model has no vocabulary.");
}

// BertProcessing: {"sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}.
Status read_bert_processing(const json& processor, TokenizerConfig* config) {
  const auto read = [&](const char* key, std::string* token) {
    const json* pair = json_member(processor, key);
    if (pair == nullptr || !pair->is_array() || pair->empty() || !pair->front().is_string()) {
      return corrupt_tokenizer("The post-processor has no \"" + std::string(key) + "\".");
    }
    *token = pair->front().get<std::string>();
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(read("cls", &config->cls_token));
  return read("sep", &config->sep_token);
}

// TemplateProcessing: the single template must be [CLS] text [SEP].
Status read_template(const json& processor, TokenizerConfig* config) {
  const auto special_token = [&](const json& item) -> std::optional<std::string> {
    const json* token = json_member(item, "SpecialToken");
    const json* id = token != nullptr ? json_member(*token, "id") : nullptr;
    if (id == nullptr || !id->is_string()) return std::nullopt;
    // The name may stand for another token.
    const json* table = json_member(processor, "special_tokens");
    const json* entry = table != nullptr ? json_member(*table, id->get<std::string>()) : nullptr;
    const json* tokens = entry != nullptr ? json_member(*entry, "tokens") : nullptr;
    if (tokens == nullptr) return id->get<std::string>();
    if (!tokens->is_array() || tokens->size() != 1 || !tokens->front().is_string()) return std::nullopt;
    return tokens->front().get<std::string>();
  };
  const json* single = json_member(processor, "single");
  if (single == nullptr || !single->is_array() || single->size() != 3 ||
      json_member((*single)[1], "Sequence") == nullptr) {
    return unsupported("template", single != nullptr ? single->dump().substr(0, 200) : "(none)");
  }
  const std::optional<std::string> cls = special_token((*single)[0]);
  const std::optional<std::string> sep = special_token((*single)[2]);
  if (!cls || !sep) return unsupported("template", single->dump().substr(0, 200));
  config->cls_token = *cls;
  config->sep_token = *sep;
  return Status::ok();
}

Status read_bert_post_processor(const json& document, TokenizerConfig* config) {
  const json* processor = sole_part(document, "post_processor", "processors");
  if (processor == nullptr) return unsupported("post-processor", "(none)");
  const std::string type = type_of(*processor);
  const Result<PostProcessor> frames = read_post_processor(processor);
  if (frames) {
    const SpecialTokenFrame& pair = frames->pair;
    const SpecialTokenFrame& single = frames->single;
    const bool separates_twice = pair.between.size() == 2 && pair.between[0] == pair.between[1];
    const bool is_usual = pair.before == single.before && pair.after == single.after &&
                          (pair.between.size() == 1 || separates_twice) && pair.between[0] == single.after[0] &&
                          (!pair.has_second_segment || pair.between_in_first_segment == pair.between.size());
    if (!is_usual) return unsupported("template", type);
    config->separates_pairs_twice = separates_twice;
    config->pairs_are_one_segment = !pair.has_second_segment;
  }
  if (type == "BertProcessing") return read_bert_processing(*processor, config);
  if (type == "TemplateProcessing") return read_template(*processor, config);
  return unsupported("post-processor", type);
}

// WordPiece with BERT's parts around it.  kUnsupported: it is another tokenizer.
Status read_bert(const json& document, TokenizerJson* out) {
  PG_SEMANTIC_RETURN_IF_ERROR(read_model(document, &out->config));
  PG_SEMANTIC_RETURN_IF_ERROR(read_normalizer(document, out));
  const json* pre_tokenizer = sole_part(document, "pre_tokenizer", "pretokenizers");
  if (pre_tokenizer == nullptr || type_of(*pre_tokenizer) != "BertPreTokenizer") {
    return unsupported("pre-tokenizer", pre_tokenizer != nullptr ? type_of(*pre_tokenizer) : "(none)");
  }
  return read_bert_post_processor(document, &out->config);
}

// [["piece", -1.5], …]
Status read_scored_vocabulary(const json& pieces, TokenizerConfig* config) {
  if (pieces.empty() || pieces.size() > kMaxTokens) return corrupt_tokenizer("The vocabulary's size is out of range.");
  for (const json& piece : pieces) {
    if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number()) {
      return corrupt_tokenizer("A piece of the vocabulary is not a text and a score.");
    }
    config->vocabulary.push_back(piece[0].get<std::string>());
    config->pipeline->scores.push_back(piece[1].get<double>());
  }
  return Status::ok();
}

// ["a b", …] or, newer, [["a", "b"], …].
Status read_merges(const json& merges, PipelineConfig* pipeline) {
  if (!merges.is_array()) return corrupt_tokenizer("The model's merges are not a list.");
  const auto wrong = [] { return corrupt_tokenizer("A merge is not two tokens."); };
  for (const json& merge : merges) {
    if (merge.is_array()) {
      if (merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) return wrong();
      pipeline->merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    if (!merge.is_string()) return wrong();
    const auto text = merge.get<std::string>();
    if (text.starts_with("#version")) continue;
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return wrong();
    pipeline->merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return Status::ok();
}

// The type, which early files leave out: then the members tell.
std::string model_type(const json& model) {
  const std::string type = type_of(model);
  if (type != "(none)") return type;
  if (json_member(model, "merges") != nullptr) return "BPE";
  if (json_member(model, "max_input_chars_per_word") != nullptr) return "WordPiece";
  const json* vocabulary = json_member(model, "vocab");
  return vocabulary != nullptr && vocabulary->is_array() ? "Unigram" : "WordLevel";
}

// Whether every part is one that is known; the model's options wait for its vocabulary.
Status check_parts(const json& components) {
  const Result<TextNormalizers> normalizers = read_normalizers(json_member(components, "normalizer"));
  if (!normalizers) return normalizers.status();
  const Result<PreTokenizers> pre_tokenizers = read_pre_tokenizers(json_member(components, "pre_tokenizer"));
  if (!pre_tokenizers) return pre_tokenizers.status();
  const Result<PostProcessor> post_processor = read_post_processor(json_member(components, "post_processor"));
  if (!post_processor) return post_processor.status();
  return TokenDecoder::read(json_member(components, "decoder")).status();
}

// Any other tokenizer, part by part.
Status read_pipeline(const json& document, TokenizerJson* out) {
  out->config.pipeline.emplace();
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    if (const json* description = json_member(document, part); description != nullptr) {
      out->components[part] = *description;
    }
  }
  const json* model = json_member(document, "model");
  if (model == nullptr || !model->is_object()) return corrupt_tokenizer("It has no model.");
  json& options = out->components["model"] = json::object();
  for (const auto& [key, value] : model->items()) {
    if (key != "vocab" && key != "merges") options[key] = value;
  }
  const std::string type = model_type(*model);
  options["type"] = type;
  if (type != "BPE" && type != "Unigram" && type != "WordPiece" && type != "WordLevel") {
    return unsupported("model", type.substr(0, 100));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(check_parts(out->components));
  const Result<std::optional<std::string>> unknown = json_string(*model, "unk_token", kTokenizerJson);
  if (!unknown) return unknown.status();
  out->config.unknown_token = unknown->value_or("");
  if (const json* merges = json_member(*model, "merges"); merges != nullptr) {
    PG_SEMANTIC_RETURN_IF_ERROR(read_merges(*merges, &*out->config.pipeline));
  }
  const json* pieces = json_member(*model, "vocab");
  if (pieces == nullptr) return corrupt_tokenizer("The model has no vocabulary.");
  return pieces->is_array() ? read_scored_vocabulary(*pieces, &out->config)
                            : read_vocabulary(*pieces, &out->config.vocabulary);
}

Status read_truncation(const json& document, TokenizerConfig* config) {
  const json* truncation = json_member(document, "truncation");
  if (truncation == nullptr) return Status::ok();
  const Result<std::optional<std::string>> direction = json_string(*truncation, "direction", kTokenizerJson);
  if (!direction) return direction.status();
  config->truncates_left = direction->value_or("Right") == "Left";
  return Status::ok();
}

}  // namespace

Status read_vocabulary(const json& pieces, std::vector<std::string>* vocabulary) {
  if (!pieces.is_object() || pieces.empty()) return corrupt_tokenizer("The model has no vocabulary.");
  if (pieces.size() > kMaxTokens) {
    return corrupt_tokenizer("The vocabulary has more than " + std::to_string(kMaxTokens) + " pieces.");
  }
  std::vector<bool> taken;
  for (const auto& [piece, value] : pieces.items()) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= kMaxTokens) {
      return corrupt_tokenizer("An id of the vocabulary is not an integer between 0 and " +
                               std::to_string(kMaxTokens - 1) + ".");
    }
    const auto id = value.get<size_t>();
    if (id >= vocabulary->size()) {
      vocabulary->resize(id + 1);
      taken.resize(id + 1);
    }
    if (taken[id]) return corrupt_tokenizer("Two pieces of the vocabulary have the id " + std::to_string(id) + ".");
    taken[id] = true;
    (*vocabulary)[id] = piece;
  }
  return Status::ok();
}

AddedTokenList::AddedTokenList(const std::vector<std::string>& vocabulary) {
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary[id].empty()) vocabulary_[vocabulary[id]] = static_cast<int32_t>(id);
  }
  next_id_ = static_cast<int32_t>(vocabulary.size());
}

void AddedTokenList::add(AddedToken token) {
  if (token.content.empty()) return;
  const auto place = places_.find(token.content);
  if (place != places_.end()) {
    token.id = tokens_[place->second].id;
    tokens_[place->second] = std::move(token);
    return;
  }
  const auto known = vocabulary_.find(token.content);
  token.id = known != vocabulary_.end() ? known->second : next_id_++;
  places_[token.content] = tokens_.size();
  tokens_.push_back(std::move(token));
}

int32_t AddedTokenList::find(std::string_view content) const {
  const std::string key(content);
  if (const auto place = places_.find(key); place != places_.end()) return tokens_[place->second].id;
  const auto known = vocabulary_.find(key);
  return known != vocabulary_.end() ? known->second : -1;
}

bool AddedTokenList::contains(std::string_view content) const { return places_.count(std::string(content)) > 0; }

Result<AddedToken> read_added_token(const json& object, bool special_by_default, std::string_view what) {
  const Result<std::optional<std::string>> content = json_string(object, "content", what);
  if (!content.is_ok()) return content.status();
  if (!content->has_value()) {
    return Status(StatusCode::kCorrupt, "file \"" + std::string(what) + "\" has a wrong value",
                  "An added token has no \"content\".");
  }
  AddedToken token;
  token.content = **content;
  const auto read = [&](const char* key, bool otherwise, bool* value) {
    const Result<std::optional<bool>> flag = json_bool(object, key, what);
    if (!flag.is_ok()) return flag.status();
    *value = flag->value_or(otherwise);
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(read("special", special_by_default, &token.special));
  PG_SEMANTIC_RETURN_IF_ERROR(read("normalized", !token.special, &token.normalized));
  PG_SEMANTIC_RETURN_IF_ERROR(read("single_word", false, &token.single_word));
  PG_SEMANTIC_RETURN_IF_ERROR(read("lstrip", false, &token.lstrip));
  PG_SEMANTIC_RETURN_IF_ERROR(read("rstrip", false, &token.rstrip));
  return token;
}

Result<TokenizerJson> read_tokenizer_json(const json& document) {
  if (!document.is_object()) return corrupt_tokenizer("It is not an object.");
  TokenizerJson out;
  out.is_tokenizer_json = true;
  const Status bert = read_bert(document, &out);
  if (!bert) {
    if (bert.code() != StatusCode::kUnsupported) return bert;
    out = TokenizerJson();
    out.is_tokenizer_json = true;
    PG_SEMANTIC_RETURN_IF_ERROR(read_pipeline(document, &out));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(read_truncation(document, &out.config));

  if (const json* added = json_member(document, "added_tokens"); added != nullptr) {
    if (!added->is_array() || added->size() > kMaxAddedTokens)
      return corrupt_tokenizer("Its added tokens are not a list.");
    for (const json& item : *added) {
      Result<AddedToken> token = read_added_token(item, false, kTokenizerJson);
      if (!token.is_ok()) return token.status();
      out.added_tokens.push_back(*std::move(token));
    }
  }
  return out;
}

}  // namespace pg_semantic::encoder
