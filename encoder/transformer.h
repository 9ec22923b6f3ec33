// The forward pass of BERT and its descendants: one pass, whose
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

#include "encoder/aligned_buffer.h"
#include "encoder/model.h"
#include "encoder/model_config.h"
#include "encoder/model_tensors.h"
#include "encoder/thread_team.h"

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
class TransformerState;

struct ForwardOptions {
  int32_t threads = 1;      // that compute it together; more than 1 only on the thread that may use the pool
  Interrupted interrupted;  // may be empty; asked between layers, on the calling thread
};

// Computes the hidden states of every token of the batch.  kCancelled;
// kInvalidArgument for an id or a length that the model has no embedding for.
Status forward(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
               const ForwardOptions& options, TransformerState* state);

// Memory that grows to the largest batch seen and is used again: forward()
// allocates nothing for a batch no larger than those before it.
class TransformerState {
 public:
  // After forward(): [tokens, width], the last hidden state.
  [[nodiscard]] const float* hidden() const { return hidden_.data(); }

 private:
  friend class ForwardPass;
  friend Status forward(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch,
                        const ForwardOptions& options, TransformerState* state);

  // What attention to one head takes, of one thread.
  struct HeadScratch {
    AlignedBuffer<float> keys;          // [panel of 16 keys][head width][16], scaled
    AlignedBuffer<float> values;        // [panel of 16 columns][keys][16]
    AlignedBuffer<float> scores;        // [query block, keys]
    AlignedBuffer<float> inverse_sums;  // [query block]
  };

  void reserve(const TransformerConfig& config, const ModelWeights& weights, const TokenBatch& batch, size_t threads);

  AlignedBuffer<float> hidden_;             // [tokens, width]
  AlignedBuffer<float> embeddings_;         // [tokens, inputs of the embeddings' projection]
  AlignedBuffer<float> bottleneck_;         // [tokens, inner width]
  AlignedBuffer<float> shared_bottleneck_;  // [tokens, inner width]
  AlignedBuffer<float> query_key_value_;    // [tokens, 3 inner width]
  AlignedBuffer<float> context_;            // [tokens, inner width]
  AlignedBuffer<float> projected_;          // [tokens, width or inner width]
  AlignedBuffer<float> feed_forward_;       // [tokens, feed_forward]
  AlignedBuffer<float> distance_bias_;      // [heads, 2 longest text - 1]
  AlignedBuffer<uint8_t> quantized_;        // [tokens, quantized_stride_]
  AlignedBuffer<float> quantized_scales_;   // [tokens]
  AlignedBuffer<float> quantized_least_;    // [tokens]
  size_t quantized_stride_ = 0;
  TeamSteps steps_;
  std::vector<HeadScratch> heads_;  // of each thread
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TRANSFORMER_H
