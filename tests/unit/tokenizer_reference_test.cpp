// Tokenizers of every kind against Hugging Face's library: tests/reference/tokenizers
// has its answers.  And: what is broken is refused or does no harm.
#include <cstdint>
#include <filesystem>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "encoder/sentencepiece_model.h"
#include "encoder/token_sequence.h"
#include "encoder/tokenizer.h"
#include "encoder/tokenizer_config.h"
#include "encoder/unicode.h"
#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kFolder = "tests/reference/tokenizers";
constexpr const char* kFileNames[] = {
    "tokenizer.json",          "vocab.json", "merges.txt", "spiece.model", "config.json", "tokenizer_config.json",
    "sentencepiece.bpe.model", "vocab.txt"};

std::map<std::string, std::string> files_of(const std::string& name) {
  std::map<std::string, std::string> files;
  for (const char* file : kFileNames) {
    if (fs::exists(kFolder / name / file)) files[file] = read_whole_file(kFolder / name / file);
  }
  return files;
}

std::vector<std::string> reference_names() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(kFolder)) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<OwnedTokenizer> open_files(const std::map<std::string, std::string>& files) {
  Result<TokenizerConfig> config = load_tokenizer_config(MemoryReader(files));
  if (!config) return config.status();
  OwnedTokenizer owned;
  PG_SEMANTIC_RETURN_IF_ERROR(Tokenizer::compile(*config, &owned.tables));
  Result<std::unique_ptr<Tokenizer>> opened = Tokenizer::open(owned.tables);
  if (!opened) return opened.status();
  owned.tokenizer = std::move(*opened);
  return owned;
}

class TokenizerReference : public testing::TestWithParam<std::string> {};

// Of the tokens that are not special ones around the texts.
json offsets_of(const std::vector<Token>& tokens) {
  json offsets = json::array();
  for (const Token& token : tokens) offsets.push_back({token.char_start, token.char_end});
  return offsets;
}

void compare(const Tokenizer& tokenizer, const json& expected) {
  const bool is_pair = expected.contains("pair");
  const std::vector<Token> first = tokenizer.tokenize(expected["text"].get<std::string>());
  const std::vector<Token> second =
      is_pair ? tokenizer.tokenize(expected["pair"].get<std::string>()) : std::vector<Token>();
  const TokenSequence sequence = is_pair ? pair_sequence(tokenizer, first, second) : single_sequence(tokenizer, first);
  EXPECT_EQ(sequence.ids, expected["ids"].get<std::vector<int32_t>>());
  std::vector<int32_t> types(sequence.ids.size(), 1);
  std::fill(types.begin(), types.begin() + static_cast<std::ptrdiff_t>(sequence.first_segment), 0);
  EXPECT_EQ(types, expected["types"].get<std::vector<int32_t>>());

  std::vector<Token> tokens = first;
  tokens.insert(tokens.end(), second.begin(), second.end());
  json expected_offsets = json::array();
  for (size_t i = 0; i < expected["ids"].size(); ++i) {
    if (expected["special"][i] == 0) expected_offsets.push_back(expected["offsets"][i]);
  }
  EXPECT_EQ(offsets_of(tokens), expected_offsets);

  const json& words = expected["words"];
  ASSERT_EQ(first.size(), words.size());
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].continues_word, i > 0 && words[i] == words[i - 1]) << "token " << i;
  }
  if (is_pair) return;
  std::vector<std::string> texts;
  for (const Token& token : first) texts.emplace_back(tokenizer.token_text(token.id));
  const std::string decoded = texts.empty() ? "" : tokenizer.decode(texts);
  EXPECT_EQ(decoded, expected["decoded"].get<std::string>());
}

TEST_P(TokenizerReference, IdsTypesOffsetsWordsAndText) {
  const Result<OwnedTokenizer> tokenizer = open_files(files_of(GetParam()));
  ASSERT_TRUE(tokenizer.is_ok()) << tokenizer.status().message() << ": " << tokenizer.status().detail();
  std::istringstream lines(read_whole_file(kFolder / GetParam() / "expected.jsonl"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const json expected = json::parse(line);
    SCOPED_TRACE(expected["text"].dump());
    compare(**tokenizer, expected);
  }
  EXPECT_GT(count, 80);
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerReference, testing::ValuesIn(reference_names()), [](const auto& name) {
  std::string identifier = name.param;
  std::replace(identifier.begin(), identifier.end(), '-', '_');
  return identifier;
});

// ---- damage -----------------------------------------------------------------------

// Runs over awkward text; what it says does not matter, only that it ends and stays inside.
void use(const Tokenizer& tokenizer) {
  for (const char* text :
       {"Hello, w\xC3\xB6rld  <mask> 10,000\n\xE6\x9D\xB1\xE4\xBA\xAC \xF0\x9F\x91\x8D", "", "   a", "[MASK] x"}) {
    const auto characters = static_cast<int32_t>(count_code_points(text));
    std::vector<std::string> texts;
    for (const Token& token : tokenizer.tokenize(text)) {
      ASSERT_LE(token.char_start, token.char_end);
      ASSERT_LE(token.char_end, characters);
      texts.emplace_back(tokenizer.token_text(token.id));
    }
    if (!texts.empty()) tokenizer.decode(texts);
  }
}

void damage(std::string* bytes, std::mt19937* random) {
  const auto place = [&] { return (*random)() % bytes->size(); };
  for (size_t times = 1 + (*random)() % 3; times > 0 && !bytes->empty(); --times) {
    switch ((*random)() % 4) {
      case 0:
        (*bytes)[place()] = static_cast<char>((*random)());
        break;
      case 1:
        bytes->erase(place(), 1 + (*random)() % 8);
        break;
      case 2:
        bytes->insert(place(), bytes->substr(place(), 1 + (*random)() % 16));
        break;
      default:
        (*bytes)[place()] = "0123456789-{}[]\",:"[(*random)() % 18];
    }
  }
}

class DamagedTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(DamagedTokenizer, FilesAreRefusedOrHarmless) {
  std::mt19937 random(7);
  const std::map<std::string, std::string> files = files_of(GetParam());
  for (const auto& [name, content] : files) {
    for (int round = 0; round < 40; ++round) {
      std::map<std::string, std::string> damaged = files;
      damage(&damaged[name], &random);
      const Result<OwnedTokenizer> tokenizer = open_files(damaged);
      if (tokenizer) use(**tokenizer);
    }
  }
}

TEST_P(DamagedTokenizer, TablesAreRefusedOrHarmless) {
  std::mt19937 random(11);
  const Result<OwnedTokenizer> sound = open_files(files_of(GetParam()));
  ASSERT_TRUE(sound.is_ok());
  for (int round = 0; round < 200; ++round) {
    std::vector<std::byte> tables = sound->tables;
    const size_t limit = round % 2 == 0 ? std::min<size_t>(tables.size(), 256) : tables.size();
    for (int i = 0; i < 3; ++i) tables[random() % limit] = static_cast<std::byte>(random());
    if (round % 5 == 0) tables.resize(random() % tables.size());
    const Result<std::unique_ptr<Tokenizer>> opened = Tokenizer::open(tables);
    if (opened) use(**opened);
  }
}

INSTANTIATE_TEST_SUITE_P(All, DamagedTokenizer,
                         testing::Values("roberta", "roberta-prefix", "albert", "albert-json", "xlm-roberta",
                                         "bpe-fallback", "wordlevel", "normalizer-bert"),
                         [](const auto& name) {
                           std::string identifier = name.param;
                           std::replace(identifier.begin(), identifier.end(), '-', '_');
                           return identifier;
                         });

// A megabyte without white space is one word; neither model may need time that grows with its square.
TEST(TokenizerReferenceSize, LongWords) {
  for (const char* name : {"roberta", "albert", "xlm-roberta", "bpe-fallback"}) {
    const Result<OwnedTokenizer> tokenizer = open_files(files_of(name));
    ASSERT_TRUE(tokenizer.is_ok());
    std::string text;
    while (text.size() < (1u << 20)) text += "thecatseestheriverhello";
    const std::vector<Token> tokens = (*tokenizer)->tokenize(text);
    ASSERT_FALSE(tokens.empty());
    EXPECT_EQ(tokens.back().char_end, static_cast<int32_t>(text.size()));
  }
}

// A chunk has the tokens that its text has alone: at its beginning a word lacks the space that it had in the text.
TEST(TokenizerReferenceChunks, CountTheirOwnTokens) {
  for (const char* name : {"roberta", "albert", "xlm-roberta"}) {
    const Result<OwnedTokenizer> tokenizer = open_files(files_of(name));
    ASSERT_TRUE(tokenizer.is_ok());
    std::string text;
    for (int i = 0; i < 50; ++i) text += "The cat sees the river. my sister forgets 10,000 apples! hello world ";
    const Result<std::vector<Chunk>> chunks = chunk_text(**tokenizer, text, 24, 4);
    ASSERT_TRUE(chunks.is_ok());
    EXPECT_GT(chunks->size(), 20u);
    for (const Chunk& chunk : *chunks) {
      const std::string piece = text.substr(chunk.byte_start, chunk.byte_end - chunk.byte_start);
      EXPECT_EQ(static_cast<size_t>(chunk.tokens), (*tokenizer)->encode(piece).size()) << piece;
      EXPECT_LE(chunk.tokens, 24) << piece;
    }
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
