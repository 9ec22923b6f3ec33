// Which tensors a model has: their order in a model file, their shapes, and the
// names under which they are published.
//
// A new architecture is a row of names in model_tensors.cpp (and, where it
// computes something else, a field of TransformerConfig).
//
// Thread safety: values and pure functions.
#ifndef PG_SEMANTIC_ENCODER_MODEL_TENSORS_H
#define PG_SEMANTIC_ENCODER_MODEL_TENSORS_H

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "encoder/kernels.h"
#include "encoder/model_config.h"

namespace pg_semantic::encoder {

// The numbers are part of the model file's format.
enum class TensorRole : uint32_t {
  kWordEmbeddings = 0,       // [vocabulary, width]
  kPositionEmbeddings = 1,   // [positions, width]
  kTokenTypeEmbeddings = 2,  // [token_types, width]
  kEmbeddingNormWeight = 3,  // [width]
  kEmbeddingNormBias = 4,
  kQueryKeyValueWeight = 5,  // [3 width, width]: the three projections are one product
  kQueryKeyValueBias = 6,
  kAttentionOutputWeight = 7,  // [width, width]
  kAttentionOutputBias = 8,
  kAttentionNormWeight = 9,
  kAttentionNormBias = 10,
  kFeedForwardInWeight = 11,  // [feed_forward, width]
  kFeedForwardInBias = 12,
  kFeedForwardOutWeight = 13,  // [width, feed_forward]
  kFeedForwardOutBias = 14,
  kOutputNormWeight = 15,
  kOutputNormBias = 16,
  kDenseWeight = 17,  // [outputs, inputs]
  kDenseBias = 18,
  kHeadTransformWeight = 19,  // [width, width]
  kHeadTransformBias = 20,
  kHeadNormWeight = 21,  // [width]
  kHeadNormBias = 22,
  kHeadOutputWeight = 23,  // [outputs, width]
  kHeadOutputBias = 24,
};

// A tensor of a model file, row-major; a vector has one row.
struct TensorSpec {
  TensorRole role = TensorRole::kWordEmbeddings;
  uint32_t index = 0;  // of its layer, or of its dense module (see dense_module())
  int64_t rows = 1;
  int64_t columns = 0;
};

// Modules are numbered through: those of config.modules, then the projections of
// late interaction.
const ModuleConfig& dense_module(const ModelConfig& config, size_t index);

// All of them, in the order of the file.  `config` has passed check_config().
std::vector<TensorSpec> tensor_plan(const ModelConfig& config);

// Where a tensor comes from: the published tensors whose values, one after the
// other, are its values.
struct TensorSource {
  std::vector<std::string> names;
  std::vector<int64_t> shape;  // of each of them
};

// `prefix` is "" or the encoder's name within a model with a head ("bert.").
TensorSource published_source(const ModelConfig& config, const TensorSpec& spec, const std::string& prefix);
std::string published_prefix(Architecture architecture);

// The projection of a head that fills masks: where a checkpoint lacks it, it is the word embedding.
std::string published_vocabulary_projection(Architecture architecture);

// ---- views of a model file's tensors ---------------------------------------------

struct LinearWeights {
  const float* weight = nullptr;  // [outputs, inputs]
  const float* bias = nullptr;    // [outputs], or nullptr
  size_t inputs = 0;
  size_t outputs = 0;
};

struct LayerWeights {
  LinearWeights query_key_value;
  LinearWeights attention_output;
  LayerNormWeights attention_norm{};
  LinearWeights feed_forward_in;
  LinearWeights feed_forward_out;
  LayerNormWeights output_norm{};
};

// See HeadConfig; what a head lacks is nullptr.
struct HeadWeights {
  LinearWeights transform;
  LayerNormWeights norm{};
  LinearWeights output;
};

struct ModelWeights {
  const float* word_embeddings = nullptr;
  const float* position_embeddings = nullptr;
  const float* token_type_embeddings = nullptr;  // nullptr: none
  LayerNormWeights embedding_norm{};
  std::vector<LayerWeights> layers;
  std::vector<LinearWeights> modules;            // by index of config.modules; empty for Normalize
  std::vector<LinearWeights> token_projections;  // by index of config.late_interaction.projections
  HeadWeights head;
};

// `tensors` in the order of tensor_plan(config).
ModelWeights weights_of(const ModelConfig& config, std::span<const float* const> tensors);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_MODEL_TENSORS_H
