// Unicode as Hugging Face's tokenizers see it: UTF-8, character classes, NFD,
// lower case.
//
// Their Rust library mixes versions of Unicode, and ids depend on it: general
// categories are those of Unicode 8.0 (crate unicode_categories 0.1.1), NFD is
// that of 12.1 (unicode-normalization-alignments 0.1.12), lower case and White_Space
// those of the Rust compiler (17.0 for tokenizers 0.23).  Built on ICU, whose own version then
// does not matter: characters younger than these versions count as unassigned.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_ENCODER_UNICODE_H
#define PG_SEMANTIC_ENCODER_UNICODE_H

#include <cstddef>
#include <string>
#include <string_view>

namespace pg_semantic::encoder {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// Whether `text` is well-formed UTF-8 (no surrogates, nothing over U+10FFFF,
// no overlong form); U+0000 is allowed.
bool is_valid_utf8(std::string_view text);

// The code point at text[*position], which moves past it.  *position must be
// inside the text.  An ill-formed byte counts as one U+FFFD.
char32_t next_code_point_beyond_ascii(std::string_view text, size_t* position);
inline char32_t next_code_point(std::string_view text, size_t* position) {
  const auto byte = static_cast<unsigned char>(text[*position]);
  if (byte >= 0x80) return next_code_point_beyond_ascii(text, position);
  ++*position;
  return byte;
}

// The code point that ends before text[position]; position must be > 0.
char32_t previous_code_point(std::string_view text, size_t position);

void append_utf8(char32_t c, std::string* out);

// Code points of valid UTF-8.
size_t count_code_points(std::string_view text);

inline bool is_utf8_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// The property White_Space; equal to Rust's char::is_whitespace and to \s of its regex crate.
bool is_white_space_beyond_ascii(char32_t c);
inline bool is_white_space(char32_t c) {
  return c < 0x80 ? c == ' ' || (c >= '\t' && c <= '\r') : is_white_space_beyond_ascii(c);
}

// Cc, Cf and Co, without tab, line feed and carriage return; unassigned code
// points (Cn) are not among them, whatever BERT's original tokenizer says.
bool is_bert_control(char32_t c);

// The CJK blocks that are set apart by spaces.  The block of extension E begins at
// U+2B920 there, not at U+2B820: a misprint that decides ids.
bool is_bert_cjk(char32_t c);

// ASCII punctuation and symbols, and the categories P*.
bool is_bert_punctuation(char32_t c);

// Category Mn.
bool is_nonspacing_mark(char32_t c);

// \w of Rust's regex crate: alphabetic, marks, decimal digits, connector
// punctuation, join controls; of the version of Unicode that ICU has.
bool is_word_character(char32_t c);

// Lower case of one character without context; returns how many of `out` it is
// (two for U+0130 only).
int lower_case(char32_t c, char32_t out[2]);

inline constexpr int kMaxDecomposition = 4;
// Full canonical decomposition; returns how many of `out` it is (1: `c` itself).
int canonical_decomposition(char32_t c, char32_t out[kMaxDecomposition]);

inline constexpr int kMaxCompatibilityDecomposition = 18;
// Full compatibility decomposition; returns how many of `out` it is.
int compatibility_decomposition(char32_t c, char32_t out[kMaxCompatibilityDecomposition]);

// The character that is canonically equivalent to the two; 0: none.
char32_t canonical_composition(char32_t first, char32_t second);

// Category M*, of the version of the normalisation forms.
bool is_combining_mark(char32_t c);

// Category Nd.
bool is_decimal_digit(char32_t c);

// Category N*; equal to Rust's char::is_numeric.
bool is_numeric(char32_t c);

// Canonical combining class; 0: a starter.
int combining_class(char32_t c);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_UNICODE_H
