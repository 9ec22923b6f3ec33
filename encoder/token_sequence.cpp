// See token_sequence.h.
#include "encoder/token_sequence.h"

#include <algorithm>
#include <utility>

namespace pg_semantic::encoder {

namespace {

// Of a text longer than this only a beginning is tokenized, if it is enough.
constexpr size_t kLongText = 1 << 16;

void append_ids(std::span<const Token> tokens, std::vector<int32_t>* ids) {
  for (const Token& token : tokens) ids->push_back(token.id);
}

void append(std::span<const int32_t> special, std::vector<int32_t>* ids) {
  ids->insert(ids->end(), special.begin(), special.end());
}

size_t room(const SpecialTokenFrame& frame, size_t max_tokens) {
  return max_tokens - std::min(max_tokens, frame.size());
}

}  // namespace

size_t single_room(const Tokenizer& tokenizer, size_t max_tokens) { return room(tokenizer.single_frame(), max_tokens); }

size_t pair_room(const Tokenizer& tokenizer, size_t max_tokens) { return room(tokenizer.pair_frame(), max_tokens); }

std::span<const Token> kept_tokens(const Tokenizer& tokenizer, std::span<const Token> tokens, size_t limit) {
  const size_t count = std::min(limit, tokens.size());
  return tokenizer.truncates_left() ? tokens.last(count) : tokens.first(count);
}

std::vector<Token> leading_tokens(const Tokenizer& tokenizer, std::string_view text, size_t limit) {
  constexpr size_t kMargin = 64;
  for (size_t size = kLongText; size < text.size() && !tokenizer.truncates_left(); size *= 4) {
    const size_t space = text.find_last_of(" \n", size);
    if (space == std::string_view::npos || space == 0) continue;
    std::vector<Token> tokens = tokenizer.tokenize(text.substr(0, space));
    if (tokens.size() < limit + kMargin) continue;
    tokens.resize(limit);
    return tokens;
  }
  std::vector<Token> tokens = tokenizer.tokenize(text);
  if (tokens.size() <= limit) return tokens;
  const std::span<const Token> kept = kept_tokens(tokenizer, tokens, limit);
  return {kept.begin(), kept.end()};
}

PairLengths cut_longest_first(PairLengths lengths, size_t limit) {
  if (lengths.first + lengths.second <= limit) return lengths;
  // Where both lose tokens, the odd one belongs to the text that was the longer.
  const bool first_is_longer = lengths.first > lengths.second;
  size_t shorter = std::min(lengths.first, lengths.second);
  size_t longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
  if (shorter + longer > limit) {
    shorter = limit / 2;
    longer = shorter + limit % 2;
  }
  return first_is_longer ? PairLengths{longer, shorter} : PairLengths{shorter, longer};
}

TokenSequence single_sequence(const Tokenizer& tokenizer, std::span<const Token> text) {
  const SpecialTokenFrame& frame = tokenizer.single_frame();
  TokenSequence sequence;
  sequence.ids.reserve(text.size() + frame.size());
  append(frame.before, &sequence.ids);
  sequence.first_text = sequence.ids.size();
  append_ids(text, &sequence.ids);
  append(frame.after, &sequence.ids);
  sequence.first_segment = sequence.ids.size();
  sequence.wanted = {0};
  return sequence;
}

TokenSequence pair_sequence(const Tokenizer& tokenizer, std::span<const Token> first, std::span<const Token> second) {
  const SpecialTokenFrame& frame = tokenizer.pair_frame();
  TokenSequence sequence;
  sequence.ids.reserve(first.size() + second.size() + frame.size());
  append(frame.before, &sequence.ids);
  sequence.first_text = sequence.ids.size();
  append_ids(first, &sequence.ids);
  sequence.first_segment = sequence.ids.size() + frame.between_in_first_segment;
  append(frame.between, &sequence.ids);
  sequence.second_text = sequence.ids.size();
  append_ids(second, &sequence.ids);
  append(frame.after, &sequence.ids);
  if (!frame.has_second_segment) sequence.first_segment = sequence.ids.size();
  sequence.wanted = {0};
  return sequence;
}

PairEncoder::PairEncoder(const Tokenizer& tokenizer, std::string_view first, size_t max_tokens)
    : tokenizer_(tokenizer),
      first_text_(first),
      limit_(pair_room(tokenizer, max_tokens)),
      first_(leading_tokens(tokenizer, first, limit_ + 1)) {}

TokenSequence PairEncoder::encode(std::string_view second) const {
  const std::vector<Token> tokens = leading_tokens(tokenizer_, second, limit_ + 1);
  PairLengths lengths{first_.size(), tokens.size()};
  // Which of two texts that are both too long is the longer decides where an odd token goes.
  if (lengths.first > limit_ && lengths.second > limit_ && limit_ % 2 == 1) {
    lengths = {tokenizer_.tokenize(first_text_).size(), tokenizer_.tokenize(second).size()};
  }
  lengths = cut_longest_first(lengths, limit_);
  return pair_sequence(tokenizer_, kept_tokens(tokenizer_, first_, lengths.first),
                       kept_tokens(tokenizer_, tokens, lengths.second));
}

}  // namespace pg_semantic::encoder
