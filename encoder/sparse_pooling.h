// From a text's hidden states to its sparse embedding: the projection to the
// vocabulary and SPLADE's pooling over the tokens (see SparsePoolingConfig).
//
// Thread safety: as JobRunner: one call at a time in a process.
#ifndef PG_SEMANTIC_ENCODER_SPARSE_POOLING_H
#define PG_SEMANTIC_ENCODER_SPARSE_POOLING_H

#include <cstddef>
#include <vector>

#include "encoder/model.h"
#include "encoder/model_config.h"
#include "encoder/model_tensors.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// Writes a weight ≥ 0 for each entry of the vocabulary, which is each output of `head`.
// `hidden` is [tokens, head's width], after transform_hidden().  Works in
// blocks, so that memory does not grow with tokens × vocabulary.
Status pool_logits(const SparsePoolingConfig& config, const HeadWeights& head, size_t tokens, const float* hidden,
                   const EmbedOptions& options, std::vector<float>* weights);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_SPARSE_POOLING_H
