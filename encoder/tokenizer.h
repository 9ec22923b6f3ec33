// Text to tokens, as the published WordPiece tokenizers do it.
//
// Source: BERT's tokenizer (Devlin et al., arXiv 1810.04805, section 3) in the
// form of Hugging Face's fast tokenizers, whose ids and offsets this reproduces.
//
// A Tokenizer is a view of tables inside a model file: opening one allocates
// nothing that grows with the vocabulary.
//
// Thread safety: const after construction; any number of threads may encode.
// Invariant: the bytes given to open() outlive the Tokenizer.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "encoder/status.h"

namespace pg_semantic::encoder {

// One token of a text.  Offsets count code points of the input from 0, end
// exclusive; both are -1 for the special tokens that the tokenizer added.
struct Token {
  int32_t id = 0;
  int32_t char_start = -1;
  int32_t char_end = -1;
  bool continues_word = false;  // a further piece of the word that the token before belongs to
};

// A special or added token, found in the text before anything else.  Its id is
// that of the same text in the vocabulary, or follows the vocabulary's ids: then
// it is a token of its own, but no piece of words.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = true;
  bool normalized = false;  // matched in the normalised text, else in the text as it is
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
};

// What tokenizers other than BERT's are made of.
struct PipelineConfig {
  // JSON: the members normalizer, pre_tokenizer, model, post_processor and decoder of
  // tokenizer.json, the model without its vocabulary and merges.
  std::string components;
  std::vector<std::pair<std::string, std::string>> merges;  // BPE: the first goes first
  std::vector<double> scores;                               // unigram: log probabilities by id
};

// Everything that decides what a tokenizer does.  Without `pipeline`: WordPiece
// with BERT's normaliser and pre-tokenizer.
struct TokenizerConfig {
  std::vector<std::string> vocabulary;  // by id; "" where there is none
  std::vector<AddedToken> added_tokens;
  std::string continuing_prefix = "##";
  std::string unknown_token = "[UNK]";
  std::string cls_token = "[CLS]";
  std::string sep_token = "[SEP]";
  std::string pad_token = "[PAD]";
  std::string mask_token = "[MASK]";
  uint32_t max_input_chars_per_word = 100;
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
  // Two texts are [CLS] first [SEP] second [SEP] of types 0 and 1; other families differ in this:
  bool separates_pairs_twice = false;  // [CLS] first [SEP] [SEP] second [SEP]
  bool pairs_are_one_segment = false;  // all of type 0
  bool truncates_left = false;
  bool cleans_up_spaces = false;
  // Then the switches above but the last two do not count.
  std::optional<PipelineConfig> pipeline;
};

// The special tokens around a text, or around two: before, first text, between
// (two texts only), second text, after.
struct SpecialTokenFrame {
  std::vector<int32_t> before;
  std::vector<int32_t> between;
  std::vector<int32_t> after;
  // Token types: `before`, the first text and this many tokens of `between` are of type 0 …
  size_t between_in_first_segment = 0;
  // … and the rest is of type 1, or of type 0 like everything else.
  bool has_second_segment = false;

  [[nodiscard]] size_t size() const { return before.size() + between.size() + after.size(); }
};

class Tokenizer {
 public:
  // Checks the configuration (special tokens in the vocabulary, no id out of
  // range) and appends the tables to `out`, 8-byte aligned at its start.
  static Status compile(const TokenizerConfig& config, std::vector<std::byte>* out);

  // Checks the tables' header and sections and returns a view of them; what
  // grows with the vocabulary is checked where it is used.
  static Result<std::unique_ptr<Tokenizer>> open(std::span<const std::byte> tables);

  virtual ~Tokenizer() = default;

  // Tokens of valid UTF-8 `text`, without special tokens around them.
  virtual std::vector<Token> tokenize(std::string_view text) const = 0;
  // The same with those around one text: [CLS] text [SEP].
  std::vector<Token> encode(std::string_view text) const;
  // `tokens` with the special tokens around one text.
  [[nodiscard]] std::vector<Token> add_special_tokens(std::vector<Token> tokens) const;

  // What stands around one text, and around two.
  virtual const SpecialTokenFrame& single_frame() const = 0;
  virtual const SpecialTokenFrame& pair_frame() const = 0;
  // Whether a text that is too long loses its beginning, not its end.
  virtual bool truncates_left() const = 0;

  // Tokens back to text.  `tokens` in the vocabulary's form, e.g. "play", "##ing".
  virtual std::string decode(std::span<const std::string> tokens) const = 0;
  // Whether decoded text also goes through clean_up_spaces() of token_decoder.h.
  virtual bool cleans_up_spaces() const = 0;

  // How pieces that continue a word begin, "##"; "" where they do not tell.
  virtual std::string_view continuing_prefix() const = 0;
  virtual std::string_view token_text(int32_t id) const = 0;   // the vocabulary's form, e.g. "##ing"
  virtual int32_t token_id(std::string_view token) const = 0;  // -1: not there
  virtual int32_t vocabulary_size() const = 0;                 // added tokens beyond the vocabulary included
  virtual int32_t cls_id() const = 0;
  virtual int32_t sep_id() const = 0;
  virtual int32_t unknown_id() const = 0;
  virtual int32_t pad_id() const = 0;
  virtual int32_t mask_id() const = 0;  // -1: the vocabulary has none
};

// A piece of a longer text: text.substr(byte_start, byte_end - byte_start).
struct Chunk {
  size_t byte_start = 0;
  size_t byte_end = 0;
  int32_t char_start = 0;  // code points of the whole text
  int32_t char_end = 0;
  int32_t tokens = 0;  // special tokens included
};

// Cuts `text` into chunks of at most `max_tokens` tokens (special ones around
// them counted), at paragraph ends if a chunk can end there, else at sentence ends,
// else at word ends, else inside a word; consecutive chunks share about
// `overlap` tokens, cut at word starts.  Every character that is not white space
// at a cut is in some chunk.  Errors: kInvalidArgument for max_tokens with no room
// beside the special tokens, or overlap not below that room.
Result<std::vector<Chunk>> chunk_text(const Tokenizer& tokenizer, std::string_view text, int32_t max_tokens,
                                      int32_t overlap);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_H
