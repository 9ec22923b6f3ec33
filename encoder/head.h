// The arithmetic of a head: hidden states of tokens become logits.
//
// Thread safety: a pure function of its arguments.
#ifndef PG_SEMANTIC_ENCODER_HEAD_H
#define PG_SEMANTIC_ENCODER_HEAD_H

#include <cstddef>
#include <vector>

#include "encoder/model_config.h"
#include "encoder/model_tensors.h"

namespace pg_semantic::encoder {

// Working memory, used again from call to call.
struct HeadState {
  std::vector<float> hidden;       // [tokens, width]: the caller's, and overwritten
  std::vector<float> transformed;  // [tokens, head's width]
  std::vector<float> extra;        // [tokens, outputs]
  std::vector<float> logits;       // [tokens, outputs]: the result
};

// What is before the projection: the head's dense layer and LayerNorm of the
// `tokens` rows of state->hidden.  The result lies in `state`.
const float* transform_hidden(const HeadConfig& config, const HeadWeights& weights, size_t tokens, HeadState* state);

// Logits [tokens, range.count] of some of the head's outputs, for hidden states
// [tokens, head's width] as transform_hidden() gives them.
struct OutputRange {
  size_t first = 0;
  size_t count = 0;
};
void project_outputs(const HeadWeights& weights, OutputRange range, size_t tokens, const float* hidden,
                     std::vector<float>* scratch, float* logits);

// state->logits of the `tokens` rows of state->hidden.
void compute_logits(const HeadConfig& config, const HeadWeights& weights, size_t tokens, HeadState* state);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_HEAD_H
