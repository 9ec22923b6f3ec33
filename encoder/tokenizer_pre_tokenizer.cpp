// See tokenizer_pre_tokenizer.h.
#include "encoder/tokenizer_pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <utility>

#include "encoder/json.h"
#include "encoder/tokenizer_json_values.h"
#include "encoder/tokenizer_pattern.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

// What becomes of the delimiters between words.
enum class DelimiterBehavior : uint8_t { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A stretch of a word: a match of the delimiter, or what lies between two.
struct Stretch {
  ByteRange range;
  bool is_match = false;
};

// The matches and what lies between them, which covers [0, size).
std::vector<Stretch> stretches_of(const std::vector<ByteRange>& matches, size_t size, bool invert) {
  std::vector<Stretch> stretches;
  size_t done = 0;
  for (const ByteRange& match : matches) {
    if (match.start > done) stretches.push_back({{done, match.start}, invert});
    stretches.push_back({match, !invert});
    done = match.end;
  }
  if (done < size) stretches.push_back({{done, size}, invert});
  return stretches;
}

// Joins a match with the stretch that comes before it in `stretches`, unless that is a match, too.
std::vector<Stretch> merge_with_previous(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> merged;
  bool previous_is_match = false;
  for (const Stretch& next : stretches) {
    if (next.is_match && !previous_is_match && !merged.empty()) {
      ByteRange& last = merged.back().range;
      last = {std::min(last.start, next.range.start), std::max(last.end, next.range.end)};
    } else {
      merged.push_back(next);
    }
    previous_is_match = next.is_match;
  }
  return merged;
}

std::vector<Stretch> join_equal(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> joined;
  bool previous_is_match = false;
  for (const Stretch& next : stretches) {
    if (next.is_match == previous_is_match && !joined.empty()) {
      joined.back().range.end = next.range.end;
    } else {
      joined.push_back(next);
    }
    previous_is_match = next.is_match;
  }
  return joined;
}

// Of the behaviours that join stretches.
std::vector<Stretch> apply_behavior(std::vector<Stretch> stretches, DelimiterBehavior behavior) {
  switch (behavior) {
    case DelimiterBehavior::kRemoved:
    case DelimiterBehavior::kIsolated:
      break;
    case DelimiterBehavior::kMergedWithPrevious:
      return merge_with_previous(stretches);
    case DelimiterBehavior::kMergedWithNext: {
      std::reverse(stretches.begin(), stretches.end());
      std::vector<Stretch> merged = merge_with_previous(stretches);
      std::reverse(merged.begin(), merged.end());
      return merged;
    }
    case DelimiterBehavior::kContiguous:
      return join_equal(stretches);
  }
  return stretches;
}

// Cuts without changing what the words say: the delimiters are what find() finds in a word.
class DelimiterSplitter final : public PreTokenizer {
 public:
  // Appends the matches.
  using Find = std::function<void(std::string_view, std::vector<ByteRange>*)>;
  DelimiterSplitter(Find find, DelimiterBehavior behavior, bool invert = false)
      : find_(std::move(find)), behavior_(behavior), invert_(invert) {}

  void split(SplitText* text) const override {
    std::vector<ByteRange> words;
    words.reserve(text->words.size() + text->text.text().size() / 8);
    std::vector<ByteRange> matches;
    for (const ByteRange& word : text->words) {
      const std::string_view content = std::string_view(text->text.text()).substr(word.start, word.end - word.start);
      const auto add = [&](ByteRange range) {
        if (range.start < range.end) words.push_back({word.start + range.start, word.start + range.end});
      };
      matches.clear();
      find_(content, &matches);
      if (behavior_ == DelimiterBehavior::kRemoved || behavior_ == DelimiterBehavior::kIsolated) {
        split_at(matches, content.size(), add);
      } else {
        for (const Stretch& stretch : apply_behavior(stretches_of(matches, content.size(), invert_), behavior_)) {
          add(stretch.range);
        }
      }
    }
    text->words = std::move(words);
  }

 private:
  // The behaviours that join nothing, without a list of stretches.
  template <typename Add>
  void split_at(const std::vector<ByteRange>& matches, size_t size, const Add& add) const {
    const bool is_isolated = behavior_ == DelimiterBehavior::kIsolated;
    size_t done = 0;
    for (const ByteRange& match : matches) {
      if (is_isolated || !invert_) add({done, match.start});
      if (is_isolated || invert_) add(match);
      done = match.end;
    }
    if (is_isolated || !invert_) add({done, size});
  }

  const Find find_;
  const DelimiterBehavior behavior_;
  const bool invert_;
};

// The single characters of a class.
DelimiterSplitter::Find find_characters(bool (*is_member)(char32_t)) {
  std::array<bool, 128> ascii{};
  for (char32_t c = 0; c < ascii.size(); ++c) ascii[c] = is_member(c);
  return [is_member, ascii](std::string_view text, std::vector<ByteRange>* matches) {
    for (size_t start = 0; start < text.size();) {
      size_t end = start;
      const char32_t c = next_code_point(text, &end);
      if (c < ascii.size() ? ascii[c] : is_member(c)) matches->push_back({start, end});
      start = end;
    }
  };
}

// \w+|[^\w\s]+
void find_words(std::string_view text, std::vector<ByteRange>* matches) {
  enum class Kind : uint8_t { kSpace, kWord, kOther };
  const auto find_kind = [](char32_t c) {
    if (is_word_character(c)) return Kind::kWord;
    return is_white_space(c) ? Kind::kSpace : Kind::kOther;
  };
  static const auto kAscii = [&] {
    std::array<Kind, 128> kinds{};
    for (char32_t c = 0; c < kinds.size(); ++c) kinds[c] = find_kind(c);
    return kinds;
  }();
  const auto kind_of = [&](char32_t c) { return c < kAscii.size() ? kAscii[c] : find_kind(c); };
  Kind before = Kind::kSpace;
  for (size_t start = 0; start < text.size();) {
    size_t end = start;
    const Kind kind = kind_of(next_code_point(text, &end));
    if (kind != Kind::kSpace) {
      if (kind == before) {
        matches->back().end = end;
      } else {
        matches->push_back({start, end});
      }
    }
    before = kind;
    start = end;
  }
}

// What a pattern of the file matches.
DelimiterSplitter::Find find_pattern(std::shared_ptr<const TextPattern> pattern) {
  return [pattern = std::move(pattern)](std::string_view text, std::vector<ByteRange>* matches) {
    *matches = pattern->find_all(text);
  };
}

class FixedLengthSplitter final : public PreTokenizer {
 public:
  explicit FixedLengthSplitter(size_t length) : length_(length) {}

  void split(SplitText* text) const override {
    std::vector<ByteRange> words;
    for (const ByteRange& word : text->words) {
      for (size_t start = word.start; start < word.end;) {
        size_t end = start;
        for (size_t i = 0; i < length_ && end < word.end; ++i) end += utf8_length(text->text.text()[end]);
        words.push_back({start, end});
        start = end;
      }
    }
    text->words = std::move(words);
  }

 private:
  const size_t length_;  // characters
};

class ByteLevelSplitter final : public PreTokenizer {
 public:
  ByteLevelSplitter(bool adds_prefix_space, bool splits) : adds_prefix_space_(adds_prefix_space), splits_(splits) {}

  void split(SplitText* text) const override {
    SplitText result;
    result.text.reserve(text->text.text().size() + text->text.text().size() / 4);
    result.words.reserve(text->words.size() + text->text.text().size() / 4);
    AlignedText prefixed;
    for (const ByteRange& word : text->words) {
      const bool lacks_space = adds_prefix_space_ && text->text.text()[word.start] != ' ';
      const size_t start = prefixed.text().size();
      prefixed.append_prefixed(lacks_space ? " " : "", text->text, word.start, word.end);
      const std::string_view content = std::string_view(prefixed.text()).substr(start);
      if (splits_) {
        for (const ByteRange& piece : split_like_gpt2(content)) {
          append(prefixed, {start + piece.start, start + piece.end}, &result);
        }
      } else {
        append(prefixed, {start, prefixed.text().size()}, &result);
      }
    }
    *text = std::move(result);
  }

 private:
  static void append(const AlignedText& from, ByteRange word, SplitText* to) {
    const size_t start = to->text.text().size();
    to->text.append_byte_level(from, word.start, word.end);
    to->words.push_back({start, to->text.text().size()});
  }

  const bool adds_prefix_space_;
  const bool splits_;
};

enum class PrependScheme : uint8_t { kAlways, kFirst, kNever };

class MetaspaceSplitter final : public PreTokenizer {
 public:
  MetaspaceSplitter(std::string replacement, PrependScheme scheme, bool splits)
      : replacement_(std::move(replacement)), scheme_(scheme), splits_(splits) {}

  void split(SplitText* text) const override {
    SplitText result;
    result.text.reserve(text->text.text().size() + text->text.text().size() / 2);
    result.words.reserve(text->words.size() + text->text.text().size() / 4);
    for (const ByteRange& word : text->words) {
      const size_t start = result.text.text().size();
      append_word(text->text, word, &result.text);
      cut(start, &result);
    }
    *text = std::move(result);
  }

 private:
  void append_word(const AlignedText& from, ByteRange word, AlignedText* to) const {
    const std::string_view content = std::string_view(from.text()).substr(word.start, word.end - word.start);
    const bool has_prefix = content.starts_with(' ') || content.starts_with(replacement_);
    const bool may_have = scheme_ == PrependScheme::kAlways ||
                          (scheme_ == PrependScheme::kFirst && from.span(word.start, word.start + 1).start == 0);
    if (may_have && !has_prefix) to->append_prefixed(replacement_, from, word.start, word.start);
    for (size_t start = word.start; start < word.end;) {
      // Not beyond the word: texts without spaces have many words, too.
      const size_t found = content.find(' ', start - word.start);
      const size_t space = found == std::string_view::npos ? word.end : word.start + found;
      to->append(from, start, space);
      if (space < word.end) to->append_prefixed(replacement_, from, space, space);
      start = space + 1;
    }
  }

  // Words begin at each replacement character.
  void cut(size_t start, SplitText* result) const {
    const std::string& text = result->text.text();
    while (splits_) {
      // A run of them is one word each, but for the last, which what follows belongs to.
      const size_t next = text.find(replacement_, start + 1);
      if (next == std::string::npos) break;
      result->words.push_back({start, next});
      start = next;
    }
    if (start < text.size()) result->words.push_back({start, text.size()});
  }

  const std::string replacement_;  // one character
  const PrependScheme scheme_;
  const bool splits_;
};

// ---- reading -----------------------------------------------------------------------

using Made = Result<std::unique_ptr<PreTokenizer>>;

template <typename T, typename... Arguments>
Made make(Arguments&&... arguments) {
  return std::unique_ptr<PreTokenizer>(std::make_unique<T>(std::forward<Arguments>(arguments)...));
}

Result<DelimiterBehavior> read_behavior(const json& object, const char* otherwise) {
  const Result<std::string> name = string_or(object, "behavior", otherwise);
  if (!name) return name.status();
  static constexpr std::pair<std::string_view, DelimiterBehavior> kNames[] = {
      {"Removed", DelimiterBehavior::kRemoved},
      {"Isolated", DelimiterBehavior::kIsolated},
      {"MergedWithPrevious", DelimiterBehavior::kMergedWithPrevious},
      {"MergedWithNext", DelimiterBehavior::kMergedWithNext},
      {"Contiguous", DelimiterBehavior::kContiguous}};
  for (const auto& [known, behavior] : kNames) {
    if (*name == known) return behavior;
  }
  return corrupt_tokenizer("A pre-tokenizer's \"behavior\" is none that is known.");
}

Made read_split(const json& object) {
  Result<std::unique_ptr<TextPattern>> pattern = read_text_pattern(object);
  if (!pattern) return pattern.status();
  const Result<DelimiterBehavior> behavior = read_behavior(object, "");
  if (!behavior) return behavior.status();
  const Result<bool> invert = flag_or(object, "invert", false);
  if (!invert) return invert.status();
  return make<DelimiterSplitter>(find_pattern(std::move(*pattern)), *behavior, *invert);
}

Made read_byte_level(const json& object) {
  const Result<bool> prefix = flag_or(object, "add_prefix_space", true);
  if (!prefix) return prefix.status();
  const Result<bool> splits = flag_or(object, "use_regex", true);
  if (!splits) return splits.status();
  return make<ByteLevelSplitter>(*prefix, *splits);
}

bool is_one_character(std::string_view text) { return !text.empty() && utf8_length(text[0]) == text.size(); }

Made read_metaspace(const json& object) {
  Result<std::string> replacement = string_or(object, "replacement", "\xE2\x96\x81");
  if (!replacement) return replacement.status();
  if (!is_one_character(*replacement)) return corrupt_tokenizer("Metaspace's \"replacement\" is not one character.");
  const Result<std::string> scheme = string_or(object, "prepend_scheme", "always");
  if (!scheme) return scheme.status();
  const Result<bool> prefix = flag_or(object, "add_prefix_space", true);
  if (!prefix) return prefix.status();
  const Result<bool> splits = flag_or(object, "split", true);
  if (!splits) return splits.status();
  if (*scheme != "always" && *scheme != "first" && *scheme != "never") {
    return corrupt_tokenizer("Metaspace's \"prepend_scheme\" is none that is known.");
  }
  PrependScheme prepend = *scheme == "always" ? PrependScheme::kAlways : PrependScheme::kFirst;
  if (*scheme == "never" || !*prefix) prepend = PrependScheme::kNever;
  return make<MetaspaceSplitter>(std::move(*replacement), prepend, *splits);
}

Made read_delimiter(const json& object) {
  const Result<std::string> delimiter = string_or(object, "delimiter", "");
  if (!delimiter) return delimiter.status();
  if (!is_one_character(*delimiter)) return corrupt_tokenizer("A pre-tokenizer's \"delimiter\" is not one character.");
  const json pattern = {{"pattern", {{"String", *delimiter}}}};
  Result<std::unique_ptr<TextPattern>> read = read_text_pattern(pattern);
  if (!read) return read.status();
  return make<DelimiterSplitter>(find_pattern(std::move(*read)), DelimiterBehavior::kRemoved);
}

Made read_digits(const json& object) {
  const Result<bool> individual = flag_or(object, "individual_digits", false);
  if (!individual) return individual.status();
  return make<DelimiterSplitter>(find_characters(is_numeric),
                                 *individual ? DelimiterBehavior::kIsolated : DelimiterBehavior::kContiguous);
}

Made read_punctuation(const json& object) {
  const Result<DelimiterBehavior> behavior = read_behavior(object, "Isolated");
  if (!behavior) return behavior.status();
  return make<DelimiterSplitter>(find_characters(is_bert_punctuation), *behavior);
}

Made read_fixed_length(const json& object) {
  const Result<std::optional<int64_t>> length = json_integer(object, "length", 1, INT32_MAX, kTokenizerJson);
  if (!length) return length.status();
  return make<FixedLengthSplitter>(static_cast<size_t>(length->value_or(5)));
}

Made read_one(const json& object, const std::string& type) {
  if (type == "ByteLevel") return read_byte_level(object);
  if (type == "Metaspace") return read_metaspace(object);
  if (type == "Split") return read_split(object);
  if (type == "Digits") return read_digits(object);
  if (type == "Punctuation") return read_punctuation(object);
  if (type == "FixedLength") return read_fixed_length(object);
  if (type == "CharDelimiterSplit" || type == "Delimiter") return read_delimiter(object);
  if (type == "Whitespace") return make<DelimiterSplitter>(find_words, DelimiterBehavior::kRemoved, /*invert=*/true);
  if (type == "WhitespaceSplit") {
    return make<DelimiterSplitter>(find_characters(is_white_space), DelimiterBehavior::kRemoved);
  }
  return Status(StatusCode::kUnsupported, "tokenizer pre-tokenizer \"" + type.substr(0, 100) + "\" is not supported",
                "File \"tokenizer.json\" asks for it.");
}

Status read_into(const json& description, PreTokenizers* out) {
  const Result<std::string> type = string_or(description, "type", "(none)");
  if (!type) return type.status();
  if (*type == "Sequence") {
    const json* members = json_member(description, "pretokenizers");
    if (members == nullptr || !members->is_array()) return corrupt_tokenizer("A sequence has no \"pretokenizers\".");
    for (const json& member : *members) PG_SEMANTIC_RETURN_IF_ERROR(read_into(member, out));
    return Status::ok();
  }
  if (*type == "BertPreTokenizer") {
    for (const char* part : {"WhitespaceSplit", "Punctuation"}) {
      PG_SEMANTIC_RETURN_IF_ERROR(read_into({{"type", part}}, out));
    }
    return Status::ok();
  }
  Made read = read_one(description, *type);
  if (!read) return read.status();
  if (out->size() >= kMaxTokenizerParts) return corrupt_tokenizer("It has too many parts.");
  out->push_back(std::move(*read));
  return Status::ok();
}

}  // namespace

Result<PreTokenizers> read_pre_tokenizers(const json* description) {
  PreTokenizers pre_tokenizers;
  if (description != nullptr) PG_SEMANTIC_RETURN_IF_ERROR(read_into(*description, &pre_tokenizers));
  return pre_tokenizers;
}

}  // namespace pg_semantic::encoder
