// What the tokenizer's tests share: tokenizers of tiny vocabularies, model
// directories in memory, and the place of the published examples.
#ifndef PG_SEMANTIC_TESTS_UNIT_TOKENIZER_TEST_SUPPORT_H
#define PG_SEMANTIC_TESTS_UNIT_TOKENIZER_TEST_SUPPORT_H

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/file_reader.h"
#include "encoder/tokenizer.h"

namespace pg_semantic::encoder {

// The files of a model directory that exists only in a test.
struct MemoryReader : FileReader {
  std::map<std::string, std::string> files;

  explicit MemoryReader(std::map<std::string, std::string> content) : files(std::move(content)) {}

  Result<std::optional<std::string>> read_small_file(const std::string& name, size_t max_bytes) const override {
    const auto found = files.find(name);
    if (found == files.end()) return std::optional<std::string>();
    if (found->second.size() > max_bytes) return Status(StatusCode::kCorrupt, "file is too large");
    return std::optional<std::string>(found->second);
  }
};

// A tokenizer and the tables that it is a view of.
struct OwnedTokenizer {
  std::vector<std::byte> tables;
  std::unique_ptr<Tokenizer> tokenizer;

  Tokenizer* operator->() const { return tokenizer.get(); }
  const Tokenizer& operator*() const { return *tokenizer; }
};

inline OwnedTokenizer make_tokenizer(const TokenizerConfig& config) {
  OwnedTokenizer result;
  const Status compiled = Tokenizer::compile(config, &result.tables);
  EXPECT_TRUE(compiled.is_ok()) << compiled.message() << ": " << compiled.detail();
  Result<std::unique_ptr<Tokenizer>> opened = Tokenizer::open(result.tables);
  EXPECT_TRUE(opened.is_ok()) << opened.status().detail();
  if (opened.is_ok()) result.tokenizer = std::move(*opened);
  return result;
}

inline const std::vector<std::string>& special_token_names() {
  static const std::vector<std::string> names = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  return names;
}

// The five special tokens (ids 0 to 4), then `pieces`; special tokens are found in the text.
inline TokenizerConfig tiny_config(const std::vector<std::string>& pieces) {
  TokenizerConfig config;
  config.vocabulary = special_token_names();
  for (size_t id = 0; id < config.vocabulary.size(); ++id) {
    AddedToken token;
    token.content = config.vocabulary[id];
    token.id = static_cast<int32_t>(id);
    config.added_tokens.push_back(token);
  }
  config.vocabulary.insert(config.vocabulary.end(), pieces.begin(), pieces.end());
  return config;
}

// "hel[0,3] ##lo[3,5]": tokens with the characters they stand for.
inline std::string describe(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  std::ostringstream out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out << ' ';
    out << tokenizer.token_text(tokens[i].id);
    if (tokens[i].char_start >= 0) out << '[' << tokens[i].char_start << ',' << tokens[i].char_end << ']';
  }
  return out.str();
}
inline std::string tokens_of(const OwnedTokenizer& tokenizer, std::string_view text) {
  return describe(*tokenizer, tokenizer->tokenize(text));
}

// The folder with the published examples: $PG_SEMANTIC_SHARED, or ../shared beside the repository.
inline std::optional<std::filesystem::path> published_examples() {
  const char* named = std::getenv("PG_SEMANTIC_SHARED");
  std::filesystem::path path = named != nullptr ? named : "../shared";
  if (!std::filesystem::is_directory(path / "conformance")) return std::nullopt;
  return path;
}

inline std::string read_whole_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_TESTS_UNIT_TOKENIZER_TEST_SUPPORT_H
