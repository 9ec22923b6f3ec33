// What normalisers replace and pre-tokenizers split at: a string or a regular
// expression.
//
// Regular expressions are Oniguruma's (Ruby syntax) in Hugging Face's tokenizers
// and ICU's here; where the same writing means something else it is translated,
// or refused.
//
// Thread safety: const after construction; find_all() may be called by any number
// of threads.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_PATTERN_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_PATTERN_H

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/status.h"
#include "encoder/tokenizer_aligned_text.h"

namespace pg_semantic::encoder {

class TextPattern {
 public:
  virtual ~TextPattern() = default;
  // Every match in valid UTF-8 `text`, from left to right, not overlapping; a
  // match may be empty.
  [[nodiscard]] virtual std::vector<ByteRange> find_all(std::string_view text) const = 0;
};

// A pattern as tokenizer.json writes it: {"String": "x"} or {"Regex": "x+"}.
// Errors: kCorrupt for something else or a wrong expression; kUnsupported for one
// that ICU would read differently.
Result<std::unique_ptr<TextPattern>> read_text_pattern(const nlohmann::json& object);

// The pattern that splits text for byte-level vocabularies (GPT-2's):
// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// Its matches follow each other without gaps.
std::vector<ByteRange> split_like_gpt2(std::string_view text);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_PATTERN_H
