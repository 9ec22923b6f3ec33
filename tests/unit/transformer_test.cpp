// The forward pass against a plain one in double precision, on random weights.
#include "encoder/transformer.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/transformer_test_support.h"

namespace pg_semantic::encoder {
namespace {

using Rows = std::vector<std::vector<double>>;  // [tokens][columns]

// The layer whose weight has this role and whose bias the next one.
Rows linear(const RandomModel& model, TensorRole role, size_t layer, size_t outputs, const Rows& x) {
  const float* weight = model.tensor(role, static_cast<uint32_t>(layer));
  const float* bias =
      model.tensor(static_cast<TensorRole>(static_cast<uint32_t>(role) + 1), static_cast<uint32_t>(layer));
  Rows out;
  for (const auto& row : x) {
    auto& result = out.emplace_back(outputs);
    for (size_t o = 0; o < outputs; ++o) {
      result[o] = bias[o];
      for (size_t i = 0; i < row.size(); ++i) result[o] += row[i] * weight[o * row.size() + i];
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
  const float* words = model.tensor(TensorRole::kWordEmbeddings);
  Rows x(ids.size(), std::vector<double>(width));
  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t c = 0; c < width; ++c) {
      x[i][c] = static_cast<double>(words[static_cast<size_t>(ids[i]) * width + c]) +
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
  for (size_t i = 0; i < w.layers.size(); ++i) {
    const Rows qkv = linear(model, TensorRole::kQueryKeyValueWeight, i, 3 * width, x);
    add(linear(model, TensorRole::kAttentionOutputWeight, i, width,
               attention(qkv, width, static_cast<size_t>(t.heads))));
    layer_norm(w.layers[i].attention_norm, &x);
    Rows inner = linear(model, TensorRole::kFeedForwardInWeight, i, static_cast<size_t>(t.feed_forward), x);
    for (auto& row : inner) {
      for (double& v : row) v = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    }
    add(linear(model, TensorRole::kFeedForwardOutWeight, i, width, inner));
    layer_norm(w.layers[i].feed_forwards[0].norm, &x);
  }
  return x;
}

TEST(Transformer, EachTextOfABatchMatchesTheReference) {
  for (const Architecture architecture : {Architecture::kDistilBert, Architecture::kBert}) {
    for (const char* precision : {"fp32", "fp16"}) {
      const RandomModel model(small_config(architecture), precision);
      const std::vector<std::vector<int32_t>> texts = texts_of_many_lengths();
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
}

TEST(Transformer, EightBitsAreNearTheReference) {
  const RandomModel model(small_config(Architecture::kBert), "int8");
  const std::vector<std::vector<int32_t>> texts = texts_of_many_lengths();
  const TokenBatch batch = batch_of(texts);
  TransformerState state;
  ASSERT_TRUE(forward(model.config.transformer, model.weights, batch, {}, &state).is_ok());
  for (size_t text = 0; text < texts.size(); ++text) {
    const Rows expected = reference(model, texts[text]);
    for (size_t i = 0; i < texts[text].size(); ++i) {
      double dot = 0, ours = 0, theirs = 0;
      for (size_t c = 0; c < 24; ++c) {
        const double value = state.hidden()[(batch.begins[text] + i) * 24 + c];
        dot += value * expected[i][c];
        ours += value * value;
        theirs += expected[i][c] * expected[i][c];
      }
      ASSERT_GT(dot / std::sqrt(ours * theirs), 0.999) << text << " " << i;
    }
  }
}

TEST(Transformer, ThreadsDoNotChangeTheNumbers) {
  for (const char* precision : {"fp32", "fp16", "int8"}) {
    const RandomModel model(small_config(Architecture::kDistilBert), precision);
    for (const auto& texts : {texts_of_many_lengths(), {random_ids(3, 1)}, {random_ids(200, 2)}}) {
      const TokenBatch batch = batch_of(texts);
      TransformerState alone;
      ASSERT_TRUE(forward(model.config.transformer, model.weights, batch, {}, &alone).is_ok());
      for (const int32_t threads : {2, 3, 5}) {
        TransformerState state;
        ASSERT_TRUE(forward(model.config.transformer, model.weights, batch, {threads, {}}, &state).is_ok());
        for (size_t i = 0; i < batch.ids.size() * 24; ++i) ASSERT_EQ(state.hidden()[i], alone.hidden()[i]) << threads;
      }
    }
  }
  shut_down_threads();
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
  const Status status = forward(model.config.transformer, model.weights, batch_of({{1, 2, 3}}),
                                {2, [&] { return ++asked == 2; }}, &state);
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(asked, 2);
  shut_down_threads();
}

}  // namespace
}  // namespace pg_semantic::encoder
