// See tokenizer_text_normalizer.h.
#include "encoder/tokenizer_text_normalizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "encoder/json.h"
#include "encoder/tokenizer_json_values.h"
#include "encoder/tokenizer_charsmap.h"
#include "encoder/tokenizer_pattern.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

// ---- normalisation forms -----------------------------------------------------------

struct Decomposed {
  int combining_class = 0;
  ChangedCharacter part;
};

// Decomposition with canonical ordering; of a character's parts the first one takes its place.
std::vector<Decomposed> decompose(std::string_view text, bool compatibility) {
  std::vector<Decomposed> parts;
  parts.reserve(text.size());
  size_t sorted = 0;
  const auto sort_marks = [&] {
    // One mark is in order, after a starter or at the text's beginning; the sort allocates.
    if (parts.size() - sorted > (sorted == 0 ? 1 : 2)) {
      std::stable_sort(parts.begin() + static_cast<std::ptrdiff_t>(sorted), parts.end(),
                       [](const Decomposed& a, const Decomposed& b) { return a.combining_class < b.combining_class; });
    }
    sorted = parts.size();
  };
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_code_point(text, &i);
    std::array<char32_t, kMaxCompatibilityDecomposition> out;
    const int count =
        compatibility ? compatibility_decomposition(c, out.data()) : canonical_decomposition(c, out.data());
    for (int part = 0; part < count; ++part) {
      const char32_t character = out[static_cast<size_t>(part)];
      const int combining = combining_class(character);
      if (combining == 0) sort_marks();
      parts.push_back({combining, {character, part == 0 ? 0 : 1}});
    }
  }
  sort_marks();
  return parts;
}

// Composition of what decompose() made; a mark that goes into its base takes its change along.
std::vector<ChangedCharacter> compose(const std::vector<Decomposed>& parts) {
  std::vector<ChangedCharacter> out;
  std::vector<ChangedCharacter> marks;  // after the base, not composed with it
  std::optional<ChangedCharacter> base;
  int last_class = 0;  // of marks.back(); 0: no mark
  const auto flush = [&] {
    if (base) out.push_back(*base);
    out.insert(out.end(), marks.begin(), marks.end());
    marks.clear();
    last_class = 0;
  };
  for (const Decomposed& next : parts) {
    if (!base) {
      if (next.combining_class != 0) {
        out.push_back(next.part);
      } else {
        base = next.part;
      }
      continue;
    }
    const bool blocked = last_class != 0 && last_class >= next.combining_class;
    const char32_t composed = blocked ? 0 : canonical_composition(base->character, next.part.character);
    if (composed != 0) {
      base = ChangedCharacter{composed, base->change + next.part.change - 1};
    } else if (next.combining_class == 0) {
      flush();
      base = next.part;
    } else {
      marks.push_back(next.part);
      last_class = next.combining_class;
    }
  }
  flush();
  return out;
}

class NormalizationForm final : public TextNormalizer {
 public:
  NormalizationForm(bool compatibility, bool composed) : compatibility_(compatibility), composed_(composed) {}

  void normalize(AlignedText* text) const override {
    if (text->is_ascii()) return;
    const std::vector<Decomposed> parts = decompose(text->text(), compatibility_);
    if (composed_) {
      text->transform(compose(parts));
      return;
    }
    std::vector<ChangedCharacter> characters;
    characters.reserve(parts.size());
    for (const Decomposed& part : parts) characters.push_back(part.part);
    text->transform(characters);
  }

 private:
  const bool compatibility_;
  const bool composed_;
};

// ---- characters ----------------------------------------------------------------------

AsciiMap ascii_lower_case() {
  AsciiMap map;
  for (char32_t c = 0; c < 128; ++c) {
    char32_t lowered[2];
    lower_case(c, lowered);
    map.characters[c] = static_cast<char>(lowered[0]);
  }
  return map;
}

void lower(AlignedText* text) {
  static const AsciiMap kAsciiLowerCase = ascii_lower_case();
  if (text->map_ascii(kAsciiLowerCase)) return;
  std::vector<ChangedCharacter> characters;
  const std::string& source = text->text();
  characters.reserve(source.size());
  bool changed = false;
  for (size_t i = 0; i < source.size();) {
    const char32_t c = next_code_point(source, &i);
    char32_t lowered[2];
    const int count = lower_case(c, lowered);
    changed |= lowered[0] != c;
    for (int n = 0; n < count; ++n) characters.push_back({lowered[n], n});
  }
  if (changed) text->transform(characters);
}

class LowercaseNormalizer final : public TextNormalizer {
 public:
  void normalize(AlignedText* text) const override { lower(text); }
};

class StripAccentsNormalizer final : public TextNormalizer {
 public:
  void normalize(AlignedText* text) const override {
    if (text->is_ascii()) return;
    text->filter([](char32_t c) { return !is_combining_mark(c); });
  }
};

class StripNormalizer final : public TextNormalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void normalize(AlignedText* text) const override { text->strip(left_, right_); }

 private:
  const bool left_;
  const bool right_;
};

// SentencePiece's rules for machine translation: control characters go, odd spaces become spaces.
class NmtNormalizer final : public TextNormalizer {
 public:
  void normalize(AlignedText* text) const override {
    text->filter([](char32_t c) {
      return !((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
               c == 0x9F);
    });
    text->map([](char32_t c) {
      const bool is_space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                            (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
                            c == kReplacementCharacter;
      return is_space ? U' ' : c;
    });
  }
};

class BertTextNormalizer final : public TextNormalizer {
 public:
  explicit BertTextNormalizer(const NormalizerOptions& options) : options_(options) {}

  void normalize(AlignedText* text) const override {
    if (options_.clean_text) {
      text->filter([](char32_t c) { return c != 0 && c != kReplacementCharacter && !is_bert_control(c); });
      text->map([](char32_t c) { return is_white_space(c) ? U' ' : c; });
    }
    if (options_.handle_chinese_chars) set_ideographs_apart(text);
    if (options_.strip_accents) {
      NormalizationForm(false, false).normalize(text);
      if (!text->is_ascii()) text->filter([](char32_t c) { return !is_nonspacing_mark(c); });
    }
    if (options_.lowercase) lower(text);
  }

 private:
  static void set_ideographs_apart(AlignedText* text) {
    if (text->is_ascii()) return;
    std::vector<ChangedCharacter> characters;
    for (size_t i = 0; i < text->text().size();) {
      const char32_t c = next_code_point(text->text(), &i);
      if (is_bert_cjk(c)) {
        characters.insert(characters.end(), {{U' ', 0}, {c, 1}, {U' ', 1}});
      } else {
        characters.push_back({c, 0});
      }
    }
    text->transform(characters);
  }

  const NormalizerOptions options_;
};

// ---- strings ---------------------------------------------------------------------------

class ReplaceNormalizer final : public TextNormalizer {
 public:
  ReplaceNormalizer(std::unique_ptr<TextPattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void normalize(AlignedText* text) const override {
    if (!text->text().empty()) text->replace(pattern_->find_all(text->text()), content_);
  }

 private:
  const std::unique_ptr<TextPattern> pattern_;
  const std::string content_;
};

class PrependNormalizer final : public TextNormalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  void normalize(AlignedText* text) const override { text->prepend(prefix_); }

 private:
  const std::string prefix_;
};

class ByteLevelNormalizer final : public TextNormalizer {
 public:
  void normalize(AlignedText* text) const override { text->to_byte_level(); }
};

class CharsmapNormalizer final : public TextNormalizer {
 public:
  explicit CharsmapNormalizer(PrecompiledCharsmap map) : map_(std::move(map)) {}
  void normalize(AlignedText* text) const override { map_.normalize(text); }

 private:
  const PrecompiledCharsmap map_;
};

// ---- reading -----------------------------------------------------------------------------

Result<std::string> decode_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int count = 0;
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return corrupt_tokenizer("Its \"precompiled_charsmap\" is not base 64.");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return bytes;
}

Status read_bert_options(const json& object, NormalizerOptions* options) {
  for (const auto& [key, value] : {std::pair("clean_text", &options->clean_text),
                                   std::pair("handle_chinese_chars", &options->handle_chinese_chars),
                                   std::pair("lowercase", &options->lowercase)}) {
    const Result<bool> read = flag_or(object, key, true);
    if (!read) return read.status();
    *value = *read;
  }
  const Result<bool> strip_accents = flag_or(object, "strip_accents", options->lowercase);
  if (!strip_accents) return strip_accents.status();
  options->strip_accents = *strip_accents;
  return Status::ok();
}

Result<std::unique_ptr<TextNormalizer>> read_simple(const std::string& type) {
  std::unique_ptr<TextNormalizer> made;
  if (type == "NFC") made = std::make_unique<NormalizationForm>(false, true);
  if (type == "NFD") made = std::make_unique<NormalizationForm>(false, false);
  if (type == "NFKC") made = std::make_unique<NormalizationForm>(true, true);
  if (type == "NFKD") made = std::make_unique<NormalizationForm>(true, false);
  if (type == "Lowercase") made = std::make_unique<LowercaseNormalizer>();
  if (type == "StripAccents") made = std::make_unique<StripAccentsNormalizer>();
  if (type == "Nmt") made = std::make_unique<NmtNormalizer>();
  if (type == "ByteLevel") made = std::make_unique<ByteLevelNormalizer>();
  if (made == nullptr) {
    return Status(StatusCode::kUnsupported, "tokenizer normalizer \"" + type.substr(0, 100) + "\" is not supported",
                  "File \"tokenizer.json\" asks for it.");
  }
  return made;
}

Result<std::unique_ptr<TextNormalizer>> read_normalizer(const json& object, const std::string& type) {
  if (type == "Strip") {
    const Result<bool> left = flag_or(object, "strip_left", true);
    if (!left) return left.status();
    const Result<bool> right = flag_or(object, "strip_right", true);
    if (!right) return right.status();
    return std::unique_ptr<TextNormalizer>(std::make_unique<StripNormalizer>(*left, *right));
  }
  if (type == "Replace") {
    Result<std::unique_ptr<TextPattern>> pattern = read_text_pattern(object);
    if (!pattern) return pattern.status();
    Result<std::string> content = required_string(object, "content", "A normalizer");
    if (!content) return content.status();
    return std::unique_ptr<TextNormalizer>(
        std::make_unique<ReplaceNormalizer>(std::move(*pattern), std::move(*content)));
  }
  if (type == "Prepend") {
    Result<std::string> prefix = required_string(object, "prepend", "A normalizer");
    if (!prefix) return prefix.status();
    return std::unique_ptr<TextNormalizer>(std::make_unique<PrependNormalizer>(std::move(*prefix)));
  }
  if (type == "Precompiled") {
    const Result<std::string> text = required_string(object, "precompiled_charsmap", "A normalizer");
    if (!text) return text.status();
    const Result<std::string> bytes = decode_base64(*text);
    if (!bytes) return bytes.status();
    Result<PrecompiledCharsmap> map = PrecompiledCharsmap::open(*bytes);
    if (!map) return map.status();
    return std::unique_ptr<TextNormalizer>(std::make_unique<CharsmapNormalizer>(std::move(*map)));
  }
  if (type == "BertNormalizer") {
    NormalizerOptions options;
    PG_SEMANTIC_RETURN_IF_ERROR(read_bert_options(object, &options));
    return std::unique_ptr<TextNormalizer>(std::make_unique<BertTextNormalizer>(options));
  }
  return read_simple(type);
}

Status read_into(const json& description, TextNormalizers* out) {
  const Result<std::string> type = required_string(description, "type", "A normalizer");
  if (!type) return type.status();
  if (*type == "Sequence") {
    const json* members = json_member(description, "normalizers");
    if (members == nullptr || !members->is_array()) return corrupt_tokenizer("A sequence has no \"normalizers\".");
    for (const json& member : *members) PG_SEMANTIC_RETURN_IF_ERROR(read_into(member, out));
    return Status::ok();
  }
  Result<std::unique_ptr<TextNormalizer>> normalizer = read_normalizer(description, *type);
  if (!normalizer) return normalizer.status();
  if (out->size() >= kMaxTokenizerParts) return corrupt_tokenizer("It has too many parts.");
  out->push_back(std::move(*normalizer));
  return Status::ok();
}

}  // namespace

Result<TextNormalizers> read_normalizers(const json* description) {
  TextNormalizers normalizers;
  if (description != nullptr) PG_SEMANTIC_RETURN_IF_ERROR(read_into(*description, &normalizers));
  return normalizers;
}

}  // namespace pg_semantic::encoder
