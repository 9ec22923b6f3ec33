// See tokenizer_aligned_text.h.
#include "encoder/tokenizer_aligned_text.h"

#include <algorithm>
#include <utility>

#include "encoder/tokenizer_byte_level.h"

namespace pg_semantic::encoder {

namespace {

bool is_ascii_text(std::string_view text) {
  unsigned char bits = 0;
  for (const char c : text) bits |= static_cast<unsigned char>(c);
  return bits < 0x80;
}

}  // namespace

AlignedText::AlignedText(std::string_view text, int32_t first_character)
    : text_(text), is_plain_(is_ascii_text(text)), first_character_(first_character) {
  if (is_plain_) return;
  spans_.resize(text.size());
  int32_t character = first_character;
  for (size_t i = 0; i < text.size(); ++character) {
    for (const size_t end = std::min(i + utf8_length(text[i]), text.size()); i < end; ++i) {
      spans_[i] = {character, character + 1};
    }
  }
}

bool AlignedText::is_ascii() const { return is_plain_ || is_ascii_text(text_); }

void AlignedText::end_plain() {
  if (!is_plain_) return;
  // All the room at once that the text has taken for itself.
  spans_.reserve(text_.capacity());
  spans_.resize(text_.size());
  for (size_t i = 0; i < spans_.size(); ++i) spans_[i] = span_at(i);
  is_plain_ = false;
}

void AlignedText::transform(std::span<const ChangedCharacter> characters, size_t removed) {
  check_text_size(characters.size());
  AlignedText result;
  result.reserve(text_.size());
  result.end_plain();
  size_t old = 0;  // bytes of the old text that are dealt with
  const auto skip_characters = [&](int64_t count) {
    for (; count > 0 && old < text_.size(); --count) old = std::min(text_.size(), old + utf8_length(text_[old]));
  };
  skip_characters(static_cast<int64_t>(removed));
  for (const ChangedCharacter& next : characters) {
    CharSpan span;
    if (next.change > 0 || old >= text_.size()) {
      if (old > 0) span = span_at(old - 1);
    } else {
      span = span_at(old);
      skip_characters(1 - next.change);
    }
    result.append_character(next.character, span);
  }
  *this = std::move(result);
}

bool AlignedText::map_ascii(const AsciiMap& map) {
  if (!is_ascii()) return false;
  const auto becomes = [&](char c) { return map.characters[static_cast<unsigned char>(c)]; };
  unsigned char bits = 0;
  for (const char c : text_) bits |= static_cast<unsigned char>(becomes(c));
  if (bits >= 0x80) return false;
  for (char& c : text_) c = becomes(c);
  return true;
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
  if (start == 0 && end == text_.size()) return;
  text_ = text_.substr(start, end - start);
  if (is_plain_) {
    first_character_ += static_cast<int32_t>(start);
    return;
  }
  spans_ = std::vector<CharSpan>(spans_.begin() + static_cast<std::ptrdiff_t>(start),
                                 spans_.begin() + static_cast<std::ptrdiff_t>(end));
}

void AlignedText::replace(std::span<const ByteRange> matches, std::string_view content) {
  if (matches.empty()) return;
  check_text_size(text_.size() + matches.size() * content.size());
  AlignedText result;
  result.reserve(text_.size() + matches.size() * content.size());
  result.end_plain();
  size_t copied = 0;
  for (const ByteRange& match : matches) {
    result.append(*this, copied, match.start);
    // What is put in counts as added after the last character that goes.
    const CharSpan span = match.end > 0 ? span_at(match.end - 1) : CharSpan();
    result.text_.append(content);
    result.append_spans(span);
    copied = match.end;
  }
  result.append(*this, copied, text_.size());
  *this = std::move(result);
}

void AlignedText::prepend(std::string_view prefix) {
  if (text_.empty()) return;
  check_text_size(text_.size() + prefix.size());
  end_plain();
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
  if (start == end) return;
  const size_t before = text_.size();
  const int32_t character = other.first_character_ + static_cast<int32_t>(start);
  if (before == 0 && is_plain_) first_character_ = character;
  const bool stays_plain = is_plain_ && other.is_plain_ && first_character_ + static_cast<int32_t>(before) == character;
  if (!stays_plain) end_plain();
  text_.append(other.text_, start, end - start);
  if (stays_plain) return;
  if (!other.is_plain_) {
    spans_.insert(spans_.end(), other.spans_.begin() + static_cast<std::ptrdiff_t>(start),
                  other.spans_.begin() + static_cast<std::ptrdiff_t>(end));
    return;
  }
  spans_.resize(text_.size());
  for (size_t i = start; i < end; ++i) spans_[before + i - start] = other.span_at(i);
}

void AlignedText::reserve(size_t bytes) {
  text_.reserve(bytes);
  if (!is_plain_) spans_.reserve(bytes);
}

void AlignedText::append_prefixed(std::string_view prefix, const AlignedText& other, size_t start, size_t end) {
  if (!prefix.empty()) {
    end_plain();
    text_.append(prefix);
    append_spans(other.span_at(start));
  }
  append(other, start, end);
}

void AlignedText::append_byte_level(const AlignedText& other, size_t start, size_t end) {
  check_text_size(text_.size() + 2 * (end - start));
  end_plain();
  for (size_t i = start; i < end; ++i) append_character(byte_level_character(other.text_[i]), other.span_at(i));
}

}  // namespace pg_semantic::encoder
