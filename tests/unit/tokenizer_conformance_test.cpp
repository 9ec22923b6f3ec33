// The tokenizer against ids and offsets of the published tokenizers, on their
// own vocabularies.
#include <cstdint>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "encoder/tokenizer.h"
#include "encoder/tokenizer_config.h"
#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class TokenizerConformance : public testing::Test {
 protected:
  void SetUp() override {
    const std::optional<fs::path> found = published_examples();
    if (!found) GTEST_SKIP() << "SKIP: no published examples; set PG_SEMANTIC_SHARED to their folder";
    shared_ = *found;
  }

  [[nodiscard]] std::string data(const std::string& name) const {
    return read_whole_file(shared_ / "data" / "tokenizer" / name);
  }

  [[nodiscard]] OwnedTokenizer load(const std::map<std::string, std::string>& files) const {
    Result<TokenizerConfig> config = load_tokenizer_config(MemoryReader(files));
    EXPECT_TRUE(config.is_ok()) << config.status().message() << ": " << config.status().detail();
    return make_tokenizer(config.is_ok() ? *config : tiny_config({}));
  }

  [[nodiscard]] OwnedTokenizer load_bert(const std::string& vocabulary, bool lowercase) const {
    return load({{"vocab.txt", data(vocabulary)},
                 {"tokenizer_config.json", lowercase ? R"({"do_lower_case": true})" : R"({"do_lower_case": false})"}});
  }

  fs::path shared_;
};

std::vector<int32_t> ids_of(const std::vector<Token>& tokens) {
  std::vector<int32_t> ids;
  for (const Token& token : tokens) ids.push_back(token.id);
  return ids;
}

// [[start, end] or null, …]
json offsets_of(const std::vector<Token>& tokens) {
  json offsets = json::array();
  for (const Token& token : tokens) {
    if (token.char_start < 0) {
      offsets.push_back(nullptr);
    } else {
      offsets.push_back({token.char_start, token.char_end});
    }
  }
  return offsets;
}

void compare_lines(const Tokenizer& tokenizer, const std::string& lines, int expected_lines, int expected_offsets) {
  std::istringstream input(lines);
  int line_count = 0;
  int offset_count = 0;
  for (std::string line; std::getline(input, line); ++line_count) {
    const json entry = json::parse(line);
    const std::vector<Token> tokens = tokenizer.encode(entry["text"].get<std::string>());
    EXPECT_EQ(ids_of(tokens), entry["ids"].get<std::vector<int32_t>>()) << entry["text"];
    if (!entry.contains("offsets")) continue;
    ++offset_count;
    EXPECT_EQ(offsets_of(tokens), entry["offsets"]) << entry["text"];
  }
  EXPECT_EQ(line_count, expected_lines);
  EXPECT_EQ(offset_count, expected_offsets);
}

TEST_F(TokenizerConformance, Uncased) {
  const OwnedTokenizer tokenizer = load_bert("bert-base-uncased.vocab.txt", true);
  compare_lines(*tokenizer, read_whole_file(shared_ / "conformance/tokenizer/uncased.jsonl"), 1500, 250);
}

TEST_F(TokenizerConformance, Cased) {
  const OwnedTokenizer tokenizer = load_bert("bert-base-cased.vocab.txt", false);
  compare_lines(*tokenizer, read_whole_file(shared_ / "conformance/tokenizer/cased.jsonl"), 1500, 250);
}

TEST_F(TokenizerConformance, MultilingualCased) {
  const OwnedTokenizer tokenizer = load_bert("bert-base-multilingual-cased.vocab.txt", false);
  compare_lines(*tokenizer, read_whole_file(shared_ / "conformance/tokenizer/multilingual.jsonl"), 1500, 250);
}

// Both published forms of one tokenizer are the same tokenizer.
TEST_F(TokenizerConformance, TokenizerJsonOfBertBaseUncased) {
  const OwnedTokenizer tokenizer = load({{"tokenizer.json", data("bert-base-uncased.tokenizer.json")}});
  compare_lines(*tokenizer, read_whole_file(shared_ / "conformance/tokenizer/uncased.jsonl"), 1500, 250);
}

// It asks for truncation and padding, which are not part of tokenising here.
TEST_F(TokenizerConformance, TokenizerJsonOfMiniLm) {
  const OwnedTokenizer tokenizer = load({{"tokenizer.json", data("all-MiniLM-L6-v2.tokenizer.json")}});
  compare_lines(*tokenizer, read_whole_file(shared_ / "conformance/tokenizer/uncased.jsonl"), 1500, 250);
}

TEST_F(TokenizerConformance, SquadQuestions) {
  const OwnedTokenizer tokenizer = load_bert("bert-base-uncased-vocab.txt", true);
  const json ids = json::parse(data("tokenized_questions.json"));
  const json questions = json::parse(data("question_tokens.json"));
  ASSERT_EQ(ids.size(), 10570u);
  ASSERT_EQ(questions.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::vector<Token> tokens = tokenizer->tokenize(questions[i]["original"].get<std::string>());
    ASSERT_EQ(ids_of(tokens), ids[i].get<std::vector<int32_t>>()) << questions[i]["original"];
    for (size_t t = 0; t < tokens.size(); ++t) {
      ASSERT_EQ(tokenizer->token_text(tokens[t].id), questions[i]["wordpiece"][t].get<std::string>());
    }
  }
}

// Texts that llama.cpp tests its tokenizers with, ids by BAAI/bge-small-en-v1.5.
TEST_F(TokenizerConformance, BgeVocabularyTest) {
  const OwnedTokenizer tokenizer = load_bert("bert-base-uncased.vocab.txt", true);
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string texts = data("ggml-vocab-bert-bge.gguf.inp");
  std::istringstream expected(data("ggml-vocab-bert-bge.gguf.out"));
  int count = 0;
  for (size_t start = 0; start < texts.size(); ++count) {
    size_t end = texts.find(separator, start);
    if (end == std::string::npos) end = texts.size();
    std::string line;
    ASSERT_TRUE(std::getline(expected, line));
    std::istringstream numbers(line);
    std::vector<int32_t> ids;
    for (int32_t id = 0; numbers >> id;) ids.push_back(id);
    EXPECT_EQ(ids_of(tokenizer->tokenize(texts.substr(start, end - start))), ids) << "text " << count;
    start = end + separator.size();
  }
  EXPECT_GT(count, 40);
}

// Every checkpoint's own directory, as a user would load it.
TEST_F(TokenizerConformance, CheckpointDirectories) {
  const std::map<std::string, std::string> large_vocabularies = {
      {"distilbert-real-uncased", "bert-base-uncased.vocab.txt"},
      {"distilbert-cased", "bert-base-cased.vocab.txt"},
      {"distilbert-multilingual-cased", "bert-base-multilingual-cased.vocab.txt"},
  };
  int compared = 0;
  for (const fs::directory_entry& file : fs::directory_iterator(shared_ / "conformance/expected")) {
    const json expected = json::parse(read_whole_file(file.path()));
    if (!expected.contains("tokenize")) continue;
    const std::string name = file.path().stem();
    SCOPED_TRACE(name);
    std::map<std::string, std::string> files;
    for (const char* part : {"tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"}) {
      const Result<std::optional<std::string>> content =
          DirectoryReader((shared_ / "conformance/models" / name).string()).read_small_file(part, 64u << 20);
      ASSERT_TRUE(content.is_ok()) << content.status().message();
      if (content->has_value()) files[part] = **content;
    }
    if (const auto large = large_vocabularies.find(name); large != large_vocabularies.end()) {
      files["vocab.txt"] = data(large->second);
    }
    const OwnedTokenizer tokenizer = load(files);
    for (const json& entry : expected["tokenize"]) {
      const std::vector<Token> tokens = tokenizer->encode(entry["text"].get<std::string>());
      EXPECT_EQ(ids_of(tokens), entry["ids"].get<std::vector<int32_t>>()) << entry["text"];
      EXPECT_EQ(offsets_of(tokens), entry["offsets"]) << entry["text"];
      ASSERT_EQ(tokens.size(), entry["tokens"].size());
      for (size_t t = 0; t < tokens.size(); ++t) {
        EXPECT_EQ(tokenizer->token_text(tokens[t].id), entry["tokens"][t].get<std::string>());
      }
      ++compared;
    }
  }
  EXPECT_GT(compared, 0);
  RecordProperty("compared", compared);
}

}  // namespace
}  // namespace pg_semantic::encoder
