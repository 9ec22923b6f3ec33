// Under which names each family publishes its tensors: a row a family, and a row
// a head.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_ENCODER_MODEL_NAMES_H
#define PG_SEMANTIC_ENCODER_MODEL_NAMES_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "encoder/kernels.h"
#include "encoder/model_config.h"
#include "encoder/model_tensors.h"

namespace pg_semantic::encoder {

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

// What the published classes put before a head's projection.
struct HeadShape {
  bool transform = false;                // a dense layer
  std::optional<Activation> activation;  // after it; nullopt: the encoder's own
  bool norm = false;                     // and a LayerNorm
};
HeadShape published_head_shape(Architecture architecture, std::string_view task);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_MODEL_NAMES_H
