// See tokenizer_pattern.h.
#include "encoder/tokenizer_pattern.h"

#include <algorithm>
#include <array>
#include <utility>

#include <unicode/uchar.h>
#include <unicode/uregex.h>
#include <unicode/utext.h>

#include "encoder/json.h"
#include "encoder/tokenizer_json_values.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

constexpr size_t kMaxPatternBytes = 1 << 14;

Status unsupported(std::string_view pattern) {
  return {StatusCode::kUnsupported, "regular expression of the tokenizer is not supported",
          "File \"tokenizer.json\" has the expression " + std::string(pattern.substr(0, 200)) + "."};
}

class StringPattern final : public TextPattern {
 public:
  explicit StringPattern(std::string content) : content_(std::move(content)) {}

  std::vector<ByteRange> find_all(std::string_view text) const override {
    std::vector<ByteRange> matches;
    for (size_t at = text.find(content_); at != std::string_view::npos; at = text.find(content_, at)) {
      matches.push_back({at, at + content_.size()});
      at += content_.size();
    }
    return matches;
  }

 private:
  const std::string content_;
};

// " {2,}", which every SentencePiece tokenizer has, without the machinery of expressions.
class SpacesPattern final : public TextPattern {
 public:
  std::vector<ByteRange> find_all(std::string_view text) const override {
    std::vector<ByteRange> matches;
    for (size_t at = text.find("  "); at != std::string_view::npos;) {
      const size_t end = std::min(text.find_first_not_of(' ', at), text.size());
      matches.push_back({at, end});
      at = text.find("  ", end);
    }
    return matches;
  }
};

struct CloseRegex {
  void operator()(URegularExpression* regex) const { uregex_close(regex); }
};
struct CloseText {
  void operator()(UText* text) const { utext_close(text); }
};
using Regex = std::unique_ptr<URegularExpression, CloseRegex>;
using Text = std::unique_ptr<UText, CloseText>;

Text open_text(std::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  Text opened(utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &error));
  return U_SUCCESS(error) ? std::move(opened) : nullptr;
}

class RegexPattern final : public TextPattern {
 public:
  explicit RegexPattern(Regex regex) : regex_(std::move(regex)) {}

  std::vector<ByteRange> find_all(std::string_view text) const override {
    std::vector<ByteRange> matches;
    UErrorCode error = U_ZERO_ERROR;
    const Regex regex(uregex_clone(regex_.get(), &error));
    const Text opened = open_text(text);
    if (U_FAILURE(error) || opened == nullptr) throw TokenizerLimitExceeded();
    uregex_setUText(regex.get(), opened.get(), &error);
    uregex_setTimeLimit(regex.get(), step_limit(text.size()), &error);
    while (U_SUCCESS(error) && uregex_findNext(regex.get(), &error) && U_SUCCESS(error)) {
      const int64_t start = uregex_start64(regex.get(), 0, &error);
      const int64_t end = uregex_end64(regex.get(), 0, &error);
      if (U_FAILURE(error) || start < 0 || end < start || static_cast<size_t>(end) > text.size()) break;
      // Oniguruma's iterator takes no empty match where the one before ends.
      if (start == end && !matches.empty() && matches.back().end == static_cast<size_t>(end)) continue;
      matches.push_back({static_cast<size_t>(start), static_cast<size_t>(end)});
    }
    // The engine gave up, for want of stack or time: other tokens than the right ones would be the worse answer.
    if (U_FAILURE(error)) throw TokenizerLimitExceeded();
    return matches;
  }

 private:
  // ICU's unit, for all matches together: 10,000 states to go back to, about half a millisecond.  A common
  // expression needs a few states a character; these are a hundred a byte, and ten million more.
  static int32_t step_limit(size_t bytes) {
    return static_cast<int32_t>(std::min<size_t>(1000 + bytes / 100, 1 << 20));
  }
  const Regex regex_;
};

// The expression in ICU's writing; false where it may mean something else there.
bool translate(std::string_view pattern, std::string* out) {
  // ICU's own \w has the join controls, too.
  constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
  int sets = 0;  // open brackets
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '(' && pattern.substr(i, 2) == "(?") {
      // Ruby's (?m) is other languages' (?s).
      const size_t end = pattern.find_first_not_of("imsx-", i + 2);
      if (pattern.substr(i + 2, end - i - 2).find('m') != std::string_view::npos) return false;
    }
    if (c != '\\' || i + 1 == pattern.size()) {
      sets += c == '[' ? 1 : c == ']' && sets > 0 ? -1 : 0;
      out->push_back(c);
      continue;
    }
    const char escaped = pattern[++i];
    switch (escaped) {
      case 's':
        *out += "\\p{White_Space}";
        break;
      case 'S':
        *out += "\\P{White_Space}";
        break;
      case 'w':
        *out += sets > 0 ? std::string(kWord) : "[" + std::string(kWord) + "]";
        break;
      case 'W':
        *out += "[^" + std::string(kWord) + "]";
        break;
      case 'h':  // a hexadecimal digit there, a space here
      case 'H':
      case 'K':
      case 'g':
      case 'k':
      case 'R':
      case 'X':
      case 'y':
      case 'Y':
      case 'O':
      case 'N':
        return false;
      default:
        *out += {'\\', escaped};
    }
  }
  return true;
}

Result<std::unique_ptr<TextPattern>> compile_regex(const std::string& pattern) {
  if (pattern.size() > kMaxPatternBytes) return unsupported(pattern);
  if (pattern == " {2,}") return std::unique_ptr<TextPattern>(std::make_unique<SpacesPattern>());
  std::string translated;
  if (!translate(pattern, &translated)) return unsupported(pattern);
  const Text opened = open_text(translated);
  UErrorCode error = U_ZERO_ERROR;
  UParseError where;
  // In Ruby's syntax ^ and $ are those of lines, which only "\n" ends.
  Regex regex(opened == nullptr ? nullptr
                                : uregex_openUText(opened.get(), UREGEX_MULTILINE | UREGEX_UNIX_LINES, &where, &error));
  if (U_FAILURE(error) || regex == nullptr) return unsupported(pattern);
  return std::unique_ptr<TextPattern>(std::make_unique<RegexPattern>(std::move(regex)));
}

enum class CharacterClass : uint8_t { kLetter, kNumber, kSpace, kOther };

CharacterClass find_class(char32_t c) {
  const uint32_t mask = U_GET_GC_MASK(static_cast<UChar32>(c));
  if ((mask & U_GC_L_MASK) != 0) return CharacterClass::kLetter;
  if ((mask & U_GC_N_MASK) != 0) return CharacterClass::kNumber;
  return is_white_space(c) ? CharacterClass::kSpace : CharacterClass::kOther;
}

CharacterClass class_of(char32_t c) {
  static const auto kAscii = [] {
    std::array<CharacterClass, 128> classes{};
    for (char32_t ascii = 0; ascii < 128; ++ascii) classes[ascii] = find_class(ascii);
    return classes;
  }();
  return c < 128 ? kAscii[c] : find_class(c);
}

// Length of an English contraction at the beginning of `text`; 0: none.
size_t contraction_length(std::string_view text) {
  if (text[0] != '\'') return 0;
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(ending)) return ending.size();
  }
  return 0;
}

}  // namespace

Result<std::unique_ptr<TextPattern>> read_text_pattern(const nlohmann::json& object) {
  const nlohmann::json* pattern = json_member(object, "pattern");
  if (pattern == nullptr) return corrupt_tokenizer("A part has no \"pattern\".");
  const Result<std::optional<std::string>> text = json_string(*pattern, "String", kTokenizerJson);
  if (!text) return text.status();
  if (text->has_value()) {
    if ((*text)->empty()) return compile_regex("");
    return std::unique_ptr<TextPattern>(std::make_unique<StringPattern>(**text));
  }
  const Result<std::optional<std::string>> regex = json_string(*pattern, "Regex", kTokenizerJson);
  if (!regex) return regex.status();
  if (regex->has_value()) return compile_regex(**regex);
  return corrupt_tokenizer("A pattern is neither a string nor a regular expression.");
}

std::vector<ByteRange> split_like_gpt2(std::string_view text) {
  std::vector<ByteRange> pieces;
  pieces.reserve(text.size() / 4 + 1);
  for (size_t start = 0; start < text.size();) {
    if (const size_t length = contraction_length(text.substr(start)); length > 0) {
      pieces.push_back({start, start + length});
      start += length;
      continue;
    }
    size_t next = start;
    CharacterClass first = class_of(next_code_point(text, &next));
    if (text[start] == ' ' && next < text.size()) {
      size_t after = next;
      const CharacterClass second = class_of(next_code_point(text, &after));
      if (second != CharacterClass::kSpace) {
        first = second;
        next = after;
      }
    }
    // The run of one class; of white space, where it began and ended last.
    size_t last = start;
    while (next < text.size()) {
      size_t after = next;
      if (class_of(next_code_point(text, &after)) != first) break;
      last = next;
      next = after;
    }
    // \s+(?!\S): the last white space of several goes with what follows it.
    if (first == CharacterClass::kSpace && next < text.size() && last > start) next = last;
    pieces.push_back({start, next});
    start = next;
  }
  return pieces;
}

}  // namespace pg_semantic::encoder
