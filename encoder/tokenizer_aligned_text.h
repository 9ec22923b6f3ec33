// Text on its way through normalisers and pre-tokenizers, every byte of which
// knows the characters of the original that it stands for.
//
// The rules of alignment are those of NormalizedString in Hugging Face's
// tokenizers: offsets depend on them.
//
// Most texts are ASCII and stay it, each byte where it was: such a text is plain, and
// needs no spans until something changes their number.
//
// Thread safety: none; one object per text.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_ALIGNED_TEXT_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_ALIGNED_TEXT_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/tokenizer_normalizer.h"

namespace pg_semantic::encoder {

// A character of the text to be and how it came about: 0, in the place of the
// next old character; 1, added after the one before; -n, in the place of the next
// one, and the n after that are gone.
struct ChangedCharacter {
  char32_t character = 0;
  int64_t change = 0;
};

// What a tokenizer of a file that is not trusted may make of a text has limits:
// bytes, and steps of its regular expressions.  Beyond them is this, which those
// who tokenize report as any other want of memory.
class TokenizerLimitExceeded : public std::bad_alloc {};

inline constexpr size_t kMaxNormalizedBytes = size_t{256} << 20;

// Normalisers, pre-tokenizers and decoders of one tokenizer, each.
inline constexpr size_t kMaxTokenizerParts = 256;

// Called before a text grows to `bytes`.
inline void check_text_size(size_t bytes) {
  if (bytes > kMaxNormalizedBytes) throw TokenizerLimitExceeded();
}

// Bytes [start, end) of a text.
struct ByteRange {
  size_t start = 0;
  size_t end = 0;
};

// What each ASCII character becomes by itself; kManyOrOther: not one ASCII character, or that depends on others.
struct AsciiMap {
  static constexpr char kManyOrOther = '\x80';
  std::array<char, 128> characters{};
};

class AlignedText {
 public:
  AlignedText() = default;
  // Valid UTF-8, whose first character is number `first_character` of the original.
  AlignedText(std::string_view text, int32_t first_character);

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool is_ascii() const;
  // The characters that bytes [start, end) stand for; start < end.
  [[nodiscard]] CharSpan span(size_t start, size_t end) const { return {span_at(start).start, span_at(end - 1).end}; }

  // The whole text becomes `characters`; `removed` old characters were taken away at the beginning.
  void transform(std::span<const ChangedCharacter> characters, size_t removed = 0);
  // Only the characters for which keep() is true.
  template <typename Keep>
  void filter(const Keep& keep);
  // Each character becomes map()'s.
  template <typename Map>
  void map(const Map& map);
  // Maps every character of an ASCII text; false, and nothing is changed, where `map` does not say how.
  bool map_ascii(const AsciiMap& map);
  // White space at the ends goes.
  void strip(bool left, bool right);
  // `matches` (ascending) become `content`.
  void replace(std::span<const ByteRange> matches, std::string_view content);
  void prepend(std::string_view prefix);
  // append_byte_level() of the whole.
  void to_byte_level();

  // Room for a text of so many bytes, so that appending does not move it again and again.
  void reserve(size_t bytes);
  // Appends bytes [start, end) of `other`.
  void append(const AlignedText& other, size_t start, size_t end);
  // Appends `prefix`, aligned with the character that follows it at other[start], and then [start, end) of `other`.
  void append_prefixed(std::string_view prefix, const AlignedText& other, size_t start, size_t end);
  // Appends what stands for bytes [start, end) of `other` in byte-level vocabularies.
  void append_byte_level(const AlignedText& other, size_t start, size_t end);

 private:
  [[nodiscard]] CharSpan span_at(size_t byte) const {
    const int32_t character = first_character_ + static_cast<int32_t>(byte);
    return is_plain_ ? CharSpan{character, character + 1} : spans_[byte];
  }
  // The text has spans from here on.
  void end_plain();
  // Appends as many spans as the text has bytes more.
  void append_spans(CharSpan span) { spans_.resize(text_.size(), span); }
  // The text is not plain.
  void append_character(char32_t c, CharSpan span) {
    if (c < 0x80) {
      text_.push_back(static_cast<char>(c));
      spans_.push_back(span);
      return;
    }
    append_utf8(c, &text_);
    append_spans(span);
  }

  std::string text_;
  // ASCII whose byte i stands for character first_character_ + i alone; so is a text without bytes.
  bool is_plain_ = true;
  int32_t first_character_ = 0;
  std::vector<CharSpan> spans_;  // of each byte; none while the text is plain
};

// Length in bytes of the character that begins with `first`; the text is valid UTF-8.
inline size_t utf8_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

template <typename Keep>
void AlignedText::filter(const Keep& keep) {
  bool changed = false;
  for (size_t i = 0; i < text_.size() && !changed;) changed = !keep(next_code_point(text_, &i));
  if (!changed) return;
  std::vector<ChangedCharacter> kept;
  kept.reserve(text_.size());
  size_t removed_at_start = 0;
  for (size_t i = 0; i < text_.size();) {
    const char32_t c = next_code_point(text_, &i);
    if (keep(c)) {
      kept.push_back({c, 0});
      continue;
    }
    if (kept.empty()) {
      ++removed_at_start;
    } else {
      --kept.back().change;
    }
  }
  transform(kept, removed_at_start);
}

template <typename Map>
void AlignedText::map(const Map& map) {
  bool changed = false;
  for (size_t i = 0; i < text_.size() && !changed;) {
    const char32_t c = next_code_point(text_, &i);
    changed = map(c) != c;
  }
  if (!changed) return;
  std::vector<ChangedCharacter> mapped;
  mapped.reserve(text_.size());
  for (size_t i = 0; i < text_.size();) {
    const char32_t c = next_code_point(text_, &i);
    mapped.push_back({map(c), 0});
  }
  transform(mapped);
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_ALIGNED_TEXT_H
