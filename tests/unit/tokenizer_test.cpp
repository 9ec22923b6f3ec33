// WordPiece on literal vocabularies.  Expected tokens and offsets are what
// Hugging Face's tokenizers 0.23.2 returns for the same vocabulary and text.
#include "encoder/tokenizer.h"

#include <cstddef>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

AddedToken added(std::string content, int32_t id) {
  AddedToken token;
  token.content = std::move(content);
  token.id = id;
  return token;
}

TEST(Tokenizer, GreedyLongestMatch) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"un", "##aff", "##able", "##a", "unaff", "runn", "##ing", "a"}));
  EXPECT_EQ(tokens_of(t, "unaffable"), "unaff[0,5] ##able[5,9]");
  EXPECT_EQ(tokens_of(t, "UNaffable  running"), "unaff[0,5] ##able[5,9] runn[11,15] ##ing[15,18]");
  // The longest first piece is taken even though no rest matches then.
  EXPECT_EQ(tokens_of(t, "unaffx"), "[UNK][0,6]");
  // A continuing piece never begins a word, a whole one never continues it.
  EXPECT_EQ(tokens_of(t, "able"), "[UNK][0,4]");
}

TEST(Tokenizer, TextWithoutTokens) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a"}));
  EXPECT_EQ(tokens_of(t, ""), "");
  EXPECT_EQ(tokens_of(t, "   \t\r\n\u3000\u00a0"), "");
  EXPECT_EQ(tokens_of(t, std::string_view("\0\0", 2)), "");
  EXPECT_EQ(tokens_of(t, "\u200d\ufeff\ufffd\u0301"), "");
  EXPECT_EQ(describe(*t, t->encode("")), "[CLS] [SEP]");
}

TEST(Tokenizer, AddedSpecialTokensHaveNoOffsets) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a"}));
  const std::vector<Token> tokens = t->encode("a");
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokens[0].char_start, -1);
  EXPECT_EQ(tokens[0].char_end, -1);
  EXPECT_EQ(describe(*t, tokens), "[CLS] a[0,1] [SEP]");
}

TEST(Tokenizer, CleanTextDropsControlsAndKeepsOffsets) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"ab", "a", "b"}));
  EXPECT_EQ(tokens_of(t, std::string_view("a\0b", 3)), "ab[0,3]");
  EXPECT_EQ(tokens_of(t,
                      "a\x01\u200b\ufeff"
                      "b"),
            "ab[0,5]");
  // Vertical tab and next line are controls first and white space second.
  EXPECT_EQ(tokens_of(t,
                      "a\v\u0085"
                      "b"),
            "ab[0,4]");
  EXPECT_EQ(tokens_of(t,
                      "a\tb\u2028"
                      "a"),
            "a[0,1] b[2,3] a[4,5]");
  TokenizerConfig raw = tiny_config({"ab", "a", "b"});
  raw.clean_text = false;
  const OwnedTokenizer u = make_tokenizer(raw);
  EXPECT_EQ(tokens_of(u,
                      "a\v"
                      "b"),
            "a[0,1] b[2,3]");
  EXPECT_EQ(tokens_of(u,
                      "a\x01"
                      "b"),
            "[UNK][0,3]");
}

TEST(Tokenizer, IdeographsStandAlone) {
  TokenizerConfig config = tiny_config({"中", "文", "a", "中文", "あ", "##い"});
  const OwnedTokenizer t = make_tokenizer(config);
  EXPECT_EQ(tokens_of(t, "a中文a"), "a[0,1] 中[1,2] 文[2,3] a[3,4]");
  EXPECT_EQ(tokens_of(t, "あい"), "あ[0,1] ##い[1,2]");
  config.handle_chinese_chars = false;
  EXPECT_EQ(tokens_of(make_tokenizer(config), "中文"), "中文[0,2]");
}

TEST(Tokenizer, CaseAndAccents) {
  const std::vector<std::string> pieces = {"i",   "σ", "##σ", "ς", "ss", "ß",      "e",
                                           "##e", "E", "é",   "ö", "o",  "\u0307", "##\u0307"};
  const OwnedTokenizer uncased = make_tokenizer(tiny_config(pieces));
  EXPECT_EQ(tokens_of(uncased, "İ"), "i[0,1]");
  EXPECT_EQ(tokens_of(uncased, "ß ẞ"), "ß[0,1] ß[2,3]");
  // Character by character: the final sigma of a capitalised word is no special one.
  EXPECT_EQ(tokens_of(uncased, "ΣΣ ς"), "σ[0,1] ##σ[1,2] ς[3,4]");
  EXPECT_EQ(tokens_of(uncased, "É e\u0301 Ö"), "e[0,1] e[2,3] o[5,6]");

  TokenizerConfig keep_accents = tiny_config(pieces);
  keep_accents.strip_accents = false;
  const OwnedTokenizer accented = make_tokenizer(keep_accents);
  EXPECT_EQ(tokens_of(accented, "É Ö"), "é[0,1] ö[2,3]");
  EXPECT_EQ(tokens_of(accented, "İ"), "i[0,1] ##\u0307[0,1]");

  TokenizerConfig cased = tiny_config(pieces);
  cased.lowercase = cased.strip_accents = false;
  EXPECT_EQ(tokens_of(make_tokenizer(cased), "É E é"), "[UNK][0,1] E[2,3] é[4,5]");
}

TEST(Tokenizer, CanonicalReorderingKeepsOffsetsAscending) {
  // U+1D165 (Mc, class 216) stays, U+0301 (Mn, class 230) goes; NFD swaps them.
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a", "##\U0001D165", "##b"}));
  EXPECT_EQ(tokens_of(t,
                      "a\u0301\U0001D165"
                      "b"),
            "a[0,1] ##\U0001D165[1,2] ##b[3,4]");
}

TEST(Tokenizer, PunctuationStandsAlone) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"don", "'", "t", "$", "5", "…", "##5", "`"}));
  EXPECT_EQ(tokens_of(t, "don't$5…"), "don[0,3] '[3,4] t[4,5] $[5,6] 5[6,7] …[7,8]");
  EXPECT_EQ(tokens_of(t, "``"), "`[0,1] `[1,2]");
}

TEST(Tokenizer, LongWords) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a", "##a", "é", "e", "##e"}));
  EXPECT_EQ(t->tokenize(std::string(100, 'a')).size(), 100u);
  EXPECT_EQ(tokens_of(t, std::string(101, 'a')), "[UNK][0,101]");
  std::string accented;  // 100 characters, 200 after NFD, 100 again without accents
  for (int i = 0; i < 100; ++i) accented += "é";
  EXPECT_EQ(t->tokenize(accented).size(), 100u);
  const std::string megabyte(1 << 20, 'a');
  EXPECT_EQ(tokens_of(t, megabyte + " a"), "[UNK][0,1048576] a[1048577,1048578]");
  TokenizerConfig patient = tiny_config({"a", "##a"});
  patient.max_input_chars_per_word = UINT32_MAX;
  EXPECT_EQ(make_tokenizer(patient)->tokenize(megabyte).size(), megabyte.size());
  patient.max_input_chars_per_word = 0;
  EXPECT_EQ(tokens_of(make_tokenizer(patient), "a a"), "[UNK][0,1] [UNK][2,3]");
}

TEST(Tokenizer, OddCodePoints) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a", "\u0378", "##\u0378", "##a", "\U0001F600"}));
  EXPECT_EQ(tokens_of(t,
                      "\u0378"
                      "a"),
            "\u0378[0,1] ##a[1,2]");  // unassigned: kept
  EXPECT_EQ(tokens_of(t,
                      "a\ue000\U0010fffd"
                      "a"),
            "a[0,1] ##a[3,4]");  // private use: removed
  EXPECT_EQ(tokens_of(t, "\U0001F600\u200d\U0001F600"), "[UNK][0,3]");
  // What is not UTF-8 must not be read out of bounds: surrogates, cut and overlong sequences.
  for (const char* broken : {"\xed\xa0\x80", "a\xe2\x82", "\xc0\x80", "\xff", "\x80", "a\xf0\x9f\x98"}) {
    for (const Token& token : t->tokenize(broken)) EXPECT_LT(token.id, t->vocabulary_size());
  }
}

TEST(Tokenizer, SpecialTokensInText) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a", "[", "]", "mask", "b"}));
  EXPECT_EQ(tokens_of(t, "a[MASK]b [SEP]"), "a[0,1] [MASK][1,7] b[7,8] [SEP][9,14]");
  EXPECT_EQ(tokens_of(t, "[mask]"), "[[0,1] mask[1,5] ][5,6]");
  EXPECT_EQ(tokens_of(t, "é[MASK]"), "[UNK][0,1] [MASK][1,7]");
  EXPECT_EQ(tokens_of(t, "[MASK"), "[[0,1] mask[1,5]");
  EXPECT_EQ(tokens_of(t, "[[MASK]]"), "[[0,1] [MASK][1,7] ][7,8]");
}

TEST(Tokenizer, AddedTokensBesideWhiteSpace) {
  TokenizerConfig config = tiny_config({"a", "b"});
  AddedToken mask = config.added_tokens[4];
  mask.lstrip = true;
  config.added_tokens[4] = mask;
  EXPECT_EQ(tokens_of(make_tokenizer(config), "a \t[MASK] b"), "a[0,1] [MASK][1,9] b[10,11]");
  mask.rstrip = true;
  config.added_tokens[4] = mask;
  EXPECT_EQ(tokens_of(make_tokenizer(config), "a [MASK] [MASK] b"), "a[0,1] [MASK][1,9] [MASK][9,16] b[16,17]");
}

TEST(Tokenizer, AddedTokensAsSingleWords) {
  TokenizerConfig config = tiny_config({"a", "foo", "##bar", "x", "##f", "##o"});
  AddedToken foo = added("foo", 6);
  foo.single_word = true;
  config.added_tokens.push_back(foo);
  config.vocabulary[6] = "zzz";  // only the added token is "foo"
  const OwnedTokenizer t = make_tokenizer(config);
  EXPECT_EQ(t->tokenize("foo a")[0].id, 6);
  EXPECT_EQ(t->tokenize("-foo-")[1].id, 6);
  EXPECT_EQ(tokens_of(t, "foobar"), "[UNK][0,6]");
  EXPECT_EQ(tokens_of(t, "xfoo"), "x[0,1] ##f[1,2] ##o[2,3] ##o[3,4]");
}

TEST(Tokenizer, AddedTokensInNormalisedText) {
  TokenizerConfig config = tiny_config({"a", "b", "x", "##y"});
  AddedToken accented = added("Éa", 9);
  accented.special = false;
  accented.normalized = true;
  config.added_tokens.push_back(accented);
  const OwnedTokenizer t = make_tokenizer(config);
  EXPECT_EQ(t->vocabulary_size(), 10);
  EXPECT_EQ(t->token_id("Éa"), 9);
  EXPECT_EQ(tokens_of(t, "x eA\u0301 b"), "x[0,1] Éa[2,4] b[6,7]");
  EXPECT_EQ(tokens_of(t, "xEAy"), "x[0,1] Éa[1,3] [UNK][3,4]");
}

TEST(Tokenizer, LongestAddedTokenWins) {
  TokenizerConfig config = tiny_config({"a"});
  config.added_tokens.push_back(added("<e", 6));
  config.added_tokens.push_back(added("<e1>", 7));
  config.added_tokens.push_back(added("<e10>", 8));
  const OwnedTokenizer t = make_tokenizer(config);
  EXPECT_EQ(tokens_of(t, "<e1><e10><e2a"), "<e1>[0,4] <e10>[4,9] <e[9,11] [UNK][11,13]");
}

TEST(Tokenizer, Lookups) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a", "##a"}));
  EXPECT_EQ(t->vocabulary_size(), 7);
  EXPECT_EQ(t->token_text(6), "##a");
  EXPECT_EQ(t->token_text(-1), "");
  EXPECT_EQ(t->token_text(7), "");
  EXPECT_EQ(t->token_id("##a"), 6);
  EXPECT_EQ(t->token_id("nothing"), -1);
  EXPECT_EQ(t->token_id(""), -1);
  EXPECT_EQ(t->pad_id(), 0);
  EXPECT_EQ(t->unknown_id(), 1);
  EXPECT_EQ(t->cls_id(), 2);
  EXPECT_EQ(t->sep_id(), 3);
  EXPECT_EQ(t->mask_id(), 4);
}

TEST(Tokenizer, VocabularyOddities) {
  // Of equal pieces the last one counts; blank lines are ids without a piece.
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a", "", "a", "b"}));
  EXPECT_EQ(t->tokenize("a")[0].id, 7);
  EXPECT_EQ(t->tokenize("b")[0].id, 8);
  // Without a prefix every piece continues words.
  TokenizerConfig plain = tiny_config({"ab", "a", "b"});
  plain.continuing_prefix = "";
  EXPECT_EQ(tokens_of(make_tokenizer(plain), "abab"), "ab[0,2] ab[2,4]");
}

TEST(Tokenizer, RefusesUnusableConfigurations) {
  const auto refused = [](const TokenizerConfig& config) {
    std::vector<std::byte> tables;
    const Status status = Tokenizer::compile(config, &tables);
    EXPECT_EQ(status.code(), StatusCode::kCorrupt);
    EXPECT_FALSE(status.detail().empty());
  };
  refused(TokenizerConfig());
  TokenizerConfig config = tiny_config({"a"});
  config.unknown_token = "[NONE]";
  refused(config);
  config = tiny_config({"a"});
  config.cls_token = "[NONE]";
  refused(config);
  config = tiny_config({"a"});
  config.added_tokens[0].id = 1 << 20;
  refused(config);
  config = tiny_config({"a"});
  config.added_tokens[0].id = -1;
  refused(config);
  config = tiny_config({"\xff"});
  refused(config);
  config = tiny_config({"a"});
  config.mask_token = "[NONE]";  // a mask may be missing
  EXPECT_EQ(make_tokenizer(config)->mask_id(), -1);
}

TEST(Tokenizer, TablesMayLieAnywhere) {
  const OwnedTokenizer t = make_tokenizer(tiny_config({"a", "##b"}));
  std::vector<std::byte> moved(3);
  moved.insert(moved.end(), t.tables.begin(), t.tables.end());
  const Result<std::unique_ptr<Tokenizer>> opened = Tokenizer::open(std::span(moved).subspan(3));
  ASSERT_TRUE(opened.is_ok());
  EXPECT_EQ(describe(**opened, (*opened)->tokenize("ab")), "a[0,1] ##b[1,2]");

  std::vector<std::byte> appended(5);
  ASSERT_TRUE(Tokenizer::compile(tiny_config({"a", "##b"}), &appended).is_ok());
  EXPECT_EQ(appended.size() % 8, 0u);
  EXPECT_TRUE(Tokenizer::open(std::span(appended).subspan(8)).is_ok());
}

// Whatever bytes a damaged model file holds: an error or some tokens, never a
// read outside (the sanitizers see to that), never an id out of range.
TEST(Tokenizer, DamagedTablesDoNoHarm) {
  TokenizerConfig config = tiny_config({"un", "##aff", "##able", "e", "##e", "中", "[", "]"});
  AddedToken normalized = added("E1", 13);
  normalized.normalized = true;
  config.added_tokens.push_back(normalized);
  AddedToken stripped = added("<x>", 14);
  stripped.lstrip = stripped.rstrip = stripped.single_word = true;
  config.added_tokens.push_back(stripped);
  const OwnedTokenizer sound = make_tokenizer(config);
  const std::string text = "unaffable É e1中[MASK] <x> unaff\u0301 [SEP]<x>";

  const auto use = [&](std::span<const std::byte> tables) {
    const Result<std::unique_ptr<Tokenizer>> opened = Tokenizer::open(tables);
    if (!opened.is_ok()) {
      EXPECT_EQ(opened.status().code(), StatusCode::kCorrupt);
      return 0;
    }
    for (const Token& token : (*opened)->encode(text)) {
      EXPECT_GE(token.id, 0);
      EXPECT_LT(token.id, (*opened)->vocabulary_size());
      (*opened)->token_text(token.id);
    }
    (*opened)->token_id("E1");
    return 1;
  };
  for (size_t size = 0; size < sound.tables.size(); size += 3) use(std::span(sound.tables).first(size));

  uint64_t state = 1;  // a linear congruential generator: the same bytes in every run
  const auto next = [&state](uint64_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % bound;
  };
  int opened = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> damaged = sound.tables;
    const uint64_t changes = 1 + next(4);
    for (uint64_t change = 0; change < changes; ++change) {
      // Every other change hits the header, where it does the most.
      const uint64_t place = next(2) == 0 ? next(168) : next(damaged.size());
      damaged[place] = next(2) == 0 ? static_cast<std::byte>(next(256)) : damaged[place] ^ std::byte{1} << next(8);
    }
    opened += use(damaged);
  }
  EXPECT_GT(opened, 1000);
}

}  // namespace
}  // namespace pg_semantic::encoder
