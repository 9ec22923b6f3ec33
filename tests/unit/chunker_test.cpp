// Chunks: where they are cut, and what must hold for every text.
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/tokenizer.h"
#include "encoder/unicode.h"
#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

// Every word of letters is one token a letter: token counts are easy to see.
OwnedTokenizer letter_tokenizer() {
  std::vector<std::string> pieces;
  for (const char* letter : {"a", "b", "c", "d", "e", "f", "g", "h", "é", "\u1100", "\u1161", "\u11a8"}) {
    pieces.emplace_back(letter);
    pieces.push_back("##" + std::string(letter));
  }
  for (const char* sign : {".", "!", "?", ",", "\"", "(", ")", "。", "中", "文", "字"}) pieces.emplace_back(sign);
  return make_tokenizer(tiny_config(pieces));
}

std::vector<Chunk> chunks_of(const Tokenizer& tokenizer, std::string_view text, int32_t max_tokens, int32_t overlap) {
  Result<std::vector<Chunk>> chunks = chunk_text(tokenizer, text, max_tokens, overlap);
  EXPECT_TRUE(chunks.is_ok()) << chunks.status().message();
  return chunks.is_ok() ? *chunks : std::vector<Chunk>();
}

std::vector<std::string> texts_of(std::string_view text, const std::vector<Chunk>& chunks) {
  std::vector<std::string> texts;
  for (const Chunk& chunk : chunks)
    texts.emplace_back(text.substr(chunk.byte_start, chunk.byte_end - chunk.byte_start));
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Chunker, ShortTextIsOneChunk) {
  const OwnedTokenizer t = letter_tokenizer();
  const std::string text = "  ab cd. \n";
  const std::vector<Chunk> chunks = chunks_of(*t, text, 100, 10);
  EXPECT_EQ(texts_of(text, chunks), Texts({"ab cd."}));
  EXPECT_EQ(chunks[0].tokens, 7);
  EXPECT_EQ(chunks[0].char_start, 2);
  EXPECT_EQ(chunks[0].char_end, 8);
}

TEST(Chunker, TextWithoutTokens) {
  const OwnedTokenizer t = letter_tokenizer();
  EXPECT_TRUE(chunks_of(*t, "", 10, 0).empty());
  EXPECT_TRUE(chunks_of(*t, " \n\u3000\t", 10, 0).empty());
  const std::string controls = " \u200b \x01 ";
  const std::vector<Chunk> chunks = chunks_of(*t, controls, 10, 0);
  EXPECT_EQ(texts_of(controls, chunks), Texts({"\u200b \x01"}));
  EXPECT_EQ(chunks[0].tokens, 2);
}

TEST(Chunker, PrefersParagraphsThenSentencesThenWords) {
  const OwnedTokenizer t = letter_tokenizer();
  const std::string text = "ab. cd\n\nef gh. Ab cd ef";
  // Nine tokens fit, up to "gh", but the paragraph ends before.
  EXPECT_EQ(texts_of(text, chunks_of(*t, text, 11, 0)), Texts({"ab. cd", "ef gh.", "Ab cd ef"}));
  EXPECT_EQ(texts_of(text, chunks_of(*t, text, 6, 0)), Texts({"ab.", "cd", "ef", "gh.", "Ab cd", "ef"}));
  const std::string single_line_ends = "ab cd\nef gh\r\nab cd";
  EXPECT_EQ(texts_of(single_line_ends, chunks_of(*t, single_line_ends, 9, 0)), Texts({"ab cd\nef", "gh\r\nab cd"}));
  const std::string windows = "ab cd\r\n\r\nef gh";
  EXPECT_EQ(texts_of(windows, chunks_of(*t, windows, 9, 0)), Texts({"ab cd", "ef gh"}));
}

TEST(Chunker, SentenceEnds) {
  const OwnedTokenizer t = letter_tokenizer();
  const auto cut = [&](const std::string& text, int32_t max_tokens) {
    return texts_of(text, chunks_of(*t, text, max_tokens, 0));
  };
  // Closing quotes and brackets belong to the sentence.
  EXPECT_EQ(cut("(\"ab!\") ab cd ef", 13), Texts({"(\"ab!\")", "ab cd ef"}));
  // Before a small letter a full stop ends an abbreviation; a question mark does not care.
  EXPECT_EQ(cut("ab. ab cd ef", 9), Texts({"ab. ab cd", "ef"}));
  EXPECT_EQ(cut("ab? ab cd ef", 9), Texts({"ab?", "ab cd ef"}));
  EXPECT_EQ(cut("ab. AB cd ef", 9), Texts({"ab.", "AB cd ef"}));
  EXPECT_EQ(cut("a.b a.b ab", 8), Texts({"a.b a.b", "ab"}));
  // Ideographic text has no spaces.
  EXPECT_EQ(cut("中文字。文字中文", 7), Texts({"中文字。", "文字中文"}));
  EXPECT_EQ(cut("中文字文字中文", 5), Texts({"中文字", "文字中", "文"}));
}

TEST(Chunker, LongWordsAreCutInside) {
  const OwnedTokenizer t = letter_tokenizer();
  const std::string text = "ab cdefghabc d";
  EXPECT_EQ(texts_of(text, chunks_of(*t, text, 6, 0)), Texts({"ab", "cdef", "ghab", "c d"}));
}

TEST(Chunker, ConsecutiveChunksOverlapAtWordStarts) {
  const OwnedTokenizer t = letter_tokenizer();
  const std::string text = "ab cd ef gh ab cd";
  EXPECT_EQ(texts_of(text, chunks_of(*t, text, 8, 2)), Texts({"ab cd ef", "ef gh ab", "ab cd"}));
  // Three tokens of overlap hold one whole word.
  EXPECT_EQ(texts_of(text, chunks_of(*t, text, 8, 3)), Texts({"ab cd ef", "ef gh ab", "ab cd"}));
  // A word longer than the overlap is not repeated.
  EXPECT_EQ(texts_of("abcd efgh ab", chunks_of(*t, "abcd efgh ab", 7, 2)), Texts({"abcd", "efgh", "ab"}));
}

TEST(Chunker, CharactersWithoutTokensAreKept) {
  const OwnedTokenizer t = letter_tokenizer();
  // An accent that the tokenizer strips, and a zero-width space, at the cuts.
  const std::string text = "ae\u0301 \u200b cd";
  EXPECT_EQ(texts_of(text, chunks_of(*t, text, 4, 0)), Texts({"ae\u0301", "\u200b cd"}));
}

TEST(Chunker, OneCharacterMayBeMoreTokensThanFit) {
  const OwnedTokenizer t = letter_tokenizer();
  const std::string text = "\uac01\uac01";  // three jamo each
  const std::vector<Chunk> chunks = chunks_of(*t, text, 3, 0);
  EXPECT_EQ(texts_of(text, chunks), Texts({"\uac01", "\uac01"}));
  EXPECT_EQ(chunks[0].tokens, 5);
}

TEST(Chunker, RefusesSizesThatDoNotWork) {
  const OwnedTokenizer t = letter_tokenizer();
  for (const auto& [max_tokens, overlap] :
       std::vector<std::pair<int32_t, int32_t>>{{2, 0}, {0, 0}, {-1, 0}, {10, -1}, {10, 8}, {3, 1}, {INT32_MIN, 0}}) {
    const Result<std::vector<Chunk>> chunks = chunk_text(*t, "ab", max_tokens, overlap);
    ASSERT_FALSE(chunks.is_ok());
    EXPECT_EQ(chunks.status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(chunk_text(*t, "ab", 3, 0).is_ok());
  EXPECT_TRUE(chunk_text(*t, "ab", INT32_MAX, 7).is_ok());
}

// What holds for every text, on texts put together at random (the same in every run).
TEST(Chunker, Properties) {
  const OwnedTokenizer t = letter_tokenizer();
  const char* parts[] = {"ab",     "cdefgh", "a",    " ",      "  ",     "\n",         "\n\n",   ". ",
                         "! ",     ".",      "\"",   "(",      ")",      ", ",         "é",      "e\u0301",
                         "\u200b", "中",     "文。", "[MASK]", "[SEP] ", "\U0001F600", "\u3000", "abcdefghabcdefgh",
                         "\x01",   "\u0301"};
  uint64_t state = 7;
  const auto next = [&state](uint64_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % bound;
  };
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint64_t i = next(60); i > 0; --i) text += parts[next(std::size(parts))];
    const auto max_tokens = static_cast<int32_t>(3 + next(20));
    const auto overlap = static_cast<int32_t>(next(static_cast<uint64_t>(max_tokens - 2)));
    SCOPED_TRACE(text + " / " + std::to_string(max_tokens) + " / " + std::to_string(overlap));

    size_t covered = 0;
    size_t previous_start = 0;
    size_t previous_end = 0;
    for (const Chunk& chunk : chunks_of(*t, text, max_tokens, overlap)) {
      ASSERT_LT(chunk.byte_start, chunk.byte_end);
      ASSERT_LE(chunk.byte_end, text.size());
      const std::string piece = text.substr(chunk.byte_start, chunk.byte_end - chunk.byte_start);
      ASSERT_TRUE(is_valid_utf8(piece));
      // Each letter of the vocabulary is one token, so everything fits.
      ASSERT_LE(chunk.tokens, max_tokens);
      ASSERT_EQ(static_cast<size_t>(chunk.tokens), t->encode(piece).size());
      ASSERT_EQ(static_cast<size_t>(chunk.char_start), count_code_points(text.substr(0, chunk.byte_start)));
      ASSERT_EQ(static_cast<size_t>(chunk.char_end), count_code_points(text.substr(0, chunk.byte_end)));
      // Nothing but white space is lost between chunks, and each goes further than the one before.
      if (chunk.byte_start > covered) {
        for (size_t i = covered; i < chunk.byte_start;) ASSERT_TRUE(is_white_space(next_code_point(text, &i)));
      }
      if (covered > 0) {
        ASSERT_GT(chunk.byte_start, previous_start);
        ASSERT_GT(chunk.byte_end, previous_end);
        if (chunk.byte_start < previous_end) {
          const std::string shared = text.substr(chunk.byte_start, previous_end - chunk.byte_start);
          ASSERT_LE(t->tokenize(shared).size(), static_cast<size_t>(overlap));
        }
      }
      previous_start = chunk.byte_start;
      previous_end = chunk.byte_end;
      covered = chunk.byte_end;
    }
    for (size_t i = covered; i < text.size();) ASSERT_TRUE(is_white_space(next_code_point(text, &i)));
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
