// The forward pass against a plain one in double precision, on random weights.
#include "encoder/transformer.h"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace pg_semantic::encoder {
namespace {

using Rows = std::vector<std::vector<double>>;  // [tokens][columns]

struct RandomModel {
  ModelConfig config;
  std::vector<std::vector<float>> storage;
  ModelWeights weights;

  explicit RandomModel(const TransformerConfig& transformer) {
    config.transformer = transformer;
    std::mt19937 generator(42);
    std::vector<const float*> tensors;
    for (const TensorSpec& spec : tensor_plan(config)) {
      std::normal_distribution<float> normal(
          0, spec.rows == 1 ? 1.0F : 1.0F / std::sqrt(static_cast<float>(spec.columns)));
      std::vector<float>& values = storage.emplace_back(static_cast<size_t>(spec.rows * spec.columns));
      for (float& x : values) x = normal(generator);
    }
    for (const auto& values : storage) tensors.push_back(values.data());
    weights = weights_of(config, tensors);
  }
};

Rows linear(const LinearWeights& w, const Rows& x) {
  Rows out;
  for (const auto& row : x) {
    auto& result = out.emplace_back(w.outputs);
    for (size_t o = 0; o < w.outputs; ++o) {
      result[o] = w.bias[o];
      for (size_t i = 0; i < w.inputs; ++i) result[o] += row[i] * w.weight[o * w.inputs + i];
    }
  }
  return out;
}

void layer_norm(const LayerNormWeights& w, Rows* x) {
  for (auto& row : *x) {
    double mean = 0, variance = 0;
    for (const double v : row) mean += v / static_cast<double>(row.size());
    for (const double v : row) variance += (v - mean) * (v - mean) / static_cast<double>(row.size());
    for (size_t c = 0; c < row.size(); ++c) {
      row[c] = (row[c] - mean) / std::sqrt(variance + w.epsilon) * w.weight[c] + w.bias[c];
    }
  }
}

Rows attention(const Rows& qkv, size_t width, size_t heads) {
  const size_t d = width / heads;
  Rows out(qkv.size(), std::vector<double>(width));
  for (size_t h = 0; h < heads; ++h) {
    for (size_t i = 0; i < qkv.size(); ++i) {
      std::vector<double> score(qkv.size());
      double total = 0;
      for (size_t j = 0; j < qkv.size(); ++j) {
        for (size_t c = 0; c < d; ++c) score[j] += qkv[i][h * d + c] * qkv[j][width + h * d + c];
        score[j] = std::exp(score[j] / std::sqrt(static_cast<double>(d)));
        total += score[j];
      }
      for (size_t j = 0; j < qkv.size(); ++j) {
        for (size_t c = 0; c < d; ++c) out[i][h * d + c] += score[j] / total * qkv[j][2 * width + h * d + c];
      }
    }
  }
  return out;
}

// The reference for one text, with exact GELU.
Rows reference(const RandomModel& model, const std::vector<int32_t>& ids) {
  const TransformerConfig& t = model.config.transformer;
  const ModelWeights& w = model.weights;
  const auto width = static_cast<size_t>(t.width);
  Rows x(ids.size(), std::vector<double>(width));
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t c = 0; c < width; ++c) {
      x[i][c] = static_cast<double>(w.word_embeddings[static_cast<size_t>(ids[i]) * width + c]) +
                w.position_embeddings[i * width + c] +
                (w.token_type_embeddings == nullptr ? 0.0F : w.token_type_embeddings[c]);
    }
  }
  layer_norm(w.embedding_norm, &x);
  const auto add = [&](const Rows& delta) {
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t c = 0; c < width; ++c) x[i][c] += delta[i][c];
    }
  };
  for (const LayerWeights& layer : w.layers) {
    add(linear(layer.attention_output,
               attention(linear(layer.query_key_value, x), width, static_cast<size_t>(t.heads))));
    layer_norm(layer.attention_norm, &x);
    Rows inner = linear(layer.feed_forwards[0].in, x);
    for (auto& row : inner) {
      for (double& v : row) v = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    }
    add(linear(layer.feed_forwards[0].out, inner));
    layer_norm(layer.feed_forwards[0].norm, &x);
  }
  return x;
}

TransformerConfig small_config(Architecture architecture) {
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

std::vector<int32_t> random_ids(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int32_t> uniform(0, 49);
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = uniform(generator);
  return ids;
}

TokenBatch batch_of(const std::vector<std::vector<int32_t>>& texts) {
  TokenBatch batch;
  batch.clear();
  for (const auto& ids : texts) {
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    batch.begins.push_back(batch.ids.size());
  }
  return batch;
}

// Lengths around the query block, so that every path of the attention is taken.
TEST(Transformer, EachTextOfABatchMatchesTheReference) {
  for (const Architecture architecture : {Architecture::kDistilBert, Architecture::kBert}) {
    const RandomModel model(small_config(architecture));
    std::vector<std::vector<int32_t>> texts;
    for (const size_t length : {3, 1, 64, 65, 200, 17, 128}) texts.push_back(random_ids(length, texts.size()));
    const TokenBatch batch = batch_of(texts);
    TransformerState state;
    ASSERT_TRUE(forward(model.config.transformer, model.weights, batch, {}, &state).is_ok());
    for (size_t text = 0; text < texts.size(); ++text) {
      const Rows expected = reference(model, texts[text]);
      for (size_t i = 0; i < texts[text].size(); ++i) {
        for (size_t c = 0; c < 24; ++c) {
          ASSERT_NEAR(state.hidden()[(batch.begins[text] + i) * 24 + c], expected[i][c], 2e-5) << text << " " << i;
        }
      }
    }
  }
}

TEST(Transformer, AStateServesLargerAndSmallerBatches) {
  const RandomModel model(small_config(Architecture::kBert));
  TransformerState used, fresh;
  const TokenBatch large = batch_of({random_ids(150, 1)}), small = batch_of({random_ids(5, 2)});
  ASSERT_TRUE(forward(model.config.transformer, model.weights, large, {}, &used).is_ok());
  ASSERT_TRUE(forward(model.config.transformer, model.weights, small, {}, &used).is_ok());
  ASSERT_TRUE(forward(model.config.transformer, model.weights, small, {}, &fresh).is_ok());
  for (size_t i = 0; i < 5 * 24; ++i) EXPECT_EQ(used.hidden()[i], fresh.hidden()[i]);
}

TEST(Transformer, RefusesWhatItHasNoEmbeddingFor) {
  const RandomModel model(small_config(Architecture::kBert));
  TransformerState state;
  for (const std::vector<int32_t>& ids : {std::vector<int32_t>{1, 50}, {-1}, random_ids(201, 3)}) {
    const Status status = forward(model.config.transformer, model.weights, batch_of({ids}), {}, &state);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  }
}

TEST(Transformer, StopsBetweenLayers) {
  const RandomModel model(small_config(Architecture::kBert));
  TransformerState state;
  int asked = 0;
  const Status status = forward(
      model.config.transformer, model.weights, batch_of({{1, 2, 3}}), [&] { return ++asked == 2; }, &state);
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace pg_semantic::encoder
