// Unicode as Hugging Face's tokenizers see it; see unicode.h.
#include "encoder/unicode.h"

#include <cstdint>
#include <cstring>

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>

namespace pg_semantic::encoder {

namespace {

// Length of the well-formed sequence at text[position], 0 if there is none.
// Table 3-7 of the Unicode standard.
int sequence_length(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) -> unsigned {
    return position + i < text.size() ? static_cast<unsigned char>(text[position + i]) : 0;
  };
  const auto continuation = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return continuation(1) ? 2 : 0;
  if (first < 0xF0) {
    if (!continuation(1) || !continuation(2)) return 0;
    if (first == 0xE0 && byte(1) < 0xA0) return 0;
    if (first == 0xED && byte(1) > 0x9F) return 0;
    return 3;
  }
  if (first > 0xF4 || !continuation(1) || !continuation(2) || !continuation(3)) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return 4;
}

// Whether `c` was assigned in this version of Unicode or before.
bool assigned_by(char32_t c, uint8_t major, uint8_t minor) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  if (age[0] == 0) return false;
  return age[0] < major || (age[0] == major && age[1] <= minor);
}

bool assigned_for_categories(char32_t c) { return assigned_by(c, 8, 0); }
bool assigned_for_nfd(char32_t c) { return assigned_by(c, 12, 1); }

int8_t category(char32_t c) { return u_charType(static_cast<UChar32>(c)); }

const UNormalizer2* nfd() {
  // ICU keeps the instance; it must not be closed.  Null if ICU's data are missing.
  static const UNormalizer2* const instance = [] {
    UErrorCode error = U_ZERO_ERROR;
    const UNormalizer2* normalizer = unorm2_getNFDInstance(&error);
    return U_SUCCESS(error) ? normalizer : nullptr;
  }();
  return instance;
}

const UNormalizer2* nfkd() {
  static const UNormalizer2* const instance = [] {
    UErrorCode error = U_ZERO_ERROR;
    const UNormalizer2* normalizer = unorm2_getNFKDInstance(&error);
    return U_SUCCESS(error) ? normalizer : nullptr;
  }();
  return instance;
}

// Full decomposition by `normalizer` into at most `limit` characters; returns how many.
int decompose(const UNormalizer2* normalizer, char32_t c, char32_t* out, int limit) {
  out[0] = c;
  // Below U+00A0 and among the unified ideographs nothing decomposes.
  if (c < 0xA0 || (c >= 0x3400 && c < 0xA000) || normalizer == nullptr) return 1;
  UChar utf16[2 * kMaxCompatibilityDecomposition];
  UErrorCode error = U_ZERO_ERROR;
  const int32_t length =
      unorm2_getDecomposition(normalizer, static_cast<UChar32>(c), utf16, 2 * kMaxCompatibilityDecomposition, &error);
  if (length <= 0 || U_FAILURE(error) || !assigned_for_nfd(c)) return 1;
  int count = 0;
  for (int32_t i = 0; i < length && count < limit;) {
    UChar32 part;
    U16_NEXT(utf16, i, length, part);
    out[count++] = static_cast<char32_t>(part);
  }
  return count;
}

// Upper-case letters of Unicode 16 and 17 that ICU 72 (Unicode 15) does not
// know; `count` letters from `first` on, each `distance` from its lower case.
struct RecentCase {
  char32_t first;
  int count;
  int distance;
};
constexpr RecentCase kRecentCases[] = {
    {0x1C89, 1, 1},      {0xA7CB, 1, 0x264 - 0xA7CB},
    {0xA7CC, 1, 1},      {0xA7CE, 1, 1},
    {0xA7D2, 1, 1},      {0xA7D4, 1, 1},
    {0xA7DA, 1, 1},      {0xA7DC, 1, 0x19B - 0xA7DC},
    {0x10D50, 22, 0x20}, {0x16EA0, 25, 0x1B},
};

}  // namespace

bool is_valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    // Eight bytes of ASCII at a time.
    uint64_t word;
    if (text.size() - i >= sizeof(word)) {
      memcpy(&word, text.data() + i, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        i += sizeof(word);
        continue;
      }
    }
    const int length = sequence_length(text, i);
    if (length == 0) return false;
    i += static_cast<size_t>(length);
  }
  return true;
}

char32_t next_code_point_beyond_ascii(std::string_view text, size_t* position) {
  const size_t i = *position;
  const auto byte = [&](size_t k) { return static_cast<char32_t>(static_cast<unsigned char>(text[i + k])); };
  const int length = sequence_length(text, i);
  *position = i + static_cast<size_t>(length == 0 ? 1 : length);
  switch (length) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    case 4:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    default:
      return kReplacementCharacter;
  }
}

char32_t previous_code_point(std::string_view text, size_t position) {
  size_t start = position - 1;
  while (start > 0 && position - start < 4 && is_utf8_continuation(text[start])) --start;
  size_t end = start;
  const char32_t c = next_code_point(text, &end);
  return end == position ? c : kReplacementCharacter;
}

void append_utf8(char32_t c, std::string* out) {
  const auto put = [&](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += !is_utf8_continuation(byte);
  return count;
}

bool is_white_space_beyond_ascii(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }

bool is_bert_control(char32_t c) {
  if (c < 0x80) return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
  switch (category(c)) {
    case U_CONTROL_CHAR:
    case U_PRIVATE_USE_CHAR:
      return true;
    case U_FORMAT_CHAR:
      return assigned_for_categories(c);
    default:
      return false;
  }
}

bool is_bert_cjk(char32_t c) {
  if (c < 0x3400) return false;
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_bert_punctuation(char32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  if (u_ispunct(static_cast<UChar32>(c))) return assigned_for_categories(c);
  // CANADIAN SYLLABICS CHI SIGN and SHARADA SANDHI MARK: Po until Unicode 8.
  return c == 0x166D || c == 0x111C9;
}

bool is_nonspacing_mark(char32_t c) {
  if (c < 0x300) return false;
  if (category(c) == U_NON_SPACING_MARK) {
    // Mn only after Unicode 8: MONGOLIAN LETTER ALI GALI BALUDA and THREE
    // BALUDA, JAVANESE CONSONANT SIGN KERET, SHARADA SANDHI MARK.
    if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;
    return assigned_for_categories(c);
  }
  return c == 0x1734;  // HANUNOO SIGN PAMUDPOD: Mn until Unicode 14
}

bool is_word_character(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  const auto code_point = static_cast<UChar32>(c);
  const uint32_t word_categories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return (U_GET_GC_MASK(code_point) & word_categories) != 0 || u_isUAlphabetic(code_point) ||
         u_hasBinaryProperty(code_point, UCHAR_JOIN_CONTROL);
}

int lower_case(char32_t c, char32_t out[2]) {
  if (c < 0x80) {
    out[0] = c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
    return 1;
  }
  if (c == 0x130) {  // LATIN CAPITAL LETTER I WITH DOT ABOVE
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
  }
  out[0] = static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
  if (out[0] == c && c >= kRecentCases[0].first) {
    for (const RecentCase& letters : kRecentCases) {
      if (c >= letters.first && c < letters.first + static_cast<char32_t>(letters.count)) {
        out[0] = static_cast<char32_t>(static_cast<int>(c) + letters.distance);
      }
    }
  }
  return 1;
}

int canonical_decomposition(char32_t c, char32_t out[kMaxDecomposition]) {
  return decompose(nfd(), c, out, kMaxDecomposition);
}

int compatibility_decomposition(char32_t c, char32_t out[kMaxCompatibilityDecomposition]) {
  return decompose(nfkd(), c, out, kMaxCompatibilityDecomposition);
}

char32_t canonical_composition(char32_t first, char32_t second) {
  if (nfd() == nullptr) return 0;
  const UChar32 composed = unorm2_composePair(nfd(), static_cast<UChar32>(first), static_cast<UChar32>(second));
  return composed > 0 && assigned_for_nfd(static_cast<char32_t>(composed)) ? static_cast<char32_t>(composed) : 0;
}

bool is_combining_mark(char32_t c) {
  return c >= 0x300 && (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0 && assigned_for_nfd(c);
}

bool is_decimal_digit(char32_t c) { return category(c) == U_DECIMAL_DIGIT_NUMBER; }

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0;
}

int combining_class(char32_t c) {
  if (c < 0x300) return 0;
  const int value = u_getCombiningClass(static_cast<UChar32>(c));
  return value != 0 && assigned_for_nfd(c) ? value : 0;
}

}  // namespace pg_semantic::encoder
