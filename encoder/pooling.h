// From the hidden states of a text to its sentence embedding, as
// sentence-transformers' Pooling, Dense and Normalize modules do it.
//
// Thread safety: pure functions of their arguments.
#ifndef PG_SEMANTIC_ENCODER_POOLING_H
#define PG_SEMANTIC_ENCODER_POOLING_H

#include <cstddef>
#include <span>
#include <vector>

#include "encoder/model_config.h"
#include "encoder/model_tensors.h"

namespace pg_semantic::encoder {

// The hidden states of one text: [tokens, width].
struct TextStates {
  const float* states = nullptr;
  size_t tokens = 0;
  size_t width = 0;
  size_t skipped = 0;  // leading tokens that only [CLS] pooling sees: a prompt that is not to be included
};

// Writes embedding_dimensions(config) floats to `out`.  `scratch` is working
// memory, used again from call to call.
void sentence_embedding(const ModelConfig& config, const ModelWeights& weights, const TextStates& text,
                        std::vector<float>* scratch, float* out);

// What late interaction compares: the projections of late_interaction, if any, of
// `tokens` hidden states, each normalised to length 1 then.  In place; `states`
// becomes [tokens, outputs of the last projection].
void project_tokens(const ModelConfig& config, const ModelWeights& weights, size_t tokens, std::vector<float>* states,
                    std::vector<float>* scratch);

// Matryoshka representations (Kusupati et al., arXiv 2205.13147): of `count`
// embeddings of `dimensions` numbers, one after the other, the leading `kept` of
// each, closed up in place.  They are not normalised again, as
// sentence-transformers' truncate_dim does not: its Normalize module runs before.
void truncate_embeddings(size_t count, size_t dimensions, size_t kept, float* embeddings);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_POOLING_H
