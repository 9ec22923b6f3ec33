// The sequences of tokens that a model reads: a text or two in the special tokens
// of its tokenizer, cut as Hugging Face's fast tokenizers cut.
//
// Thread safety: functions of their arguments only.
#ifndef PG_SEMANTIC_ENCODER_TOKEN_SEQUENCE_H
#define PG_SEMANTIC_ENCODER_TOKEN_SEQUENCE_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "encoder/tokenizer.h"

namespace pg_semantic::encoder {

struct TokenSequence {
  std::vector<int32_t> ids;
  size_t first_segment = 0;    // leading tokens of token type 0; the others are of type 1
  size_t first_text = 0;       // where the tokens of the first text begin
  size_t second_text = 0;      // … and of the second, if there is one
  size_t attended = 0;         // leading tokens that the tokens attend to; 0: all
  std::vector<size_t> wanted;  // the tokens whose logits are asked for
};

// How many tokens of the texts fit between the special tokens into `max_tokens`.
size_t single_room(const Tokenizer& tokenizer, size_t max_tokens);
size_t pair_room(const Tokenizer& tokenizer, size_t max_tokens);

// What stays of a text that may have `limit` tokens: the first ones, or the last
// ones where the tokenizer cuts at the left.
std::span<const Token> kept_tokens(const Tokenizer& tokenizer, std::span<const Token> tokens, size_t limit);

// kept_tokens() of a text.  A long text is read only as far as it takes: tokens
// well before a cut at white space do not depend on what follows it.
std::vector<Token> leading_tokens(const Tokenizer& tokenizer, std::string_view text, size_t limit);

// How many tokens of each text stay when both together may have `limit`:
// strategy longest_first, which shortens the longer text until they are equal.
struct PairLengths {
  size_t first = 0;
  size_t second = 0;
};
PairLengths cut_longest_first(PairLengths lengths, size_t limit);

// Sequences whose first token, [CLS], is wanted.
TokenSequence single_sequence(const Tokenizer& tokenizer, std::span<const Token> text);
TokenSequence pair_sequence(const Tokenizer& tokenizer, std::span<const Token> first, std::span<const Token> second);

// Pairs of one first text with many second ones, of `max_tokens` tokens at most,
// special ones included, cut by cut_longest_first().
class PairEncoder {
 public:
  PairEncoder(const Tokenizer& tokenizer, std::string_view first, size_t max_tokens);
  [[nodiscard]] TokenSequence encode(std::string_view second) const;

 private:
  const Tokenizer& tokenizer_;
  const std::string_view first_text_;
  const size_t limit_;              // of both texts together
  const std::vector<Token> first_;  // one more than the limit at most
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKEN_SEQUENCE_H
