// Late interaction: a document's relevance to a query from the similarities of
// their tokens, MaxSim (ColBERT; Khattab and Zaharia, arXiv 2004.12832, section 3.2).
//
// Thread safety: as Model: one call at a time in a process.
#ifndef PG_SEMANTIC_ENCODER_LATE_INTERACTION_H
#define PG_SEMANTIC_ENCODER_LATE_INTERACTION_H

#include <cstdint>
#include <string_view>
#include <vector>

#include "encoder/model.h"
#include "encoder/model_config.h"
#include "encoder/status.h"
#include "encoder/token_sequence.h"

namespace pg_semantic::encoder {

// The sum over the query's tokens of the greatest similarity with a token of the
// document.  Tokens stand for their projected hidden states, of length 1.  With a
// checkpoint made for it, texts are marked, padded and cut as its publisher does;
// with any other, all tokens count, special ones included, cut at max_tokens.
// kInvalidArgument when every token of the document is left out.
Result<float> late_interaction(const Model& model, std::string_view query, std::string_view document,
                               const EmbedOptions& options);

// The tokens that a LateInteractionConfig names, by id.
struct LateInteractionTokens {
  int32_t query_marker = -1;  // -1: none
  int32_t document_marker = -1;
  std::vector<int32_t> skipped;

  // kCorrupt when a marker, or the mask that queries are padded with, is not in the vocabulary.
  static Result<LateInteractionTokens> resolve(const LateInteractionConfig& config, const Tokenizer& tokenizer);
};

// What the encoder reads of a model made for late interaction; wanted are the
// tokens that count.
TokenSequence query_sequence(const LateInteractionConfig& config, const LateInteractionTokens& tokens,
                             const Tokenizer& tokenizer, std::string_view query);
TokenSequence document_sequence(const LateInteractionConfig& config, const LateInteractionTokens& tokens,
                                const Tokenizer& tokenizer, std::string_view document);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_LATE_INTERACTION_H
