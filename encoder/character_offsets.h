// From places in a text that count code points, as tokens do, to bytes.
#ifndef PG_SEMANTIC_ENCODER_CHARACTER_OFFSETS_H
#define PG_SEMANTIC_ENCODER_CHARACTER_OFFSETS_H

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "encoder/unicode.h"

namespace pg_semantic::encoder {

// Remembers the last place, so that places asked for in nearly ascending order
// cost one walk over the text.
//
// Thread safety: belongs to one thread.  The text outlives it.
class CharacterOffsets {
 public:
  explicit CharacterOffsets(std::string_view text) : text_(text) {}

  // The byte at which code point `character` begins; the text's end for the one after the last.
  size_t byte_of(int32_t character) {
    for (; character_ > character && byte_ > 0; --character_) {
      do {
        --byte_;
      } while (byte_ > 0 && is_utf8_continuation(text_[byte_]));
    }
    for (; character_ < character && byte_ < text_.size(); ++character_) next_code_point(text_, &byte_);
    return byte_;
  }

  std::string_view slice(int32_t char_start, int32_t char_end) {
    const size_t start = byte_of(char_start);
    return text_.substr(start, byte_of(char_end) - start);
  }

 private:
  const std::string_view text_;
  size_t byte_ = 0;
  int32_t character_ = 0;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_CHARACTER_OFFSETS_H
