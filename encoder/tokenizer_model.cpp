// See tokenizer_model.h; WordPiece and WordLevel, and which model it is to be.
#include "encoder/tokenizer_model.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "encoder/json.h"
#include "encoder/tokenizer_json_values.h"
#include "encoder/tokenizer_bpe.h"
#include "encoder/tokenizer_unigram.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

class WordLevelModel final : public WordModel {
 public:
  WordLevelModel(int32_t unknown_id, const PipelineTables& tables) : tables_(tables), unknown_id_(unknown_id) {}

  void tokenize(std::string_view word, std::vector<WordPart>* parts) const override {
    const int32_t id = tables_.tokens().find_piece(word);
    parts->push_back({id >= 0 ? id : unknown_id_, 0, word.size()});
  }
  [[nodiscard]] int32_t unknown_id() const override { return unknown_id_; }

 private:
  const PipelineTables& tables_;
  const int32_t unknown_id_;
};

class WordPieceModel final : public WordModel {
 public:
  WordPieceModel(int32_t unknown_id, std::string prefix, size_t max_characters, const PipelineTables& tables)
      : tables_(tables),
        unknown_id_(unknown_id),
        prefix_(std::move(prefix)),
        prefix_hash_(PieceHash().add(prefix_)),
        max_characters_(max_characters) {}

  void tokenize(std::string_view word, std::vector<WordPart>* parts) const override {
    const size_t before = parts->size();
    if (count_code_points(word) <= max_characters_ && match(word, parts)) return;
    parts->resize(before);
    parts->push_back({unknown_id_, 0, word.size()});
  }
  [[nodiscard]] std::string_view continuing_prefix() const override { return prefix_; }
  [[nodiscard]] int32_t unknown_id() const override { return unknown_id_; }

 private:
  bool match(std::string_view word, std::vector<WordPart>* parts) const {
    const size_t longest = tables_.tokens().header().longest_piece_bytes;
    for (size_t start = 0; start < word.size();) {
      PieceHash hash = start == 0 ? PieceHash() : prefix_hash_;
      const std::string_view prefix = start == 0 ? std::string_view() : prefix_;
      WordPart best{-1, start, start};
      for (size_t end = start; end < word.size() && end - start < longest;) {
        hash.add(word[end]);
        ++end;
        if (end < word.size() && is_utf8_continuation(word[end])) continue;
        const int32_t id = tables_.tokens().find_piece(hash, prefix, word.substr(start, end - start));
        if (id >= 0) best = {id, start, end};
      }
      if (best.id < 0) return false;
      parts->push_back(best);
      start = best.end;
    }
    return true;
  }

  const PipelineTables& tables_;
  const int32_t unknown_id_;
  const std::string prefix_;
  const PieceHash prefix_hash_;
  const size_t max_characters_;
};

using Made = Result<std::unique_ptr<WordModel>>;

// ---- reading ------------------------------------------------------------------------

Result<int32_t> read_unknown(const json& object, const PipelineTables& tables) {
  const Result<std::string> token = required_string(object, "unk_token", "The model");
  if (!token) return token.status();
  const int32_t id = tables.tokens().find_piece(*token);
  if (id < 0) return corrupt_tokenizer("The model's unknown token is not in the vocabulary.");
  return id;
}

Status read_flag(const json& object, const char* key, bool* value) {
  const Result<std::optional<bool>> flag = json_bool(object, key, kTokenizerJson);
  if (!flag) return flag.status();
  *value = flag->value_or(false);
  return Status::ok();
}

Made read_bpe(const json& object, const PipelineTables& tables) {
  const Result<std::optional<double>> dropout = json_number(object, "dropout", kTokenizerJson);
  if (!dropout) return dropout.status();
  if (dropout->value_or(0) != 0) {
    return Status(StatusCode::kUnsupported, "tokenizer model option \"dropout\" is not supported",
                  "Its tokens would be left to chance.");
  }
  BpeOptions options;
  const Result<std::optional<std::string>> unknown = json_string(object, "unk_token", kTokenizerJson);
  if (!unknown) return unknown.status();
  options.unknown_token = *unknown;
  for (const auto& [key, value] : {std::pair("continuing_subword_prefix", &options.continuing_prefix),
                                   std::pair("end_of_word_suffix", &options.end_of_word_suffix)}) {
    const Result<std::optional<std::string>> read = json_string(object, key, kTokenizerJson);
    if (!read) return read.status();
    *value = read->value_or("");
  }
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(object, "fuse_unk", &options.fuse_unknown));
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(object, "byte_fallback", &options.byte_fallback));
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(object, "ignore_merges", &options.ignore_merges));
  return std::unique_ptr<WordModel>(std::make_unique<BpeModel>(std::move(options), tables));
}

Made read_unigram(const json& object, const PipelineTables& tables) {
  const int64_t last = static_cast<int64_t>(tables.tokens().header().piece_count) - 1;
  const Result<std::optional<int64_t>> unknown = json_integer(object, "unk_id", 0, last, kTokenizerJson);
  if (!unknown) return unknown.status();
  if (!unknown->has_value()) {
    return Status(StatusCode::kUnsupported, "tokenizer model \"Unigram\" without \"unk_id\" is not supported",
                  "It has no token for characters that its vocabulary lacks.");
  }
  if (!tables.has_trie()) return corrupt_tokenizer("The model has no scores.");
  bool byte_fallback = false;
  PG_SEMANTIC_RETURN_IF_ERROR(read_flag(object, "byte_fallback", &byte_fallback));
  return std::unique_ptr<WordModel>(
      std::make_unique<UnigramModel>(static_cast<int32_t>(**unknown), byte_fallback, tables));
}

Made read_word_piece(const json& object, const PipelineTables& tables) {
  const Result<int32_t> unknown = read_unknown(object, tables);
  if (!unknown) return unknown.status();
  Result<std::string> prefix = required_string(object, "continuing_subword_prefix", "The model");
  if (!prefix) return prefix.status();
  const Result<std::optional<int64_t>> limit =
      json_integer(object, "max_input_chars_per_word", 0, INT64_MAX, kTokenizerJson);
  if (!limit) return limit.status();
  return std::unique_ptr<WordModel>(std::make_unique<WordPieceModel>(
      *unknown, std::move(*prefix), static_cast<size_t>(limit->value_or(100)), tables));
}

}  // namespace

Made read_word_model(const json& description, const PipelineTables& tables) {
  const Result<std::string> type = required_string(description, "type", "The model");
  if (!type) return type.status();
  if (*type == "BPE") return read_bpe(description, tables);
  if (*type == "Unigram") return read_unigram(description, tables);
  if (*type == "WordPiece") return read_word_piece(description, tables);
  if (*type == "WordLevel") {
    const Result<int32_t> unknown = read_unknown(description, tables);
    if (!unknown) return unknown.status();
    return std::unique_ptr<WordModel>(std::make_unique<WordLevelModel>(*unknown, tables));
  }
  return Status(StatusCode::kUnsupported, "tokenizer model \"" + type->substr(0, 100) + "\" is not supported",
                "File \"tokenizer.json\" asks for it.");
}

}  // namespace pg_semantic::encoder
