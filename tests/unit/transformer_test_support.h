// Small models of random weights, and batches for them.
#ifndef PG_SEMANTIC_TESTS_UNIT_TRANSFORMER_TEST_SUPPORT_H
#define PG_SEMANTIC_TESTS_UNIT_TRANSFORMER_TEST_SUPPORT_H

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/transformer.h"

namespace pg_semantic::encoder {

// A model of random weights, packed, and the values that the packed weights stand for.
struct RandomModel {
  ModelConfig config;
  std::vector<std::vector<float>> values;  // in the order of the plan
  std::vector<std::vector<std::byte>> storage;
  ModelWeights weights;

  explicit RandomModel(const TransformerConfig& transformer, const std::string& precision = "fp32") {
    config.transformer = transformer;
    config.model_precision = precision;
    std::mt19937 generator(42);
    std::vector<const std::byte*> tensors;
    for (const TensorSpec& spec : tensor_plan(config)) {
      std::normal_distribution<float> normal(
          0, spec.rows == 1 ? 1.0F : 1.0F / std::sqrt(static_cast<float>(spec.columns)));
      std::vector<float>& tensor = values.emplace_back(static_cast<size_t>(spec.rows * spec.columns));
      for (float& x : tensor) x = normal(generator);
      std::vector<std::byte>& bytes = storage.emplace_back();
      TensorEncoder encoder(spec.storage, static_cast<size_t>(spec.rows), static_cast<size_t>(spec.columns),
                            [&](std::span<const std::byte> part) {
                              bytes.insert(bytes.end(), part.begin(), part.end());
                              return Status::ok();
                            });
      EXPECT_TRUE(encoder.append(tensor).is_ok() && encoder.finish().is_ok());
      if (spec.storage == TensorStorage::kFloat16 || spec.storage == TensorStorage::kPackedFloat16) {
        for (float& x : tensor) x = float_from_half(half_from_float(x));
      }
    }
    for (const auto& bytes : storage) tensors.push_back(bytes.data());
    weights = weights_of(config, tensors);
  }

  [[nodiscard]] const float* tensor(TensorRole role, uint32_t index = 0) const {
    const std::vector<TensorSpec> plan = tensor_plan(config);
    for (size_t i = 0; i < plan.size(); ++i) {
      if (plan[i].role == role && plan[i].index == index) return values[i].data();
    }
    return nullptr;
  }
};

inline TransformerConfig small_config(Architecture architecture) {
  TransformerConfig t;
  t.architecture = architecture;
  t.vocabulary_size = 50;
  t.positions = 200;
  t.token_types = architecture == Architecture::kBert ? 2 : 0;
  t.width = 24;
  t.layers = 2;
  t.heads = 3;
  t.feed_forward = 37;
  return t;
}

inline std::vector<int32_t> random_ids(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int32_t> uniform(0, 49);
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = uniform(generator);
  return ids;
}

inline TokenBatch batch_of(const std::vector<std::vector<int32_t>>& texts) {
  TokenBatch batch;
  batch.clear();
  for (const auto& ids : texts) {
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    batch.begins.push_back(batch.ids.size());
  }
  return batch;
}

// Lengths around the query block, so that every path of the attention is taken.
inline std::vector<std::vector<int32_t>> texts_of_many_lengths() {
  std::vector<std::vector<int32_t>> texts;
  for (const size_t length : {3, 1, 64, 65, 200, 17, 128}) {
    texts.push_back(random_ids(length, static_cast<unsigned>(texts.size())));
  }
  return texts;
}

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_TESTS_UNIT_TRANSFORMER_TEST_SUPPORT_H
