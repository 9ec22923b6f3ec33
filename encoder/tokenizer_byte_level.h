// The alphabet of byte-level vocabularies (Radford et al., 2019, "Language Models
// are Unsupervised Multitask Learners", section 2.2): a printable character for
// every byte.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_BYTE_LEVEL_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_BYTE_LEVEL_H

#include <array>
#include <cstddef>

namespace pg_semantic::encoder {

namespace byte_level_internal {

// Printable bytes of Latin-1 stand for themselves; the others get U+0100 and up, in order.
constexpr std::array<char32_t, 256> alphabet() {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}

inline constexpr std::array<char32_t, 256> kAlphabet = alphabet();

}  // namespace byte_level_internal

inline char32_t byte_level_character(char byte) {
  return byte_level_internal::kAlphabet[static_cast<unsigned char>(byte)];
}

// U+0120, which stands for a space.
inline constexpr char32_t kByteLevelSpace = byte_level_internal::kAlphabet[0x20];

// The byte that `c` stands for; -1: none.
inline int byte_of_byte_level(char32_t c) {
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte_level_internal::kAlphabet[byte] == c) return static_cast<int>(byte);
  }
  return -1;
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_BYTE_LEVEL_H
