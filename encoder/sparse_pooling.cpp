// See sparse_pooling.h.
#include "encoder/sparse_pooling.h"

#include <algorithm>
#include <cmath>

#include "encoder/blas.h"
#include "encoder/head.h"
#include "encoder/job_runner.h"

namespace pg_semantic::encoder {

namespace {

// Logits that are held at a time, of each thread: 1 MB.
constexpr size_t kTokenBlock = 256;
constexpr size_t kVocabularyBlock = 1024;

// What one logit, at least 0, adds to its entry's weight.
double saturate(const SparsePoolingConfig& config, double logit) {
  const double once = std::log1p(logit);
  return config.log_twice ? std::log1p(once) : once;
}

// The weights of `columns` entries of the vocabulary.
class BlockPooling {
 public:
  BlockPooling(const SparsePoolingConfig& config, size_t columns) : config_(config), pooled_(columns) {}

  // `logits` is [tokens, columns].
  void add(size_t tokens, const float* logits) {
    for (size_t t = 0; t < tokens; ++t) {
      const float* row = logits + t * pooled_.size();
      for (size_t c = 0; c < pooled_.size(); ++c) {
        if (!(row[c] > 0)) continue;
        pooled_[c] = config_.sum ? pooled_[c] + saturate(config_, row[c]) : std::max<double>(pooled_[c], row[c]);
      }
    }
  }

  // log(1 + x) does not change which logit is the greatest: it can wait until here.
  void finish(float* weights) const {
    for (size_t c = 0; c < pooled_.size(); ++c) {
      weights[c] = static_cast<float>(config_.sum ? pooled_[c] : saturate(config_, pooled_[c]));
    }
  }

 private:
  const SparsePoolingConfig& config_;
  std::vector<double> pooled_;
};

}  // namespace

Status pool_logits(const SparsePoolingConfig& config, const HeadWeights& head, size_t tokens, const float* hidden,
                   const EmbedOptions& options, std::vector<float>* weights) {
  const LinearWeights& projection = head.output;
  const size_t width = projection.inputs + head.extra_inputs;
  weights->resize(projection.outputs);
  prepare_multiply(2.0 * static_cast<double>(tokens) * static_cast<double>(width) *
                   static_cast<double>(projection.outputs));
  JobRunner runner(options, (projection.outputs + kVocabularyBlock - 1) / kVocabularyBlock);
  return runner.run([&](size_t block, size_t, const Interrupted& interrupted) {
    const size_t first = block * kVocabularyBlock;
    const size_t columns = std::min(kVocabularyBlock, projection.outputs - first);
    BlockPooling pooling(config, columns);
    std::vector<float> logits(std::min(kTokenBlock, tokens) * columns);
    std::vector<float> scratch;
    for (size_t token = 0; token < tokens; token += kTokenBlock) {
      if (interrupted()) return Status::cancelled();
      const size_t rows = std::min(kTokenBlock, tokens - token);
      project_outputs(head, {first, columns}, rows, hidden + token * width, &scratch, logits.data());
      pooling.add(rows, logits.data());
    }
    pooling.finish(weights->data() + first);
    return Status::ok();
  });
}

}  // namespace pg_semantic::encoder
