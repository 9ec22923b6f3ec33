// See tokenizer_aligned_text.h.
#include "encoder/tokenizer_aligned_text.h"

#include <algorithm>
#include <utility>

#include "encoder/tokenizer_byte_level.h"

namespace pg_semantic::encoder {

AlignedText::AlignedText(std::string_view text, int32_t first_character) : text_(text) {
  spans_.reserve(text.size());
  int32_t character = first_character;
  for (size_t i = 0; i < text.size(); ++character) {
    i += utf8_length(text[i]);
    spans_.resize(std::min(i, text.size()), {character, character + 1});
  }
}

bool AlignedText::is_ascii() const {
  return std::none_of(text_.begin(), text_.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

void AlignedText::transform(std::span<const ChangedCharacter> characters, size_t removed) {
  check_text_size(characters.size());
  AlignedText result;
  result.text_.reserve(text_.size());
  result.spans_.reserve(text_.size());
  size_t old = 0;  // bytes of the old text that are dealt with
  const auto skip_characters = [&](int64_t count) {
    for (; count > 0 && old < text_.size(); --count) old = std::min(text_.size(), old + utf8_length(text_[old]));
  };
  skip_characters(static_cast<int64_t>(removed));
  for (const ChangedCharacter& next : characters) {
    CharSpan span;
    if (next.change > 0 || old >= spans_.size()) {
      if (old > 0) span = spans_[old - 1];
    } else {
      span = spans_[old];
      skip_characters(1 - next.change);
    }
    result.append_character(next.character, span);
  }
  *this = std::move(result);
}

void AlignedText::strip(bool left, bool right) {
  size_t start = 0;
  while (left && start < text_.size()) {
    size_t after = start;
    if (!is_white_space(next_code_point(text_, &after))) break;
    start = after;
  }
  size_t end = text_.size();
  while (right && end > start && is_white_space(previous_code_point(text_, end))) {
    do {
      --end;
    } while (end > start && is_utf8_continuation(text_[end]));
  }
  text_ = text_.substr(start, end - start);
  spans_ = std::vector<CharSpan>(spans_.begin() + static_cast<std::ptrdiff_t>(start),
                                 spans_.begin() + static_cast<std::ptrdiff_t>(end));
}

void AlignedText::replace(std::span<const ByteRange> matches, std::string_view content) {
  if (matches.empty()) return;
  check_text_size(text_.size() + matches.size() * content.size());
  AlignedText result;
  size_t copied = 0;
  for (const ByteRange& match : matches) {
    result.append(*this, copied, match.start);
    // What is put in counts as added after the last character that goes.
    const CharSpan span = match.end > 0 ? spans_[match.end - 1] : CharSpan();
    result.text_.append(content);
    result.spans_.resize(result.text_.size(), span);
    copied = match.end;
  }
  result.append(*this, copied, text_.size());
  *this = std::move(result);
}

void AlignedText::prepend(std::string_view prefix) {
  if (text_.empty()) return;
  check_text_size(text_.size() + prefix.size());
  text_.insert(0, prefix);
  spans_.insert(spans_.begin(), prefix.size(), spans_.front());
}

void AlignedText::to_byte_level() {
  AlignedText result;
  result.append_byte_level(*this, 0, text_.size());
  *this = std::move(result);
}

void AlignedText::append(const AlignedText& other, size_t start, size_t end) {
  check_text_size(text_.size() + (end - start));
  text_.append(other.text_, start, end - start);
  spans_.insert(spans_.end(), other.spans_.begin() + static_cast<std::ptrdiff_t>(start),
                other.spans_.begin() + static_cast<std::ptrdiff_t>(end));
}

void AlignedText::append_prefixed(std::string_view prefix, const AlignedText& other, size_t start, size_t end) {
  text_.append(prefix);
  spans_.resize(text_.size(), other.spans_[start]);
  append(other, start, end);
}

void AlignedText::append_byte_level(const AlignedText& other, size_t start, size_t end) {
  check_text_size(text_.size() + 2 * (end - start));
  for (size_t i = start; i < end; ++i) append_character(byte_level_character(other.text_[i]), other.spans_[i]);
}

}  // namespace pg_semantic::encoder
