// Which tensors a model has: their order in a model file and their shapes.
//
// A new architecture is a row of names in model_names.cpp (and, where it
// computes something else, a field of TransformerConfig).
//
// Thread safety: values and pure functions.
#ifndef PG_SEMANTIC_ENCODER_MODEL_TENSORS_H
#define PG_SEMANTIC_ENCODER_MODEL_TENSORS_H

#include <cstdint>
#include <span>
#include <vector>

#include "encoder/kernels.h"
#include "encoder/model_config.h"
#include "encoder/packed_weights.h"

namespace pg_semantic::encoder {

// The numbers are part of the model file's format.
enum class TensorRole : uint32_t {
  kWordEmbeddings = 0,       // [vocabulary, word_width]
  kPositionEmbeddings = 1,   // [positions, summed_width]
  kTokenTypeEmbeddings = 2,  // [token_types, summed_width]
  kEmbeddingNormWeight = 3,  // [summed_width]
  kEmbeddingNormBias = 4,
  kQueryKeyValueWeight = 5,  // [3 inner_width, inner_width]: the three projections are one product
  kQueryKeyValueBias = 6,
  kAttentionOutputWeight = 7,  // [inner_width, inner_width]
  kAttentionOutputBias = 8,
  kAttentionNormWeight = 9,
  kAttentionNormBias = 10,
  kFeedForwardInWeight = 11,  // [feed_forward, inner_width]
  kFeedForwardInBias = 12,
  kFeedForwardOutWeight = 13,  // [inner_width, feed_forward]
  kFeedForwardOutBias = 14,
  kOutputNormWeight = 15,
  kOutputNormBias = 16,
  kDenseWeight = 17,  // [outputs, inputs]
  kDenseBias = 18,
  kHeadTransformWeight = 19,  // [head's width, width]
  kHeadTransformBias = 20,
  kHeadNormWeight = 21,  // [head's width]
  kHeadNormBias = 22,
  kHeadOutputWeight = 23,  // [outputs, head's width - extra_inputs]
  kHeadOutputBias = 24,
  kEmbeddingProjectionWeight = 25,  // [width, embedding_width, or three times that]
  kEmbeddingProjectionBias = 26,
  kRelativePositionBias = 27,  // [relative_buckets, heads]
  // Where attention's inputs differ, instead of kQueryKeyValueWeight:
  kQueryKeyWeight = 28,    // [2 inner_width, inner_width]
  kValueWeight = 29,       // [inner_width, width]
  kBottleneckWeight = 30,  // [inner_width, width]
  kBottleneckBias = 31,
  kBottleneckNormWeight = 32,
  kBottleneckNormBias = 33,
  kSharedBottleneckWeight = 34,  // [inner_width, width]
  kSharedBottleneckBias = 35,
  kSharedBottleneckNormWeight = 36,
  kSharedBottleneckNormBias = 37,
  kOutputBottleneckWeight = 38,  // [width, inner_width]
  kOutputBottleneckBias = 39,
  kOutputBottleneckNormWeight = 40,
  kOutputBottleneckNormBias = 41,
  // Feed-forward networks before a layer's last; index: layer · (feed_forwards - 1) + number
  kStackedInWeight = 42,  // [feed_forward, inner_width]
  kStackedInBias = 43,
  kStackedOutWeight = 44,  // [inner_width, feed_forward]
  kStackedOutBias = 45,
  kStackedNormWeight = 46,
  kStackedNormBias = 47,
  kHeadExtraWeight = 48,  // [extra_inputs, outputs]
};

bool is_bias(TensorRole role);
bool is_vector(TensorRole role);  // published with one dimension

// A tensor of a model file; a vector has one row.  The transformer's linear
// layers are packed in the model's precision.  Where that is lower than fp32 the
// word embeddings are fp16; everything else is fp32, row-major.
struct TensorSpec {
  TensorRole role = TensorRole::kWordEmbeddings;
  uint32_t index = 0;  // of its layer as stored, or of its dense module (see dense_module())
  int64_t rows = 1;
  int64_t columns = 0;
  TensorStorage storage = TensorStorage::kFloat32;

  // check_config() keeps this far from overflow.
  [[nodiscard]] size_t bytes() const {
    return stored_bytes(storage, static_cast<size_t>(rows), static_cast<size_t>(columns));
  }
};

// Modules are numbered through: those of config.modules, then the projections of
// late interaction.
const ModuleConfig& dense_module(const ModelConfig& config, size_t index);

// All of them, in the order of the file.  `config` has passed check_config().
std::vector<TensorSpec> tensor_plan(const ModelConfig& config);

// ---- views of a model file's tensors ---------------------------------------------

// A matrix [rows, columns] whose rows are read one by one, row-major, as fp32 or fp16.
struct MatrixRows {
  const std::byte* data = nullptr;
  size_t columns = 0;
  bool half = false;

  // Rows first … first + count - 1: where they lie if they are fp32, else their copy in `scratch`.
  const float* read(size_t first, size_t count, std::vector<float>* scratch) const;
  // `out` has room for `columns` numbers.
  void read(size_t row, float* out) const;
};

struct LinearWeights {
  MatrixRows weight;            // [outputs, inputs]
  const float* bias = nullptr;  // [outputs], or nullptr
  size_t inputs = 0;
  size_t outputs = 0;
};

struct PackedLinear {
  PackedWeights weight;
  const float* bias = nullptr;  // [outputs], or nullptr
};

struct FeedForwardWeights {
  PackedLinear in;
  PackedLinear out;
  LayerNormWeights norm{};
};

// A linear layer and the norm of what it makes.
struct BottleneckWeights {
  PackedLinear linear;  // without a weight: there is none
  LayerNormWeights norm{};
};

struct LayerWeights {
  PackedLinear query_key_value;  // all three, or queries and keys
  PackedLinear value;            // without a weight: they are among query_key_value
  PackedLinear attention_output;
  LayerNormWeights attention_norm{};
  std::vector<FeedForwardWeights> feed_forwards;
  BottleneckWeights bottleneck;
  BottleneckWeights shared_bottleneck;
  BottleneckWeights output_bottleneck;
};

// See HeadConfig; what a head lacks is nullptr.
struct HeadWeights {
  LinearWeights transform;
  LayerNormWeights norm{};
  LinearWeights output;
  const float* extra = nullptr;  // [extra_inputs, outputs]
  size_t extra_inputs = 0;
};

struct ModelWeights {
  MatrixRows word_embeddings;
  const float* position_embeddings = nullptr;
  const float* token_type_embeddings = nullptr;  // nullptr: none
  LayerNormWeights embedding_norm{};
  PackedLinear embedding_projection;
  const float* relative_position_bias = nullptr;
  std::vector<LayerWeights> layers;              // as computed: shared ones more than once
  std::vector<LinearWeights> modules;            // by index of config.modules; empty for Normalize
  std::vector<LinearWeights> token_projections;  // by index of config.late_interaction.projections
  HeadWeights head;
};

// `tensors` in the order of tensor_plan(config).
ModelWeights weights_of(const ModelConfig& config, std::span<const std::byte* const> tensors);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_MODEL_TENSORS_H
