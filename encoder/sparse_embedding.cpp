// See sparse_embedding.h.
#include "encoder/sparse_embedding.h"

#include <algorithm>
#include <new>

#include "encoder/head_scores.h"
#include "encoder/model_config.h"

namespace pg_semantic::encoder {

Result<std::vector<TokenWeight>> sparse_embedding(const Model& model, std::string_view content,
                                                  const EmbedOptions& options) {
  PG_SEMANTIC_RETURN_IF_ERROR(require_task(model, kFillMask));
  try {
    std::vector<float> weights;
    PG_SEMANTIC_RETURN_IF_ERROR(model.vocabulary_weights(content, options, &weights));
    // A checkpoint's embedding may have more rows than its tokenizer has tokens: those have no name.
    weights.resize(std::min(weights.size(), static_cast<size_t>(model.tokenizer().vocabulary_size())));
    std::vector<TokenWeight> found;
    for (size_t token = 0; token < weights.size(); ++token) {
      if (weights[token] > 0) found.push_back({static_cast<int32_t>(token), weights[token]});
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const TokenWeight& a, const TokenWeight& b) { return is_better(a.weight, b.weight); });
    return found;
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  }
}

}  // namespace pg_semantic::encoder
