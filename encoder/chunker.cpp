// Cuts a text into chunks that fit a number of tokens.
#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <unicode/uchar.h>

#include "encoder/tokenizer.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

// How good a place between two tokens is for a cut, worst first.
enum class BreakLevel : uint8_t {
  kNone,  // the two tokens share a character
  kInsideWord,
  kWordEnd,
  kSentenceEnd,
  kParagraphEnd,
};

// A place to cut.  Break i lies before token i of the text, the last one at the text's end.
struct Break {
  size_t left_end = 0;     // bytes: where a chunk that ends here ends
  size_t right_start = 0;  // bytes: where a chunk that begins here begins
  BreakLevel level = BreakLevel::kNone;
  bool at_space = false;  // tokens do not depend on what is beyond white space
};

bool is_closing(char32_t c) {
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_END_PUNCTUATION:
    case U_FINAL_PUNCTUATION:
    case U_INITIAL_PUNCTUATION:  // also closes, in German and others
      return true;
    default:
      return c == '"' || c == '\'';
  }
}

bool is_lower_case(char32_t c) { return u_isULowercase(static_cast<UChar32>(c)); }

// Written without spaces between words: ideographs and kana.
bool is_unspaced(char32_t c) { return is_bert_cjk(c) || (c >= 0x3041 && c <= 0x30FF); }

// Knows where in a text chunks may begin and end.
class BreakFinder {
 public:
  BreakFinder(std::string_view text, const std::vector<Token>& tokens) : text_(text) {
    locate(tokens);
    // The ends of the text are breaks, also of a text that has characters but no tokens.
    const size_t first = skip_space(0);
    breaks_.push_back({first, first, BreakLevel::kParagraphEnd, true});
    for (size_t i = 1; i < tokens.size(); ++i) breaks_.push_back(find_break(i));
    const size_t last = trim_space(text.size());
    breaks_.push_back({last, last, BreakLevel::kParagraphEnd, true});
  }

  [[nodiscard]] const std::vector<Break>& breaks() const { return breaks_; }
  [[nodiscard]] size_t token_count() const { return starts_.size(); }

 private:
  // Byte offsets of the tokens' characters.  Tokens may share characters, but neither starts nor ends descend.
  void locate(const std::vector<Token>& tokens) {
    starts_.reserve(tokens.size());
    ends_.reserve(tokens.size());
    int32_t start_char = 0;
    int32_t end_char = 0;
    size_t start = 0;
    size_t end = 0;
    for (const Token& token : tokens) {
      start = advance(start, token.char_start - start_char);
      end = advance(end, token.char_end - end_char);
      start_char = token.char_start;
      end_char = token.char_end;
      starts_.push_back(start);
      ends_.push_back(end);
    }
  }

  // `characters` may be negative: after an added token that swallowed white space the next one may begin before its
  // end.
  [[nodiscard]] size_t advance(size_t position, int32_t characters) const {
    for (; characters > 0 && position < text_.size(); --characters) next_code_point(text_, &position);
    for (; characters < 0 && position > 0; ++characters) {
      do {
        --position;
      } while (position > 0 && is_utf8_continuation(text_[position]));
    }
    return position;
  }

  [[nodiscard]] size_t skip_space(size_t position) const {
    while (position < text_.size()) {
      size_t after = position;
      if (!is_white_space(next_code_point(text_, &after))) break;
      position = after;
    }
    return position;
  }

  [[nodiscard]] size_t trim_space(size_t position) const {
    while (position > 0 && is_white_space(previous_code_point(text_, position))) position = advance(position, -1);
    return position;
  }

  // The break between tokens i-1 and i.  What lies between them: white space,
  // and characters that left no token (marks, controls), which go with the
  // token before them unless white space comes first.
  [[nodiscard]] Break find_break(size_t i) const {
    const size_t gap_start = ends_[i - 1];
    const size_t gap_end = starts_[i];
    if (gap_start > gap_end) return {gap_end, gap_end, BreakLevel::kNone, false};
    size_t space = gap_start;
    while (space < gap_end) {
      size_t after = space;
      if (is_white_space(next_code_point(text_, &after))) break;
      space = after;
    }
    const bool has_space = space < gap_end;
    Break result{space, std::min(skip_space(space), gap_end), BreakLevel::kInsideWord, has_space};
    if (has_space && is_blank_line(space, gap_end)) {
      result.level = BreakLevel::kParagraphEnd;
    } else if (ends_sentence(space, gap_end, has_space)) {
      result.level = BreakLevel::kSentenceEnd;
    } else if (has_space || between_unspaced(space, gap_end)) {
      result.level = BreakLevel::kWordEnd;
    }
    return result;
  }

  // Two line ends, or a paragraph separator.
  [[nodiscard]] bool is_blank_line(size_t start, size_t end) const {
    int lines = 0;
    for (size_t i = start; i < end;) {
      const char32_t c = next_code_point(text_, &i);
      if (c == 0x2029) return true;
      if (c == '\r' && i < end && text_[i] == '\n') continue;
      lines += c == '\n' || c == '\r' || c == 0x85;
    }
    return lines >= 2;
  }

  // Whether text before `end` closes a sentence: a terminator (property
  // Sentence_Terminal), maybe quotes and brackets, white space.  Ideographic
  // terminators need no white space; a full stop before a small letter ends
  // an abbreviation.
  [[nodiscard]] bool ends_sentence(size_t end, size_t next, bool has_space) const {
    if (end == 0) return false;
    char32_t c = previous_code_point(text_, end);
    while (is_closing(c) && end > 0) {
      end = advance(end, -1);
      if (end == 0) return false;
      c = previous_code_point(text_, end);
    }
    if (!u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_S_TERM)) return false;
    size_t after = next;
    const char32_t next_character = next < text_.size() ? next_code_point(text_, &after) : U' ';
    if (c == 0x3002 || (c >= 0xFF01 && c <= 0xFF61)) return !is_closing(next_character);
    return has_space && !(c == '.' && is_lower_case(next_character));
  }

  [[nodiscard]] bool between_unspaced(size_t end, size_t next) const {
    if (end == 0 || next >= text_.size()) return false;
    size_t after = next;
    const char32_t c = next_code_point(text_, &after);
    return !is_bert_punctuation(c) && (is_unspaced(c) || is_unspaced(previous_code_point(text_, end)));
  }

  const std::string_view text_;
  std::vector<size_t> starts_;
  std::vector<size_t> ends_;
  std::vector<Break> breaks_;
};

class Chunker {
 public:
  Chunker(const Tokenizer& tokenizer, std::string_view text, const BreakFinder& finder, size_t budget, size_t overlap)
      : tokenizer_(tokenizer),
        text_(text),
        breaks_(finder.breaks()),
        token_count_(finder.token_count()),
        budget_(budget),
        overlap_(overlap) {}

  std::vector<Chunk> run() {
    const size_t last = breaks_.size() - 1;
    size_t start = 0;  // breaks, as numbers of the token after them
    size_t covered = 0;
    do {
      const size_t end = next_end(&start, covered);
      covered = end;
      start = next_start(start, end);
    } while (covered < last);
    return std::move(chunks_);
  }

 private:
  // Appends the chunk that begins at *start and reaches beyond `covered`; gives
  // up overlap where the chunk would not fit otherwise.  Returns its end.
  size_t next_end(size_t* start, size_t covered) {
    const size_t last = breaks_.size() - 1;
    for (;;) {
      size_t limit = std::min(last, *start + budget_);
      while (limit > covered) {
        const size_t end = limit == last ? last : best_break(covered, limit);
        if (end == covered) break;
        // A piece of a cut word may be more tokens than it was inside the word.
        if (append(*start, end)) return end;
        limit = end - 1;
      }
      if (*start >= covered) break;
      *start = covered;
    }
    // Not even one token's characters fit: they are a chunk all the same, as small as can be.
    size_t end = covered + 1;
    while (end < last && breaks_[end].level == BreakLevel::kNone) ++end;
    append(*start, end, /*must=*/true);
    return end;
  }

  // The last of the best breaks in (covered, limit]; `covered` if there is none.
  [[nodiscard]] size_t best_break(size_t covered, size_t limit) const {
    size_t best = covered;
    BreakLevel level = BreakLevel::kNone;
    for (size_t i = limit; i > covered; --i) {
      if (breaks_[i].level > level) {
        level = breaks_[i].level;
        best = i;
      }
    }
    return best;
  }

  // The word start that is farthest before `end`, at most `overlap_` tokens, and after `start`.
  [[nodiscard]] size_t next_start(size_t start, size_t end) const {
    const size_t earliest = std::max(start + 1, end - std::min(end, overlap_));
    for (size_t i = earliest; i < end; ++i) {
      if (breaks_[i].level >= BreakLevel::kWordEnd) return i;
    }
    return end;
  }

  // Text without tokens has two breaks all the same.
  [[nodiscard]] size_t tokens_between(size_t start, size_t end) const { return std::min(end, token_count_) - start; }

  bool append(size_t start, size_t end, bool must = false) {
    Chunk chunk;
    chunk.byte_start = breaks_[start].right_start;
    chunk.byte_end = breaks_[end].left_end;
    if (chunk.byte_end <= chunk.byte_start) return true;  // white space only
    const std::string_view piece = text_.substr(chunk.byte_start, chunk.byte_end - chunk.byte_start);
    // Where pieces do not tell by a prefix that they continue a word, a space before a word is part of its tokens.
    const bool words_stand_alone = !tokenizer_.continuing_prefix().empty();
    const bool as_in_text = words_stand_alone && breaks_[start].at_space && breaks_[end].at_space;
    const size_t tokens = as_in_text ? tokens_between(start, end) : tokenizer_.tokenize(piece).size();
    if (tokens > budget_ && !must) return false;
    chunk.tokens = static_cast<int32_t>(tokens + tokenizer_.single_frame().size());
    // Chunks begin one after the other.
    char_position_ +=
        static_cast<int32_t>(count_code_points(text_.substr(counted_to_, chunk.byte_start - counted_to_)));
    counted_to_ = chunk.byte_start;
    chunk.char_start = char_position_;
    chunk.char_end = char_position_ + static_cast<int32_t>(count_code_points(piece));
    chunks_.push_back(chunk);
    return true;
  }

  const Tokenizer& tokenizer_;
  const std::string_view text_;
  const std::vector<Break>& breaks_;
  const size_t token_count_;
  const size_t budget_;  // tokens of a chunk, special ones not counted
  const size_t overlap_;
  std::vector<Chunk> chunks_;
  size_t counted_to_ = 0;  // bytes
  int32_t char_position_ = 0;
};

}  // namespace

Result<std::vector<Chunk>> chunk_text(const Tokenizer& tokenizer, std::string_view text, int32_t max_tokens,
                                      int32_t overlap) {
  const auto special = static_cast<int32_t>(tokenizer.single_frame().size());
  if (max_tokens <= special) {
    return Status(StatusCode::kInvalidArgument, "chunks of " + std::to_string(max_tokens) + " tokens are too small",
                  "A chunk must hold at least " + std::to_string(special + 1) + " tokens, of which " +
                      std::to_string(special) + " are special.");
  }
  if (overlap < 0 || overlap >= max_tokens - special) {
    return Status(StatusCode::kInvalidArgument, "overlap of " + std::to_string(overlap) + " tokens is out of range",
                  "For chunks of " + std::to_string(max_tokens) + " tokens it must be between 0 and " +
                      std::to_string(max_tokens - special - 1) + ".");
  }
  const std::vector<Token> tokens = tokenizer.tokenize(text);
  if (tokens.size() > static_cast<size_t>(INT32_MAX - special)) {
    return Status(StatusCode::kInvalidArgument, "text has too many tokens");
  }
  const BreakFinder finder(text, tokens);
  return Chunker(tokenizer, text, finder, static_cast<size_t>(max_tokens - special), static_cast<size_t>(overlap))
      .run();
}

}  // namespace pg_semantic::encoder
