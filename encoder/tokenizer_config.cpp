// A Hugging Face directory's tokenizer files become a TokenizerConfig; see
// tokenizer_config.h.  The rules are those of transformers'
// PreTrainedTokenizerBase._from_pretrained, BertConverter and BertTokenizerFast (4.57).
#include "encoder/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "encoder/json.h"
#include "encoder/tokenizer_family.h"
#include "encoder/tokenizer_json.h"
#include "encoder/tokenizer_tables.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

constexpr size_t kMaxVocabularyBytes = 64u << 20;
constexpr size_t kMaxConfigBytes = 16u << 20;
constexpr const char* kTokenizerFile = "tokenizer.json";
constexpr const char* kVocabularyFile = "vocab.txt";
constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr const char* kSpecialTokensFile = "special_tokens_map.json";
constexpr const char* kModelFile = "config.json";
constexpr const char* kAddedTokensFile = "added_tokens.json";

Status wrong_file(std::string_view file, std::string detail) {
  return {StatusCode::kCorrupt, "file \"" + std::string(file) + "\" is not usable", std::move(detail)};
}

// An object, empty when the file is absent.
Result<json> read_object(const FileReader& files, const char* name, size_t max_bytes) {
  Result<std::optional<std::string>> text = files.read_small_file(name, max_bytes);
  if (!text.is_ok()) return text.status();
  if (!text->has_value()) return json::object();
  Result<json> document = parse_json(**text, name);
  if (document.is_ok() && !document->is_object()) return wrong_file(name, "It does not hold a JSON object.");
  return document;
}

// Lines as Python's text mode has them: "\n", "\r\n" and "\r" each end one, and
// nothing else is stripped.
Result<std::vector<std::string>> read_vocabulary_lines(std::string_view text) {
  if (!is_valid_utf8(text)) return wrong_file(kVocabularyFile, "It is not valid UTF-8.");
  std::vector<std::string> lines;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find_first_of("\r\n", start), text.size());
    if (lines.size() >= kMaxTokens) {
      return wrong_file(kVocabularyFile, "It has more than " + std::to_string(kMaxTokens) + " lines.");
    }
    lines.emplace_back(text.substr(start, end - start));
    start = end + 1;
    if (end + 1 < text.size() && text[end] == '\r' && text[end + 1] == '\n') ++start;
  }
  return lines;
}

// The named special tokens, in the order in which transformers adds them.
struct SpecialTokens {
  static constexpr std::array<const char*, 7> kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                        "pad_token", "cls_token", "mask_token"};
  std::map<std::string, AddedToken, std::less<>> named;
  std::vector<AddedToken> additional;

  [[nodiscard]] bool contains(std::string_view content) const {
    const auto is_it = [&](const AddedToken& token) { return token.content == content; };
    return std::any_of(named.begin(), named.end(), [&](const auto& entry) { return is_it(entry.second); }) ||
           std::any_of(additional.begin(), additional.end(), is_it);
  }
};

AddedToken special_token(std::string content) {
  AddedToken token;
  token.content = std::move(content);
  return token;
}

// "[MASK]" or {"content": "[MASK]", "lstrip": true, …}.
Result<AddedToken> read_special_token(const json& value, std::string_view key, const char* file) {
  if (value.is_string()) return special_token(value.get<std::string>());
  if (!value.is_object()) {
    return wrong_file(file, "The value of \"" + std::string(key) + "\" is neither a string nor a token.");
  }
  Result<AddedToken> token = read_added_token(value, true, file);
  if (token.is_ok()) token->special = true;
  return token;
}

Status read_additional_tokens(const json& object, const char* key, const char* file, SpecialTokens* tokens) {
  const json* list = json_member(object, key);
  if (list == nullptr) return Status::ok();
  if (!list->is_array() && !list->is_object()) {
    return wrong_file(file, "The value of \"" + std::string(key) + "\" is not a list of tokens.");
  }
  if (list->size() > kMaxAddedTokens) return wrong_file(file, "It has too many special tokens.");
  for (const json& item : *list) {
    Result<AddedToken> token = read_special_token(item, key, file);
    if (!token.is_ok()) return token.status();
    tokens->additional.push_back(*std::move(token));
  }
  return Status::ok();
}

// What `object` says, over what is in `tokens`.
Status read_special_tokens(const json& object, const char* file, SpecialTokens* tokens) {
  for (const char* name : SpecialTokens::kNames) {
    const json* value = json_member(object, name);
    if (value == nullptr) continue;
    Result<AddedToken> token = read_special_token(*value, name, file);
    if (!token.is_ok()) return token.status();
    tokens->named[name] = *std::move(token);
  }
  PG_SEMANTIC_RETURN_IF_ERROR(read_additional_tokens(object, "additional_special_tokens", file, tokens));
  return read_additional_tokens(object, "extra_special_tokens", file, tokens);
}

// Tokens by the id that a file gives them; the order of ids is the order of adding.
using TokensById = std::map<int64_t, AddedToken>;

// {"30522": {"content": …}, …}
Status read_added_tokens_decoder(const json& decoder, TokensById* tokens) {
  if (!decoder.is_object() || decoder.size() > kMaxAddedTokens) {
    return wrong_file(kConfigFile, "The value of \"added_tokens_decoder\" is not a table of tokens.");
  }
  for (const auto& [key, value] : decoder.items()) {
    const bool is_id = !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!is_id) return wrong_file(kConfigFile, "A key of \"added_tokens_decoder\" is not an id.");
    Result<AddedToken> token = read_added_token(value, false, kConfigFile);
    if (!token.is_ok()) return token.status();
    (*tokens)[std::stol(key)] = *std::move(token);
  }
  return Status::ok();
}

// {"token": 30522, …}
Status read_added_tokens_file(const json& object, const SpecialTokens& special_tokens, TokensById* tokens) {
  if (object.size() > kMaxAddedTokens) return wrong_file(kAddedTokensFile, "It has too many tokens.");
  for (const auto& [content, value] : object.items()) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= kMaxTokens) {
      return wrong_file(kAddedTokensFile,
                        "An id is not an integer between 0 and " + std::to_string(kMaxTokens - 1) + ".");
    }
    AddedToken token;
    token.content = content;
    token.special = special_tokens.contains(content);
    token.normalized = !token.special;
    (*tokens)[value.get<int64_t>()] = token;
  }
  return Status::ok();
}

// The switches of BERT's normaliser in tokenizer_config.json.
struct NormalizerSwitches {
  std::optional<bool> do_lower_case;
  std::optional<bool> tokenize_chinese_chars;
  std::optional<bool> strip_accents;
  bool names_strip_accents = false;  // maybe as null: the same as lower-casing
};

Result<NormalizerSwitches> read_switches(const json& config) {
  NormalizerSwitches switches;
  const auto read = [&](const char* key, std::optional<bool>* value) {
    Result<std::optional<bool>> flag = json_bool(config, key, kConfigFile);
    if (!flag.is_ok()) return flag.status();
    *value = *flag;
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(read("do_lower_case", &switches.do_lower_case));
  PG_SEMANTIC_RETURN_IF_ERROR(read("tokenize_chinese_chars", &switches.tokenize_chinese_chars));
  PG_SEMANTIC_RETURN_IF_ERROR(read("strip_accents", &switches.strip_accents));
  switches.names_strip_accents = config.contains("strip_accents");
  return switches;
}

std::string tokenizer_class(const json& config) {
  const json* name = json_member(config, "tokenizer_class");
  if (name == nullptr || !name->is_string()) return "";
  std::string text = name->get<std::string>();
  if (text.size() > 4 && text.ends_with("Fast") && text != "PreTrainedTokenizerFast") text.resize(text.size() - 4);
  return text;
}

SpecialTokenNames names_of(const SpecialTokens& special) {
  SpecialTokenNames names;
  for (const auto& [role, token] : special.named) names.emplace_back(role, token.content);
  return names;
}

// vocab.txt, with the defaults of BERT's tokenizer, or of MPNet's.
Result<TokenizerJson> read_vocabulary_file(TokenizerFamily family, const FileReader& files, const json& config) {
  const Result<std::optional<std::string>> text = files.read_small_file(kVocabularyFile, kMaxVocabularyBytes);
  if (!text.is_ok()) return text.status();
  if (!text->has_value()) {
    return Status(StatusCode::kNotFound, "model directory has no tokenizer",
                  "There is neither a file \"tokenizer.json\" nor a file \"vocab.txt\".");
  }
  const std::string name = tokenizer_class(config);
  for (const char* known : {"", "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer",
                            "MPNetTokenizer", "PreTrainedTokenizerFast"}) {
    if (name != known) continue;
    Result<std::vector<std::string>> lines = read_vocabulary_lines(**text);
    if (!lines.is_ok()) return lines.status();
    TokenizerJson base;
    base.config.vocabulary = *std::move(lines);
    base.config.separates_pairs_twice = family == TokenizerFamily::kMpnet;
    return base;
  }
  return Status(StatusCode::kUnsupported, "tokenizer class \"" + name.substr(0, 100) + "\" is not supported",
                "Without a file \"tokenizer.json\", only BERT's tokenizer and its equals are supported.");
}

// The tokenizer before added tokens: tokenizer.json, or the original files and their class's defaults.
Result<TokenizerJson> read_base(TokenizerFamily family, const FileReader& files, const json& config,
                                const SpecialTokens& special) {
  const Result<std::optional<std::string>> text = files.read_small_file(kTokenizerFile, kMaxVocabularyBytes);
  if (!text.is_ok()) return text.status();
  if (text->has_value()) {
    const Result<json> document = parse_json(**text, kTokenizerFile);
    if (!document.is_ok()) return document.status();
    return read_tokenizer_json(*document);
  }
  if (family == TokenizerFamily::kBert || family == TokenizerFamily::kMpnet) {
    return read_vocabulary_file(family, files, config);
  }
  return read_family_files(family, files, config, names_of(special));
}

// The family that the directory's files name.
Result<TokenizerFamily> find_family(const FileReader& files, const json& config) {
  const std::string name = tokenizer_class(config);
  const Result<json> model = read_object(files, kModelFile, kMaxConfigBytes);
  // Whether that file is sound is for others to say.
  const json* type = model ? json_member(*model, "model_type") : nullptr;
  return tokenizer_family(name, type != nullptr && type->is_string() ? type->get<std::string>() : "");
}

// The switches of BERT's normaliser in the description of one.
void apply_switches(const NormalizerSwitches& switches, json* components) {
  const json* normalizer = json_member(*components, "normalizer");
  const json* type = normalizer != nullptr ? json_member(*normalizer, "type") : nullptr;
  if (type == nullptr || *type != "BertNormalizer") return;
  json& options = (*components)["normalizer"];
  if (switches.do_lower_case) options["lowercase"] = *switches.do_lower_case;
  if (switches.tokenize_chinese_chars) options["handle_chinese_chars"] = *switches.tokenize_chinese_chars;
  if (!switches.names_strip_accents) return;
  options["strip_accents"] = switches.strip_accents ? json(*switches.strip_accents) : json();
}

// How texts are cut, and what is done to decoded text.
Status read_sides(const json& config, TokenizerConfig* result) {
  const Result<std::optional<std::string>> side = json_string(config, "truncation_side", kConfigFile);
  if (!side.is_ok()) return side.status();
  if (side->has_value()) result->truncates_left = **side == "left";
  const Result<std::optional<bool>> cleanup = json_bool(config, "clean_up_tokenization_spaces", kConfigFile);
  if (!cleanup.is_ok()) return cleanup.status();
  result->cleans_up_spaces = cleanup->value_or(false) && result->pipeline.has_value();
  return Status::ok();
}

void apply_switches(const NormalizerSwitches& switches, std::optional<bool> strip_accents, TokenizerConfig* config) {
  config->lowercase = switches.do_lower_case.value_or(config->lowercase);
  config->handle_chinese_chars = switches.tokenize_chinese_chars.value_or(config->handle_chinese_chars);
  if (switches.names_strip_accents) strip_accents = switches.strip_accents;
  config->strip_accents = strip_accents.value_or(config->lowercase);
}

void use_names(const SpecialTokens& special, bool from_vocabulary_file, TokenizerConfig* config) {
  const auto use = [&](const char* name, std::string* token) {
    const auto found = special.named.find(name);
    if (found != special.named.end()) *token = found->second.content;
  };
  use("pad_token", &config->pad_token);
  use("mask_token", &config->mask_token);
  // tokenizer.json has its own in the model and the post-processor.
  if (!from_vocabulary_file) return;
  use("unk_token", &config->unknown_token);
  use("cls_token", &config->cls_token);
  use("sep_token", &config->sep_token);
}

}  // namespace

Result<TokenizerConfig> load_tokenizer_config(const FileReader& files) {
  Result<json> config = read_object(files, kConfigFile, kMaxConfigBytes);
  if (!config.is_ok()) return config.status();
  const Result<TokenizerFamily> family = find_family(files, *config);
  if (!family.is_ok()) return family.status();

  SpecialTokens special;
  std::vector<std::string> by_default;  // the special tokens that no file names
  const auto add_defaults = [&] {
    for (const auto& [name, token] : default_special_tokens(*family)) {
      if (special.named.try_emplace(name, token).second) by_default.emplace_back(name);
    }
  };
  PG_SEMANTIC_RETURN_IF_ERROR(read_special_tokens(*config, kConfigFile, &special));
  TokensById more;
  bool replaces = false;  // whether `more` also changes tokens that tokenizer.json has
  if (const json* decoder = json_member(*config, "added_tokens_decoder"); decoder != nullptr) {
    PG_SEMANTIC_RETURN_IF_ERROR(read_added_tokens_decoder(*decoder, &more));
    replaces = true;
    add_defaults();
  } else {
    Result<json> map = read_object(files, kSpecialTokensFile, kMaxConfigBytes);
    if (!map.is_ok()) return map.status();
    PG_SEMANTIC_RETURN_IF_ERROR(read_special_tokens(*map, kSpecialTokensFile, &special));
    add_defaults();
    Result<json> added = read_object(files, kAddedTokensFile, kMaxConfigBytes);
    if (!added.is_ok()) return added.status();
    PG_SEMANTIC_RETURN_IF_ERROR(read_added_tokens_file(*added, special, &more));
  }

  Result<TokenizerJson> base = read_base(*family, files, *config, special);
  if (!base.is_ok()) return base.status();
  TokenizerConfig result = std::move(base->config);
  Result<NormalizerSwitches> switches = read_switches(*config);
  if (!switches.is_ok()) return switches.status();
  // PreTrainedTokenizerFast takes tokenizer.json as it is.
  if (tokenizer_class(*config) == "PreTrainedTokenizerFast") {
    *switches = NormalizerSwitches();
    for (const std::string& name : by_default) {
      if (result.pipeline) special.named.erase(name);
    }
  }
  PG_SEMANTIC_RETURN_IF_ERROR(read_sides(*config, &result));
  if (result.pipeline) {
    apply_switches(*switches, &base->components);
    PG_SEMANTIC_RETURN_IF_ERROR(apply_family(*family, *config, &base->components));
    result.pipeline->components = base->components.dump();
  } else {
    apply_switches(*switches, base->strip_accents, &result);
  }

  if (!base->is_tokenizer_json) {
    // The class's own tokens count more than SentencePiece's of the same text.
    std::erase_if(base->added_tokens, [&](const AddedToken& token) { return special.contains(token.content); });
  }
  AddedTokenList list(result.vocabulary);
  for (AddedToken& token : base->added_tokens) list.add(std::move(token));
  for (auto& [id, token] : more) {
    if (!replaces && list.contains(token.content)) continue;
    token.special = token.special || special.contains(token.content);
    list.add(std::move(token));
  }
  for (const char* name : SpecialTokens::kNames) {
    const auto found = special.named.find(name);
    if (found == special.named.end() || list.contains(found->second.content)) continue;
    // A named token that the vocabulary lacks would get an id that the model has no embedding for.
    if (list.find(found->second.content) >= 0) list.add(found->second);
  }
  for (const AddedToken& token : special.additional) {
    if (!list.contains(token.content)) list.add(token);
  }
  use_names(special, !base->is_tokenizer_json || result.pipeline, &result);
  result.added_tokens = list.tokens();
  return result;
}

Status lower_case_texts(TokenizerConfig* config) {
  config->lowercase = true;
  if (!config->pipeline) return Status::ok();
  Result<json> components = parse_json(config->pipeline->components, kTokenizerFile);
  if (!components.is_ok()) return components.status();
  json normalizers = json::array({{{"type", "Lowercase"}}});
  if (const json* normalizer = json_member(*components, "normalizer"); normalizer != nullptr) {
    normalizers.push_back(*normalizer);
  }
  (*components)["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
  config->pipeline->components = components->dump();
  return Status::ok();
}

Result<std::optional<int32_t>> load_model_max_length(const FileReader& files) {
  Result<json> config = read_object(files, kConfigFile, kMaxConfigBytes);
  if (!config.is_ok()) return config.status();
  const Result<std::optional<double>> length = json_number(*config, "model_max_length", kConfigFile);
  if (!length.is_ok()) return length.status();
  if (!length->has_value() || **length > INT32_MAX) return std::optional<int32_t>();
  if (!(**length >= 1)) return wrong_file(kConfigFile, "The value of \"model_max_length\" is not positive.");
  return std::optional<int32_t>(static_cast<int32_t>(**length));
}

}  // namespace pg_semantic::encoder
