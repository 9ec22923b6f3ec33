// What makes tokenizers fast changes nothing: models against naive ones written here,
// normalisers and pre-tokenizers on ASCII against their general paths, a long text
// against its pieces.
#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unicode/uchar.h>

#include "encoder/tokenizer.h"
#include "encoder/tokenizer_aligned_text.h"
#include "encoder/tokenizer_config.h"
#include "encoder/tokenizer_pre_tokenizer.h"
#include "encoder/tokenizer_text_normalizer.h"
#include "encoder/unicode.h"
#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kFolder = "tests/reference/tokenizers";

size_t random_below(std::mt19937* random, size_t limit) { return (*random)() % limit; }

std::string random_text(std::mt19937* random, const std::vector<std::string>& bits, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += bits[random_below(random, bits.size())];
  return text;
}

OwnedTokenizer open_json(const json& tokenizer) {
  const Result<TokenizerConfig> config = load_tokenizer_config(MemoryReader(
      {{"tokenizer.json", tokenizer.dump()},
       {"tokenizer_config.json", R"({"cls_token": "[UNK]", "sep_token": "[UNK]", "unk_token": "[UNK]"})"}}));
  EXPECT_TRUE(config.is_ok()) << config.status().message() << ": " << config.status().detail();
  return config ? make_tokenizer(*config) : OwnedTokenizer();
}

OwnedTokenizer open_model(const json& model, int unknown) {
  return open_json({{"model", model},
                    {"post_processor",
                     {{"type", "BertProcessing"},
                      {"cls", json::array({"[UNK]", unknown})},
                      {"sep", json::array({"[UNK]", unknown})}}}});
}

std::vector<int32_t> ids_of(const std::vector<Token>& tokens) {
  std::vector<int32_t> ids;
  for (const Token& token : tokens) ids.push_back(token.id);
  return ids;
}

// ---- BPE ------------------------------------------------------------------------------

struct Bpe {
  std::map<std::string, int32_t> vocabulary = {{"[UNK]", 0}};
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  json merges = json::array();

  void add(const std::string& token) { vocabulary.try_emplace(token, static_cast<int32_t>(vocabulary.size())); }

  // Sennrich et al., section 3.2, to the letter; characters that are not in the vocabulary are one unknown token.
  [[nodiscard]] std::vector<int32_t> tokenize(const std::string& word) const {
    std::vector<std::string> symbols;
    for (const char c : word) {
      const std::string character(1, c);
      const bool is_known = vocabulary.count(character) > 0;
      if (is_known || symbols.empty() || symbols.back() != "[UNK]") symbols.push_back(is_known ? character : "[UNK]");
    }
    for (;;) {
      size_t best = std::numeric_limits<size_t>::max();
      size_t place = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ranks.find({symbols[i], symbols[i + 1]});
        if (found == ranks.end() || found->second >= best) continue;
        best = found->second;
        place = i;
      }
      if (best == std::numeric_limits<size_t>::max()) break;
      symbols[place] += symbols[place + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
    std::vector<int32_t> ids;
    for (const std::string& symbol : symbols) ids.push_back(vocabulary.at(symbol));
    return ids;
  }
};

Bpe random_bpe(std::mt19937* random, const std::vector<std::string>& letters) {
  Bpe bpe;
  std::vector<std::string> tokens;
  for (const std::string& letter : letters) {
    bpe.add(letter);
    tokens.push_back(letter);
  }
  const size_t merges = 5 + random_below(random, 40);
  for (size_t i = 0; i < merges; ++i) {
    const std::string left = tokens[random_below(random, tokens.size())];
    const std::string right = tokens[random_below(random, tokens.size())];
    if (!bpe.ranks.try_emplace({left, right}, bpe.ranks.size()).second) continue;
    bpe.merges.push_back({left, right});
    bpe.add(left + right);
    tokens.push_back(left + right);
  }
  return bpe;
}

TEST(TokenizerFastPaths, BpeOfWordsOfEveryLength) {
  std::mt19937 random(3);
  const std::vector<std::string> letters = {"a", "b", "c", "d", "e"};
  const std::vector<std::string> bits = {"a", "b", "c", "d", "e", "a", "b", "ab", "z"};
  for (int round = 0; round < 60; ++round) {
    const Bpe bpe = random_bpe(&random, letters);
    const OwnedTokenizer tokenizer = open_model({{"type", "BPE"},
                                                 {"unk_token", "[UNK]"},
                                                 {"fuse_unk", true},
                                                 {"vocab", bpe.vocabulary},
                                                 {"merges", bpe.merges}},
                                                0);
    for (const size_t count : {1, 2, 3, 5, 8, 13, 24, 31, 32, 33, 40, 90, 127, 128, 129, 300, 700}) {
      const std::string word = random_text(&random, bits, count);
      // Twice: the second time short words are remembered.
      for (int time = 0; time < 2; ++time) {
        const std::vector<Token> tokens = tokenizer->tokenize(word);
        ASSERT_EQ(ids_of(tokens), bpe.tokenize(word)) << word;
        ASSERT_EQ(tokens.back().char_end, static_cast<int32_t>(word.size()));
      }
    }
  }
}

// ---- unigram -----------------------------------------------------------------------------

struct Unigram {
  std::vector<std::pair<std::string, double>> pieces = {{"[UNK]", -1.0}};

  // The best segmentation (Kudo, section 3.2); characters without a piece are worth the least score less 10, as
  // SentencePiece has it, and several in a row are one token.
  [[nodiscard]] std::vector<int32_t> tokenize(const std::string& word) const {
    double lowest = 0;
    for (const auto& piece : pieces) lowest = std::min(lowest, piece.second);
    struct Best {
      double score = -std::numeric_limits<double>::infinity();
      size_t start = 0;
      int32_t id = 0;
    };
    std::vector<Best> best(word.size() + 1);
    best[0].score = 0;
    for (size_t start = 0; start < word.size();) {
      const size_t character_end = start + utf8_length(word[start]);
      bool has_character = false;
      const auto arrive = [&](size_t end, int32_t id, double score) {
        if (best[start].score + score > best[end].score) best[end] = {best[start].score + score, start, id};
      };
      for (size_t id = 1; id < pieces.size(); ++id) {
        const std::string& piece = pieces[id].first;
        if (word.compare(start, piece.size(), piece) != 0) continue;
        arrive(start + piece.size(), static_cast<int32_t>(id), pieces[id].second);
        has_character |= start + piece.size() == character_end;
      }
      if (!has_character) arrive(character_end, 0, lowest - 10);
      start = character_end;
    }
    std::vector<int32_t> ids;
    for (size_t end = word.size(); end > 0; end = best[end].start) {
      if (best[end].id != 0 || ids.empty() || ids.back() != 0) ids.push_back(best[end].id);
    }
    std::reverse(ids.begin(), ids.end());
    return ids;
  }
};

TEST(TokenizerFastPaths, UnigramOfWordsOfEveryLength) {
  std::mt19937 random(4);
  std::uniform_real_distribution<double> score(-9, -0.1);
  // With and without pieces that only share the beginning of "▁" (U+2581) with it.
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> letters = {"a", "b", "c", "d", "\xE2\x96\x81"};
    if (round % 3 == 0) letters.emplace_back("\xE2\x96\x82");
    Unigram unigram;
    json vocabulary = json::array({json::array({"[UNK]", -1.0})});
    std::map<std::string, bool> known;
    for (int i = 0; i < 60; ++i) {
      const std::string piece = random_text(&random, letters, 1 + random_below(&random, 5));
      if (known[piece]) continue;
      known[piece] = true;
      unigram.pieces.emplace_back(piece, score(random));
      vocabulary.push_back(json::array({piece, unigram.pieces.back().second}));
    }
    const OwnedTokenizer tokenizer = open_model({{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocabulary}}, 0);
    letters.emplace_back("z");
    for (const size_t count : {1, 2, 3, 5, 8, 13, 20, 30, 62, 63, 64, 65, 200}) {
      const std::string word = random_text(&random, letters, count);
      for (int time = 0; time < 2; ++time) {
        ASSERT_EQ(ids_of(tokenizer->tokenize(word)), unigram.tokenize(word)) << word;
      }
    }
  }
}

// ---- normalisers and pre-tokenizers --------------------------------------------------------

// Of every tokenizer.json among the references: the member `key`.
std::vector<json> reference_parts(const char* key) {
  std::vector<json> parts;
  for (const fs::directory_entry& entry : fs::directory_iterator(kFolder)) {
    if (!fs::exists(entry.path() / "tokenizer.json")) continue;
    const json tokenizer = json::parse(read_whole_file(entry.path() / "tokenizer.json"));
    if (tokenizer.contains(key) && !tokenizer[key].is_null()) parts.push_back(tokenizer[key]);
  }
  EXPECT_GT(parts.size(), 8u);
  return parts;
}

const std::vector<std::string>& awkward_ascii() {
  static const std::vector<std::string> bits = {
      " ", " ",   "  ", "\n", "\r\n", "\r",    "\t", "a", "The", "cat", "'s",   "'",    "''",   "``", "1",    "23",
      ",", "...", "-",  "_",  "XYZ",  "hello", "\f", "!", "<",   ">",   "\x01", "\x07", "\x7F", "#",  "don't"};
  return bits;
}

// The text, and the characters that each byte stands for.
std::string describe(const AlignedText& text) {
  std::string description = json(text.text()).dump();
  for (size_t i = 0; i < text.text().size(); ++i) {
    const CharSpan span = text.span(i, i + 1);
    description += " " + std::to_string(span.start) + "-" + std::to_string(span.end);
  }
  return description;
}

std::string describe(const SplitText& text) {
  std::string description = describe(text.text);
  for (const ByteRange& word : text.words) {
    description += " [" + std::to_string(word.start) + "," + std::to_string(word.end) + ")";
  }
  return description;
}

// The same text, whose bytes have spans of their own, as after a change.
AlignedText with_spans(const std::string& text, int32_t first_character) {
  AlignedText result;
  result.append(AlignedText("\u0436" + text, first_character - 1), 2, 2 + text.size());
  return result;
}

TEST(TokenizerFastPaths, PartsOnTextsWithAndWithoutSpans) {
  std::mt19937 random(5);
  const std::vector<json> normalizer_parts = reference_parts("normalizer");
  const std::vector<json> pre_tokenizer_parts = reference_parts("pre_tokenizer");
  for (int round = 0; round < 400; ++round) {
    const std::string text = random_text(&random, awkward_ascii(), 1 + random_below(&random, 20));
    const auto first = static_cast<int32_t>(random_below(&random, 3));
    for (const json& part : normalizer_parts) {
      const Result<TextNormalizers> normalizers = read_normalizers(&part);
      ASSERT_TRUE(normalizers.is_ok());
      AlignedText plain(text, first);
      AlignedText spanned = with_spans(text, first);
      ASSERT_EQ(describe(plain), describe(spanned));
      for (const auto& normalizer : *normalizers) {
        normalizer->normalize(&plain);
        normalizer->normalize(&spanned);
      }
      ASSERT_EQ(describe(plain), describe(spanned)) << part.dump().substr(0, 200);
    }
    for (const json& part : pre_tokenizer_parts) {
      const Result<PreTokenizers> pre_tokenizers = read_pre_tokenizers(&part);
      ASSERT_TRUE(pre_tokenizers.is_ok());
      // Two words, as where an added token stood between them.
      const size_t middle = text.size() / 2;
      std::vector<ByteRange> words = {{middle, text.size()}};
      if (middle > 0) words.insert(words.begin(), {0, middle});
      SplitText plain{AlignedText(text, first), words};
      SplitText spanned{with_spans(text, first), words};
      for (const auto& pre_tokenizer : *pre_tokenizers) {
        pre_tokenizer->split(&plain);
        pre_tokenizer->split(&spanned);
      }
      ASSERT_EQ(describe(plain), describe(spanned)) << part.dump().substr(0, 200);
    }
  }
}

// A character that is not ASCII, at the end, takes the whole text on the general path.
TEST(TokenizerFastPaths, NormalizersOfAsciiAndOfTextThatIsNot) {
  const std::string other = "\u0436";  // no normaliser changes it, nor combines it
  std::mt19937 random(6);
  for (const json& part : reference_parts("normalizer")) {
    if (part.dump().find("ByteLevel") != std::string::npos) continue;  // changes it
    const Result<TextNormalizers> normalizers = read_normalizers(&part);
    ASSERT_TRUE(normalizers.is_ok());
    for (int round = 0; round < 400; ++round) {
      // With a letter at the end, where white space might be stripped.
      const std::string text = random_text(&random, awkward_ascii(), 1 + random_below(&random, 20)) + "a";
      AlignedText fast(text, 0);
      AlignedText general(text + other, 0);
      for (const auto& normalizer : *normalizers) {
        normalizer->normalize(&fast);
        normalizer->normalize(&general);
      }
      const size_t size = fast.text().size();
      ASSERT_EQ(general.text(), fast.text() + other) << part.dump().substr(0, 200) << json(text).dump();
      AlignedText beginning;
      beginning.append(general, 0, size);
      ASSERT_EQ(describe(beginning), describe(fast)) << part.dump().substr(0, 200) << json(text).dump();
    }
  }
}

// ---- whole texts -----------------------------------------------------------------------------

// Pieces that begin with a space are tokenised alike alone and one after the other.
TEST(TokenizerFastPaths, ALongTextIsItsPieces) {
  std::mt19937 random(7);
  const std::vector<std::string> words = {" the cat", " sees", " 10,000 apples", " don't",
                                          " hello!",  " XYZ?", " \u0436\u00e9",  " forgets",
                                          " (river)", " a-b",  " my sister's",   " supercalifragilistic"};
  for (const char* name : {"roberta", "xlm-roberta", "albert", "camembert", "bpe-suffix", "wordlevel", "mpnet-json"}) {
    std::map<std::string, std::string> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(kFolder / name)) {
      if (entry.path().filename() != "expected.jsonl") {
        files[entry.path().filename()] = read_whole_file(entry.path());
      }
    }
    const Result<TokenizerConfig> config = load_tokenizer_config(MemoryReader(files));
    ASSERT_TRUE(config.is_ok()) << name << config.status().message();
    const OwnedTokenizer tokenizer = make_tokenizer(*config);
    std::string text;
    std::vector<Token> expected;
    int32_t position = 0;
    while (text.size() < (1u << 20)) {
      const std::string piece = random_text(&random, words, 1 + random_below(&random, 60));
      for (Token token : tokenizer->tokenize(piece)) {
        token.char_start += position;
        token.char_end += position;
        expected.push_back(token);
      }
      position += static_cast<int32_t>(count_code_points(piece));
      text += piece;
    }
    const std::vector<Token> tokens = tokenizer->tokenize(text);
    ASSERT_EQ(tokens.size(), expected.size()) << name;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool is_equal = tokens[i].id == expected[i].id && tokens[i].char_start == expected[i].char_start &&
                            tokens[i].char_end == expected[i].char_end &&
                            tokens[i].continues_word == expected[i].continues_word;
      ASSERT_TRUE(is_equal) << name << " token " << i << " at " << tokens[i].char_start;
    }
  }
}

// ---- characters -------------------------------------------------------------------------------

TEST(TokenizerFastPaths, AsciiCharactersAsIcuHasThem) {
  for (UChar32 c = 0; c < 128; ++c) {
    const auto character = static_cast<char32_t>(c);
    EXPECT_EQ(is_white_space(character), u_isUWhiteSpace(c) != 0) << c;
    EXPECT_EQ(is_bert_control(character), u_charType(c) == U_CONTROL_CHAR && c != '\t' && c != '\n' && c != '\r') << c;
    EXPECT_EQ(is_word_character(character), u_isUAlphabetic(c) || u_isdigit(c) || c == '_') << c;
    char32_t lowered[2];
    EXPECT_EQ(lower_case(character, lowered), 1);
    EXPECT_EQ(lowered[0], static_cast<char32_t>(u_tolower(c))) << c;
    size_t position = 0;
    EXPECT_EQ(next_code_point(std::string(1, static_cast<char>(c)), &position), character);
    EXPECT_EQ(position, 1u);
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
