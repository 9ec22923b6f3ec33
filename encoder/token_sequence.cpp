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

}  // namespace

std::vector<Token> leading_tokens(const Tokenizer& tokenizer, std::string_view text, size_t limit) {
  constexpr size_t kMargin = 64;
  for (size_t size = kLongText; size < text.size(); size *= 4) {
    const size_t space = text.find_last_of(" \n", size);
    if (space == std::string_view::npos || space == 0) continue;
    std::vector<Token> tokens = tokenizer.tokenize(text.substr(0, space));
    if (tokens.size() < limit + kMargin) continue;
    tokens.resize(limit);
    return tokens;
  }
  std::vector<Token> tokens = tokenizer.tokenize(text);
  if (tokens.size() > limit) tokens.resize(limit);
  return tokens;
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
  TokenSequence sequence;
  sequence.ids.reserve(text.size() + kSingleSpecialTokens);
  sequence.ids.push_back(tokenizer.cls_id());
  append_ids(text, &sequence.ids);
  sequence.ids.push_back(tokenizer.sep_id());
  sequence.first_segment = sequence.ids.size();
  sequence.wanted = {0};
  return sequence;
}

TokenSequence pair_sequence(const Tokenizer& tokenizer, std::span<const Token> first, std::span<const Token> second) {
  TokenSequence sequence = single_sequence(tokenizer, first);
  sequence.ids.reserve(sequence.ids.size() + second.size() + 1);
  append_ids(second, &sequence.ids);
  sequence.ids.push_back(tokenizer.sep_id());
  return sequence;
}

PairEncoder::PairEncoder(const Tokenizer& tokenizer, std::string_view first, size_t max_tokens)
    : tokenizer_(tokenizer),
      first_text_(first),
      limit_(max_tokens - std::min(max_tokens, kPairSpecialTokens)),
      first_(leading_tokens(tokenizer, first, limit_ + 1)) {}

TokenSequence PairEncoder::encode(std::string_view second) const {
  const std::vector<Token> tokens = leading_tokens(tokenizer_, second, limit_ + 1);
  PairLengths lengths{first_.size(), tokens.size()};
  // Which of two texts that are both too long is the longer decides where an odd token goes.
  if (lengths.first > limit_ && lengths.second > limit_ && limit_ % 2 == 1) {
    lengths = {tokenizer_.tokenize(first_text_).size(), tokenizer_.tokenize(second).size()};
  }
  lengths = cut_longest_first(lengths, limit_);
  return pair_sequence(tokenizer_, std::span(first_).first(lengths.first), std::span(tokens).first(lengths.second));
}

}  // namespace pg_semantic::encoder
