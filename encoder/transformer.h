// The forward pass of BERT and its descendants, in fp32: one pass, whose
// variations are fields of TransformerConfig.
//
// Config (model_config.h), Weights (model_tensors.h) and State are apart: the
// first two are const and shared, a State is the working memory of one thread.
//
// Thread safety: forward() may run on several threads, each with its own State.
#ifndef PG_SEMANTIC_ENCODER_TRANSFORMER_H
#define PG_SEMANTIC_ENCODER_TRANSFORMER_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "encoder/model.h"
#include "encoder/model_config.h"
#include "encoder/model_tensors.h"

namespace pg_semantic::encoder {

// Texts one after the other, without padding.
struct TokenBatch {
  std::vector<int32_t> ids;    // of all texts, special tokens included
  std::vector<size_t> begins;  // where each text begins in ids; ids.size() at the end
  // Leading tokens of each text that are of token type 0, its others being of type 1; empty: all tokens of all texts.
  std::vector<size_t> first_segments;
  // Leading tokens of each text that its tokens attend to; empty: all tokens of all texts.
  std::vector<size_t> attended;

  void clear() {
    ids.clear();
    begins.assign(1, 0);
    first_segments.clear();
    attended.clear();
  }
  [[nodiscard]] size_t texts() const { return begins.size() - 1; }
  [[nodiscard]] size_t length(size_t text) const { return begins[text + 1] - begins[text]; }
  [[nodiscard]] size_t first_segment(size_t text) const {
    return first_segments.empty() ? length(text) : first_segments[text];
  }
  [[nodiscard]] size_t keys(size_t text) const { return attended.empty() ? length(text) : attended[text]; }
};

class ForwardPass;

// Memory that grows to the largest batch seen and is used again.
class TransformerState {
 public:
  // After forward(): [tokens, width], the last hidden state.
  [[nodiscard]] const float* hidden() const { return hidden_.data(); }

 private:
  friend class ForwardPass;

  std::vector<float> hidden_;             // [tokens, width]
  std::vector<float> embeddings_;         // [tokens, inputs of the embeddings' projection]
  std::vector<float> bottleneck_;         // [tokens, inner width]
  std::vector<float> shared_bottleneck_;  // [tokens, inner width]
  std::vector<float> query_key_value_;    // [tokens, 3 inner width]
  std::vector<float> context_;            // [tokens, inner width]
  std::vector<float> projected_;          // [tokens, width or inner width]
  std::vector<float> feed_forward_;       // [tokens, feed_forward]
  std::vector<float> scores_;             // [query block, longest text]
  std::vector<float> distance_bias_;      // [heads, 2 longest text - 1]
};

// Computes the hidden states of every token of the batch.  `interrupted` may be
// empty; it is asked between layers.  kCancelled, kInvalidArgument for an id or
// a length that the model has no embedding for.
Status forward(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
               const Interrupted& interrupted, TransformerState* state);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TRANSFORMER_H
