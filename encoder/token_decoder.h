// Tokens back to text, as the WordPiece decoder of Hugging Face's tokenizers
// does it: pieces joined, spaces before punctuation taken away.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_ENCODER_TOKEN_DECODER_H
#define PG_SEMANTIC_ENCODER_TOKEN_DECODER_H

#include <span>
#include <string>
#include <string_view>

namespace pg_semantic::encoder {

// `tokens` in the vocabulary's form, e.g. "play", "##ing".
std::string decode_tokens(std::span<const std::string> tokens, std::string_view continuing_prefix);

// What the decoder does to one piece after a word or the prefix is joined to it.
std::string clean_up_word_piece(std::string piece);

// Spaces before punctuation and inside English contractions taken away, as
// transformers' clean_up_tokenization does it.
std::string clean_up_spaces(std::string text);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKEN_DECODER_H
