// See tokenizer_family.h.
#include "encoder/tokenizer_family.h"

#include <algorithm>
#include <optional>
#include <set>

#include "encoder/json.h"
#include "encoder/sentencepiece_model.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

constexpr size_t kMaxFileBytes = 64u << 20;
constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr const char* kVocabularyFile = "vocab.json";
constexpr const char* kMergesFile = "merges.txt";
constexpr const char* kMetaspace = "\xE2\x96\x81";

Status wrong_file(std::string_view file, std::string detail) {
  return {StatusCode::kCorrupt, "file \"" + std::string(file) + "\" is not usable", std::move(detail)};
}

Result<std::string> required_file(const FileReader& files, const char* name) {
  Result<std::optional<std::string>> text = files.read_small_file(name, kMaxFileBytes);
  if (!text) return text.status();
  if (!text->has_value()) {
    return Status(StatusCode::kNotFound, "model directory has no tokenizer",
                  "There is neither a file \"tokenizer.json\" nor a file \"" + std::string(name) + "\".");
  }
  return std::move(**text);
}

Result<bool> flag(const json& config, const char* key, bool otherwise) {
  const Result<std::optional<bool>> value = json_bool(config, key, kConfigFile);
  if (!value) return value.status();
  return value->value_or(otherwise);
}

Result<int32_t> id_of(const SpecialTokenNames& special, const char* role, const std::vector<std::string>& vocabulary) {
  for (const auto& [name, content] : special) {
    if (name != role) continue;
    const auto found = std::find(vocabulary.begin(), vocabulary.end(), content);
    if (found != vocabulary.end()) return static_cast<int32_t>(found - vocabulary.begin());
  }
  return Status(StatusCode::kCorrupt, "tokenizer configuration is not usable",
                "The vocabulary has no \"" + std::string(role) + "\".");
}

// A template of one letter a piece: C and S for [CLS] and [SEP], A and B for the texts; the type after each.
json template_processing(std::string_view single, std::string_view pair, int32_t cls, int32_t sep) {
  const auto pieces = [](std::string_view letters) {
    json list = json::array();
    for (size_t i = 0; i + 1 < letters.size(); i += 2) {
      const char* kind = letters[i] == 'A' || letters[i] == 'B' ? "Sequence" : "SpecialToken";
      list.push_back({{kind, {{"id", std::string(1, letters[i])}, {"type_id", letters[i + 1] - '0'}}}});
    }
    return list;
  };
  const auto special = [](const char* name, int32_t id) {
    return json{{"id", name}, {"ids", {id}}, {"tokens", {name}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", pieces(single)},
          {"pair", pieces(pair)},
          {"special_tokens", {{"C", special("C", cls)}, {"S", special("S", sep)}}}};
}

// ---- RoBERTa ------------------------------------------------------------------------

// Lines "a b" between the first one, "#version", and the last one, which is empty.
Status read_merges_file(std::string_view text, PipelineConfig* pipeline) {
  if (!is_valid_utf8(text)) return wrong_file(kMergesFile, "It is not valid UTF-8.");
  std::set<std::pair<std::string_view, std::string_view>> known;
  size_t start = text.find('\n');
  while (start != std::string_view::npos) {
    const size_t end = text.find('\n', ++start);
    if (end == std::string_view::npos) break;
    std::string_view line = text.substr(start, end - start);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t space = line.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      return wrong_file(kMergesFile, "A line is not two tokens.");
    }
    const auto merge = std::pair(line.substr(0, space), line.substr(space + 1));
    if (known.insert(merge).second) pipeline->merges.emplace_back(merge);
    start = end;
  }
  return Status::ok();
}

Result<TokenizerJson> read_roberta(const FileReader& files, const json& config, const SpecialTokenNames& special) {
  const Result<std::string> text = required_file(files, kVocabularyFile);
  if (!text) return text.status();
  const Result<json> pieces = parse_json(*text, kVocabularyFile);
  if (!pieces) return pieces.status();
  const Result<std::string> merges = required_file(files, kMergesFile);
  if (!merges) return merges.status();
  TokenizerJson out;
  out.config.pipeline.emplace();
  PG_SEMANTIC_RETURN_IF_ERROR(read_vocabulary(*pieces, &out.config.vocabulary));
  PG_SEMANTIC_RETURN_IF_ERROR(read_merges_file(*merges, &*out.config.pipeline));
  const Result<bool> prefix = flag(config, "add_prefix_space", false);
  if (!prefix) return prefix.status();
  const Result<int32_t> cls = id_of(special, "cls_token", out.config.vocabulary);
  if (!cls) return cls.status();
  const Result<int32_t> sep = id_of(special, "sep_token", out.config.vocabulary);
  if (!sep) return sep.status();
  out.components = {{"model", {{"type", "BPE"}}},
                    {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", *prefix}}},
                    {"post_processor",
                     {{"type", "RobertaProcessing"},
                      {"cls", {"", *cls}},
                      {"sep", {"", *sep}},
                      {"trim_offsets", true},
                      {"add_prefix_space", *prefix}}},
                    {"decoder", {{"type", "ByteLevel"}}}};
  return out;
}

// ---- SentencePiece --------------------------------------------------------------------

std::string encode_base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

json replace(const char* kind, const char* pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

void append_charsmap(const SentencePieceModel& model, json* normalizers) {
  if (model.precompiled_charsmap.empty()) return;
  normalizers->push_back(
      {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(model.precompiled_charsmap)}});
}

Result<json> albert_normalizers(const SentencePieceModel& model, const json& config) {
  const Result<bool> keeps_accents = flag(config, "keep_accents", false);
  if (!keeps_accents) return keeps_accents.status();
  const Result<bool> lowercase = flag(config, "do_lower_case", true);
  if (!lowercase) return lowercase.status();
  json normalizers = json::array({replace("String", "``", "\""), replace("String", "''", "\"")});
  if (!*keeps_accents) {
    normalizers.push_back({{"type", "NFKD"}});
    normalizers.push_back({{"type", "StripAccents"}});
  }
  if (*lowercase) normalizers.push_back({{"type", "Lowercase"}});
  append_charsmap(model, &normalizers);
  normalizers.push_back(replace("Regex", " {2,}", " "));
  return normalizers;
}

json usual_normalizers(const SentencePieceModel& model) {
  json normalizers = json::array();
  append_charsmap(model, &normalizers);
  normalizers.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
  normalizers.push_back(replace("Regex", " {2,}", kMetaspace));
  return normalizers;
}

// ALBERT's numbers do not end in a comma.
bool is_number_with_comma(std::string_view piece) {
  if (piece.size() < 2 || !piece.ends_with(',')) return false;
  return is_decimal_digit(previous_code_point(piece, piece.size() - 1));
}

// Pieces with their scores; fairseq's families put its own tokens before SentencePiece's.
void place_pieces(TokenizerFamily family, const SentencePieceModel& model, TokenizerConfig* config) {
  const auto add = [&](std::string_view piece, double score) {
    config->vocabulary.emplace_back(piece);
    config->pipeline->scores.push_back(score);
  };
  size_t first = 0;
  if (family == TokenizerFamily::kXlmRoberta) {
    for (const char* token : {"<s>", "<pad>", "</s>", "<unk>"}) add(token, 0);
    first = 3;
  }
  if (family == TokenizerFamily::kCamembert) {
    for (const char* token : {"<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>"}) add(token, 0);
    add("<unk>NOTUSED", -100);
    first = 1;
  }
  for (size_t i = first; i < model.pieces.size(); ++i) {
    const SentencePiece& piece = model.pieces[i];
    const bool is_disliked = family == TokenizerFamily::kAlbert && is_number_with_comma(piece.text);
    add(piece.text, static_cast<double>(piece.score) - (is_disliked ? 100 : 0));
  }
  if (family != TokenizerFamily::kAlbert) add("<mask>", 0);
}

Result<TokenizerJson> read_sentencepiece(TokenizerFamily family, const FileReader& files, const json& config,
                                         const SpecialTokenNames& special) {
  const char* name = family == TokenizerFamily::kAlbert ? "spiece.model" : "sentencepiece.bpe.model";
  const Result<std::string> bytes = required_file(files, name);
  if (!bytes) return bytes.status();
  const Result<SentencePieceModel> model = parse_sentencepiece_model(*bytes);
  if (!model) return model.status();
  if (model->type != SentencePieceModel::kUnigram) {
    return Status(StatusCode::kUnsupported,
                  "SentencePiece model type " + std::to_string(model->type) + " is not supported",
                  "File \"" + std::string(name) + "\" must hold a unigram model, which is type 1.");
  }
  TokenizerJson out;
  out.config.pipeline.emplace();
  place_pieces(family, *model, &out.config);
  for (const SentencePiece& piece : model->pieces) {
    if (piece.type != SentencePiece::kControl && piece.type != SentencePiece::kUserDefined) continue;
    AddedToken token;
    token.content = piece.text;
    token.special = piece.type == SentencePiece::kControl;
    out.added_tokens.push_back(token);
  }
  json normalizers = usual_normalizers(*model);
  if (family == TokenizerFamily::kAlbert) {
    Result<json> albert = albert_normalizers(*model, config);
    if (!albert) return albert.status();
    normalizers = std::move(*albert);
  }
  const Result<int32_t> cls = id_of(special, "cls_token", out.config.vocabulary);
  if (!cls) return cls.status();
  const Result<int32_t> sep = id_of(special, "sep_token", out.config.vocabulary);
  if (!sep) return sep.status();
  const bool is_albert = family == TokenizerFamily::kAlbert;
  const json metaspace = {{"type", "Metaspace"}, {"replacement", kMetaspace}, {"prepend_scheme", "always"}};
  out.components = {
      {"normalizer", {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}}},
      {"model", {{"type", "Unigram"}, {"unk_id", is_albert ? model->unknown_id : 3}}},
      {"pre_tokenizer", metaspace},
      {"post_processor", template_processing("C0A0S0", is_albert ? "C0A0S0B1S1" : "C0A0S0S0B0S0", *cls, *sep)},
      {"decoder", metaspace}};
  return out;
}

}  // namespace

TokenizerFamily tokenizer_family(std::string_view tokenizer_class, std::string_view model_type) {
  static constexpr std::pair<std::string_view, TokenizerFamily> kClasses[] = {
      {"RobertaTokenizer", TokenizerFamily::kRoberta},
      {"AlbertTokenizer", TokenizerFamily::kAlbert},
      {"XLMRobertaTokenizer", TokenizerFamily::kXlmRoberta},
      {"CamembertTokenizer", TokenizerFamily::kCamembert},
      {"MPNetTokenizer", TokenizerFamily::kMpnet}};
  static constexpr std::pair<std::string_view, TokenizerFamily> kModels[] = {
      {"roberta", TokenizerFamily::kRoberta},
      {"albert", TokenizerFamily::kAlbert},
      {"xlm-roberta", TokenizerFamily::kXlmRoberta},
      {"camembert", TokenizerFamily::kCamembert},
      {"mpnet", TokenizerFamily::kMpnet}};
  for (const auto& [name, family] : kClasses) {
    if (tokenizer_class == name) return family;
  }
  for (const auto& [name, family] : kModels) {
    if (tokenizer_class.empty() && model_type == name) return family;
  }
  return TokenizerFamily::kBert;
}

std::vector<std::pair<const char*, AddedToken>> default_special_tokens(TokenizerFamily family) {
  const auto token = [](const char* content) {
    AddedToken made;
    made.content = content;
    return made;
  };
  const auto mask = [&](const char* content) {
    AddedToken made = token(content);
    made.lstrip = true;
    return made;
  };
  if (family == TokenizerFamily::kBert) {
    return {{"unk_token", token("[UNK]")},
            {"sep_token", token("[SEP]")},
            {"pad_token", token("[PAD]")},
            {"cls_token", token("[CLS]")},
            {"mask_token", token("[MASK]")}};
  }
  if (family == TokenizerFamily::kAlbert) {
    return {{"bos_token", token("[CLS]")}, {"eos_token", token("[SEP]")}, {"unk_token", token("<unk>")},
            {"sep_token", token("[SEP]")}, {"pad_token", token("<pad>")}, {"cls_token", token("[CLS]")},
            {"mask_token", mask("[MASK]")}};
  }
  return {{"bos_token", token("<s>")},
          {"eos_token", token("</s>")},
          {"unk_token", token(family == TokenizerFamily::kMpnet ? "[UNK]" : "<unk>")},
          {"sep_token", token("</s>")},
          {"pad_token", token("<pad>")},
          {"cls_token", token("<s>")},
          {"mask_token", mask("<mask>")}};
}

Status apply_family(TokenizerFamily family, const json& tokenizer_config, json* components) {
  const Result<bool> prefix = flag(tokenizer_config, "add_prefix_space", false);
  if (!prefix) return prefix.status();
  const Result<bool> trims = flag(tokenizer_config, "trim_offsets", true);
  if (!trims) return trims.status();
  const auto has_type = [&](const char* part, const char* type) {
    const json* description = json_member(*components, part);
    const json* name = description != nullptr ? json_member(*description, "type") : nullptr;
    return name != nullptr && name->is_string() && *name == type;
  };
  if (has_type("pre_tokenizer", "ByteLevel")) (*components)["pre_tokenizer"]["add_prefix_space"] = *prefix;
  if (family == TokenizerFamily::kRoberta && has_type("post_processor", "RobertaProcessing")) {
    (*components)["post_processor"]["add_prefix_space"] = *prefix;
    (*components)["post_processor"]["trim_offsets"] = *trims;
  }
  return Status::ok();
}

Result<TokenizerJson> read_family_files(TokenizerFamily family, const FileReader& files, const json& tokenizer_config,
                                        const SpecialTokenNames& special) {
  if (family == TokenizerFamily::kRoberta) return read_roberta(files, tokenizer_config, special);
  return read_sentencepiece(family, files, tokenizer_config, special);
}

}  // namespace pg_semantic::encoder
