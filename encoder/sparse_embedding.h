// Sparse lexical embeddings by models with a masked-LM head (SPLADE; Formal et
// al., arXiv 2107.05720 and 2109.10086).
//
// Thread safety: as Model: one call at a time in a process.
#ifndef PG_SEMANTIC_ENCODER_SPARSE_EMBEDDING_H
#define PG_SEMANTIC_ENCODER_SPARSE_EMBEDDING_H

#include <cstdint>
#include <string_view>
#include <vector>

#include "encoder/model.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// An entry of the vocabulary with its weight in a text.
struct TokenWeight {
  int32_t token = 0;
  float weight = 0;
};

// The entries whose weight is not zero, greatest weight first, equal ones by
// token.  Over all tokens of the text, [CLS] and [SEP] included, as the published
// models pool; with the pooling of the model's SpladePooling module where it has
// one, else the maximum.  The text is cut at max_tokens.  kUnsupported without a
// masked-LM head.
Result<std::vector<TokenWeight>> sparse_embedding(const Model& model, std::string_view content,
                                                  const EmbedOptions& options);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_SPARSE_EMBEDDING_H
