// Every embedding of the conformance examples and of our own checkpoints of
// BERT's siblings, against independent references in double precision.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The agreement that the examples ask for.
void expect_agreement(const float* found, const std::vector<double>& expected, const std::string& what) {
  double largest = 1, worst = 0, product = 0, found_norm = 0, expected_norm = 0;
  for (const double x : expected) largest = std::max(largest, std::fabs(x));
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::fabs(found[i] - expected[i]));
    product += found[i] * expected[i];
    found_norm += static_cast<double>(found[i]) * found[i];
    expected_norm += expected[i] * expected[i];
  }
  EXPECT_LE(worst, 2e-5 * largest) << what;
  EXPECT_GE(product, 0.99999 * std::sqrt(found_norm * expected_norm)) << what;
}

class EmbeddingConformance : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    expected_ = conformance_expected(GetParam());
    const fs::path copy = directory_.path() / "model";
    copy_model(GetParam(), copy);
    model_ = load(copy, directory_.path() / "model.bin");
    ASSERT_NE(model_, nullptr);
  }

  TemporaryDirectory directory_;
  json expected_;
  std::unique_ptr<Model> model_;
};

TEST_P(EmbeddingConformance, Description) {
  const ModelInfo& info = model_->info();
  EXPECT_EQ(info.architecture, expected_.at("architecture"));
  EXPECT_EQ(info.task, expected_.at("task"));
  EXPECT_EQ(info.max_tokens, expected_.at("max_tokens"));
  EXPECT_EQ(info.vocabulary_size, expected_.at("vocabulary_size"));
  EXPECT_EQ(info.layers, expected_.at("layers"));
  if (expected_.contains("dimensions")) {
    EXPECT_EQ(info.dimensions, expected_["dimensions"]);
  }
  if (expected_.contains("normalized")) {
    EXPECT_EQ(info.normalized, expected_["normalized"]);
  }
  if (expected_.contains("pooling")) {
    EXPECT_EQ(info.pooling, expected_["pooling"]);
  }
  EXPECT_EQ(info.labels, expected_.value("labels", std::vector<std::string>()));
  EXPECT_EQ(info.model_precision, "fp32");
  EXPECT_EQ(info.fingerprint.size(), 64U);
  EXPECT_EQ(info.bytes, static_cast<int64_t>(fs::file_size(directory_.path() / "model.bin")));
}

TEST_P(EmbeddingConformance, SentenceEmbeddings) {
  const auto dimensions = static_cast<size_t>(model_->info().dimensions);
  for (const json& entry : expected_.value("embed", json::array())) {
    const auto text = entry.at("text").get<std::string>();
    std::string prompt;
    if (!entry.at("prompt").is_null()) prompt = entry["prompt"].get<std::string>();
    const std::string prefix = model_->prompt_prefix(entry["prompt"].is_null() ? nullptr : &prompt);
    std::vector<float> found(dimensions);
    const std::string_view content = text;
    const Status status = model_->embed({&content, 1}, prefix, {}, found);
    ASSERT_TRUE(status.is_ok()) << explain(status);
    const auto expected = entry.at("embedding").get<std::vector<double>>();
    ASSERT_EQ(expected.size(), dimensions);
    expect_agreement(found.data(), expected, testing::PrintToString(std::pair(text, prompt)));
  }
}

// A batch gives what its texts give one by one, on any number of threads.
TEST_P(EmbeddingConformance, BatchesAgree) {
  const auto dimensions = static_cast<size_t>(model_->info().dimensions);
  std::vector<std::string> texts;
  std::vector<std::vector<double>> expected;
  for (const json& entry : expected_.value("embed", json::array())) {
    if (!entry.at("prompt").is_null()) continue;
    texts.push_back(entry.at("text").get<std::string>());
    expected.push_back(entry.at("embedding").get<std::vector<double>>());
  }
  // More than one batch, in another order each time.
  std::vector<std::string_view> contents;
  for (size_t round = 0; round < 7; ++round) {
    for (size_t i = 0; i < texts.size(); ++i) contents.emplace_back(texts[(i * 5 + round) % texts.size()]);
  }
  const std::string prefix = model_->prompt_prefix(nullptr);
  for (const int32_t threads : {1, 2, 5}) {
    std::vector<float> found(contents.size() * dimensions);
    EmbedOptions options;
    options.threads = threads;
    const Status status = model_->embed(contents, prefix, options, found);
    ASSERT_TRUE(status.is_ok()) << explain(status);
    for (size_t i = 0; i < contents.size(); ++i) {
      const size_t text = (i % texts.size() * 5 + i / texts.size()) % texts.size();
      expect_agreement(found.data() + i * dimensions, expected[text], texts[text]);
    }
  }
}

TEST_P(EmbeddingConformance, TokenEmbeddings) {
  for (const json& entry : expected_.value("token_embeddings", json::array())) {
    const auto text = entry.at("text").get<std::string>();
    const Result<TokenEmbeddings> found = model_->token_embeddings(text, {});
    ASSERT_TRUE(found.is_ok()) << explain(found.status());
    const auto expected = entry.at("embeddings").get<std::vector<std::vector<double>>>();
    ASSERT_EQ(found->tokens.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(model_->tokenizer().token_text(found->tokens[i].id), entry["tokens"][i].get<std::string>());
      ASSERT_EQ(expected[i].size(), static_cast<size_t>(found->width));
      expect_agreement(found->states.data() + i * static_cast<size_t>(found->width), expected[i],
                       text + " token " + std::to_string(i));
    }
  }
}

std::string parameter_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Examples, EmbeddingConformance, testing::ValuesIn(conformance_names()), parameter_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EmbeddingConformance);

TEST(EmbeddingConformanceData, IsThere) {
  PG_SEMANTIC_SKIP_WITHOUT(shared_directory() / "conformance/expected");
  size_t siblings = 0;
  for (const std::string& name : conformance_names()) siblings += is_sibling(name) ? 1 : 0;
  EXPECT_GT(siblings, 40U);
  EXPECT_GT(conformance_names().size() - siblings, 40U);
}

}  // namespace
}  // namespace pg_semantic::encoder
