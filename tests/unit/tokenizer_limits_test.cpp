// Files of tokenizers that ask for too much: what they ask for has limits, and
// neither they nor long texts make the work grow with the square of the text.
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "encoder/sentencepiece_model.h"
#include "encoder/tokenizer.h"
#include "encoder/tokenizer_config.h"
#include "encoder/tokenizer_pipeline_tables.h"
#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

using nlohmann::json;

const std::string kMetaspaceA =
    "\xE2\x96\x81"
    "a";

// tokenizer.json of two words, with these parts.
json document(const json& parts) {
  json result = {
      {"model",
       {{"type", "WordLevel"},
        {"unk_token", "[UNK]"},
        {"vocab", {{"[UNK]", 0}, {"a", 1}, {kMetaspaceA, 2}, {"[CLS]", 3}}}}},
      {"post_processor",
       {{"type", "BertProcessing"}, {"cls", json::array({"[CLS]", 3})}, {"sep", json::array({"[CLS]", 3})}}}};
  result.update(parts);
  return result;
}

Result<TokenizerConfig> load(const json& tokenizer) {
  return load_tokenizer_config(MemoryReader(
      {{"tokenizer.json", tokenizer.dump()}, {"tokenizer_config.json", R"({"cls_token": "[CLS]", "sep_token": "[CLS]",
                                               "unk_token": "[UNK]"})"}}));
}

OwnedTokenizer make(const json& tokenizer) {
  const Result<TokenizerConfig> config = load(tokenizer);
  EXPECT_TRUE(config.is_ok()) << config.status().message() << ": " << config.status().detail();
  return config ? make_tokenizer(*config) : OwnedTokenizer();
}

json replacing(const json& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", pattern}, {"content", content}};
}

std::string repeated(const std::string& text, size_t times) {
  std::string result;
  for (size_t i = 0; i < times; ++i) result += text;
  return result;
}

// Canonical ordering (Unicode Standard, section 3.11, D109): U+0323 of class 220 comes before U+0301 of class 230,
// also where no starter precedes them.
TEST(TokenizerNormalizer, MarksAreOrdered) {
  json tokenizer = document({{"normalizer", {{"type", "NFD"}}}});
  for (const std::string starter : {"", "a"}) {
    tokenizer["model"]["vocab"][starter + "\u0323\u0301"] = starter.empty() ? 4 : 5;
  }
  const OwnedTokenizer made = make(tokenizer);
  EXPECT_EQ(made->tokenize("\u0301\u0323").at(0).id, 4);
  EXPECT_EQ(made->tokenize("a\u0301\u0323").at(0).id, 5);
}

TEST(TokenizerLimits, ManyWordsWithoutSpaces) {
  const json split = {{"type", "Sequence"},
                      {"pretokenizers", {{{"type", "WhitespaceSplit"}}, {{"type", "Metaspace"}}}}};
  const OwnedTokenizer tokenizer = make(document({{"pre_tokenizer", split}}));
  const std::vector<Token> tokens = tokenizer->tokenize(repeated("a\n", 2 << 20));
  ASSERT_EQ(tokens.size(), size_t{2} << 20);
  EXPECT_EQ(tokens.back().id, 2);
}

TEST(TokenizerLimits, ExpressionsThatTryTooMuch) {
  const OwnedTokenizer tokenizer = make(document({{"normalizer", replacing({{"Regex", "(?:a|b)*c|x"}}, "a")}}));
  EXPECT_EQ(tokenizer->tokenize("x").at(0).id, 1);
  EXPECT_THROW(tokenizer->tokenize(repeated("a", 100000)), std::bad_alloc);   // time
  EXPECT_THROW(tokenizer->tokenize(repeated("a", 4000000)), std::bad_alloc);  // stack
}

TEST(TokenizerLimits, TextsThatGrow) {
  const json twice = replacing({{"String", "a"}}, repeated("a", 2000));
  const OwnedTokenizer tokenizer =
      make(document({{"normalizer", {{"type", "Sequence"}, {"normalizers", {twice, twice, twice}}}}}));
  EXPECT_EQ(tokenizer->tokenize("b").size(), 1u);
  EXPECT_THROW(tokenizer->tokenize("a"), std::bad_alloc);
}

TEST(TokenizerLimits, Parts) {
  const json many = {{"type", "Sequence"}, {"normalizers", std::vector<json>(300, {{"type", "Lowercase"}})}};
  EXPECT_EQ(load(document({{"normalizer", many}})).status().code(), StatusCode::kCorrupt);
}

TEST(TokenizerLimits, SpecialTokensOfTemplates) {
  const json special = {{"SpecialToken", {{"id", "a"}, {"type_id", 0}}}};
  std::vector<json> pieces(3000, special);
  pieces.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  const json processor = {{"type", "TemplateProcessing"},
                          {"single", pieces},
                          {"pair", pieces},
                          {"special_tokens", {{"a", {{"id", "a"}, {"ids", std::vector<int>(3000, 1)}}}}}};
  EXPECT_EQ(load(document({{"post_processor", processor}})).status().code(), StatusCode::kUnsupported);
}

TEST(TokenizerLimits, LongTokens) {
  std::vector<std::byte> tables;
  EXPECT_TRUE(Tokenizer::compile(tiny_config({repeated("a", kMaxTokenBytes)}), &tables).is_ok());
  EXPECT_EQ(Tokenizer::compile(tiny_config({repeated("a", kMaxTokenBytes + 1)}), &tables).code(), StatusCode::kCorrupt);
  OwnedTokenizer sound = make_tokenizer(tiny_config({"a"}));
  TablesHeader header;
  memcpy(&header, sound.tables.data(), sizeof(header));
  header.longest_piece_bytes = kMaxTokenBytes + 1;
  memcpy(sound.tables.data(), &header, sizeof(header));
  EXPECT_EQ(Tokenizer::open(sound.tables).status().code(), StatusCode::kCorrupt);
}

// A node that is its own child.
TEST(TokenizerLimits, TrieWithCircle) {
  json tokenizer = document(json::object());
  tokenizer["model"] = {{"type", "Unigram"},
                        {"unk_id", 0},
                        {"vocab", json::array({json::array({"[UNK]", -5.0}), json::array({"a", -1.0}),
                                               json::array({"b", -2.0}), json::array({"[CLS]", -3.0})})}};
  OwnedTokenizer owned = make(tokenizer);
  PipelineHeader header;
  memcpy(&header, owned.tables.data() + sizeof(TablesHeader), sizeof(header));
  bool has_circle = false;
  for (uint32_t i = 0; i < header.trie_nodes; ++i) {
    std::byte* const place = owned.tables.data() + header.trie_offset + i * sizeof(TrieNode);
    TrieNode node;
    memcpy(&node, place, sizeof(node));
    if (node.id != 1) continue;
    node.first_child = i;
    node.child_count = 1;
    memcpy(place, &node, sizeof(node));
    has_circle = true;
  }
  ASSERT_TRUE(has_circle);
  const Result<std::unique_ptr<Tokenizer>> opened = Tokenizer::open(owned.tables);
  ASSERT_TRUE(opened.is_ok());
  const std::string text = repeated("a", 1 << 20);
  EXPECT_EQ((*opened)->tokenize(text).back().char_end, static_cast<int32_t>(text.size()));
}

TEST(TokenizerLimits, SentencePieces) {
  EXPECT_TRUE(parse_sentencepiece_model(std::string("\x0A\x00", 2)).is_ok());
  EXPECT_EQ(parse_sentencepiece_model(repeated(std::string("\x0A\x00", 2), kMaxTokens + 1)).status().code(),
            StatusCode::kCorrupt);
}

}  // namespace
}  // namespace pg_semantic::encoder
