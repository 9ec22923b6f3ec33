// tokenizer.json, the serialised form of Hugging Face's fast tokenizers.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_JSON_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_JSON_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/status.h"
#include "encoder/tokenizer.h"

namespace pg_semantic::encoder {

// The added tokens of a tokenizer, with ids given as Hugging Face's
// AddedVocabulary::add_tokens gives them: the vocabulary's id of the same
// text, else the next free one, whatever id a file names.
class AddedTokenList {
 public:
  explicit AddedTokenList(const std::vector<std::string>& vocabulary);

  // Adds `token`, or replaces the one with the same text.
  void add(AddedToken token);
  // The vocabulary's or the added token's id; -1: none.
  [[nodiscard]] int32_t find(std::string_view content) const;
  [[nodiscard]] bool contains(std::string_view content) const;
  [[nodiscard]] const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::unordered_map<std::string, int32_t> vocabulary_;
  std::unordered_map<std::string, size_t> places_;  // of tokens_, by content
  std::vector<AddedToken> tokens_;
  int32_t next_id_ = 0;
};

// A token as files write it, {"content": …, "lstrip": …}.
// What is left out: single_word, lstrip, rstrip false; normalized the opposite of special.
Result<AddedToken> read_added_token(const nlohmann::json& object, bool special_by_default, std::string_view what);

// What tokenizer.json says, or in its place the original files of a family with its defaults.
struct TokenizerJson {
  bool is_tokenizer_json = false;
  TokenizerConfig config;  // without the added tokens
  // Of tokenizers other than BERT's, what becomes config.pipeline->components.
  nlohmann::json components;
  std::vector<AddedToken> added_tokens;
  std::optional<bool> strip_accents;  // null: as lowercase
};
Result<TokenizerJson> read_tokenizer_json(const nlohmann::json& document);

// The vocabulary, {"piece": id, …}, into a list by id.
Status read_vocabulary(const nlohmann::json& pieces, std::vector<std::string>* vocabulary);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_JSON_H
