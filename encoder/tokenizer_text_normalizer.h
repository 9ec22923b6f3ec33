// The normalisers that a tokenizer.json may name, on AlignedText.  BertNormalizer
// of tokenizer_normalizer.h is the same as BERT's here, but faster and alone.
//
// Thread safety: const after construction.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_TEXT_NORMALIZER_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_TEXT_NORMALIZER_H

#include <memory>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/status.h"
#include "encoder/tokenizer_aligned_text.h"

namespace pg_semantic::encoder {

class TextNormalizer {
 public:
  virtual ~TextNormalizer() = default;
  virtual void normalize(AlignedText* text) const = 0;
};

// In their order.
using TextNormalizers = std::vector<std::unique_ptr<TextNormalizer>>;

// `description` is tokenizer.json's "normalizer"; null: none.  Errors: kCorrupt;
// kUnsupported for what is not known, by its name.
Result<TextNormalizers> read_normalizers(const nlohmann::json* description);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_TEXT_NORMALIZER_H
