// The pre-tokenizers that a tokenizer.json may name: they cut normalised text into
// the words that the model then takes apart.
//
// Thread safety: const after construction.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_PRE_TOKENIZER_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_PRE_TOKENIZER_H

#include <memory>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/status.h"
#include "encoder/tokenizer_aligned_text.h"

namespace pg_semantic::encoder {

// Words of a text, in its order, none of them empty.
struct SplitText {
  AlignedText text;
  std::vector<ByteRange> words;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Cuts each word further; may also change what it says.
  virtual void split(SplitText* text) const = 0;
};

// In their order.
using PreTokenizers = std::vector<std::unique_ptr<PreTokenizer>>;

// `description` is tokenizer.json's "pre_tokenizer"; null: none.  Errors: kCorrupt;
// kUnsupported for what is not known, by its name.
Result<PreTokenizers> read_pre_tokenizers(const nlohmann::json* description);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_PRE_TOKENIZER_H
