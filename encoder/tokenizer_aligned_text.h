// Text on its way through normalisers and pre-tokenizers, every byte of which
// knows the characters of the original that it stands for.
//
// The rules of alignment are those of NormalizedString in Hugging Face's
// tokenizers: offsets depend on them.
//
// Thread safety: none; one object per text.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_ALIGNED_TEXT_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_ALIGNED_TEXT_H

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

class AlignedText {
 public:
  AlignedText() = default;
  // Valid UTF-8, whose first character is number `first_character` of the original.
  AlignedText(std::string_view text, int32_t first_character);

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool is_ascii() const;
  // The characters that bytes [start, end) stand for; start < end.
  [[nodiscard]] CharSpan span(size_t start, size_t end) const { return {spans_[start].start, spans_[end - 1].end}; }

  // The whole text becomes `characters`; `removed` old characters were taken away at the beginning.
  void transform(std::span<const ChangedCharacter> characters, size_t removed = 0);
  // Only the characters for which keep() is true.
  template <typename Keep>
  void filter(const Keep& keep);
  // Each character becomes map()'s.
  template <typename Map>
  void map(const Map& map);
  // White space at the ends goes.
  void strip(bool left, bool right);
  // `matches` (ascending) become `content`.
  void replace(std::span<const ByteRange> matches, std::string_view content);
  void prepend(std::string_view prefix);
  // append_byte_level() of the whole.
  void to_byte_level();

  // Appends bytes [start, end) of `other`.
  void append(const AlignedText& other, size_t start, size_t end);
  // Appends `prefix`, aligned with the character that follows it at other[start], and then [start, end) of `other`.
  void append_prefixed(std::string_view prefix, const AlignedText& other, size_t start, size_t end);
  // Appends what stands for bytes [start, end) of `other` in byte-level vocabularies.
  void append_byte_level(const AlignedText& other, size_t start, size_t end);

 private:
  void append_character(char32_t c, CharSpan span) {
    append_utf8(c, &text_);
    spans_.resize(text_.size(), span);
  }

  std::string text_;
  std::vector<CharSpan> spans_;  // of each byte
};

// Length in bytes of the character that begins with `first`; the text is valid UTF-8.
inline size_t utf8_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

template <typename Keep>
void AlignedText::filter(const Keep& keep) {
  std::vector<ChangedCharacter> kept;
  size_t removed_at_start = 0;
  bool changed = false;
  for (size_t i = 0; i < text_.size();) {
    const char32_t c = next_code_point(text_, &i);
    if (keep(c)) {
      kept.push_back({c, 0});
      continue;
    }
    changed = true;
    if (kept.empty()) {
      ++removed_at_start;
    } else {
      --kept.back().change;
    }
  }
  if (changed) transform(kept, removed_at_start);
}

template <typename Map>
void AlignedText::map(const Map& map) {
  std::vector<ChangedCharacter> mapped;
  bool changed = false;
  for (size_t i = 0; i < text_.size();) {
    const char32_t c = next_code_point(text_, &i);
    const char32_t becomes = map(c);
    changed |= becomes != c;
    mapped.push_back({becomes, 0});
  }
  if (changed) transform(mapped);
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_ALIGNED_TEXT_H
