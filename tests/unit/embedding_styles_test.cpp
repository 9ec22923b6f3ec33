// Sparse embeddings, late interaction and the layouts of retrieval models, against
// an independent reference in double precision (tests/reference/embedding_styles),
// and what is refused.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/late_interaction.h"
#include "encoder/pooling.h"
#include "encoder/sparse_embedding.h"
#include "encoder/sparse_pooling.h"
#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kGroup = "embedding_styles";
constexpr double kScoreTolerance = 1e-4;  // the conformance examples' own
constexpr double kVectorTolerance = 2e-5;

std::vector<std::string> example_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(reference_expectations(kGroup))) {
    names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class EmbeddingStyles : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    expected_ = json::parse(read_file(reference_expectations(kGroup) / (GetParam() + ".json")));
    model_ = load(reference_checkpoints(kGroup) / GetParam(), directory_.path() / "model.bin");
    ASSERT_NE(model_, nullptr);
  }

  [[nodiscard]] json entries(const char* kind) const { return expected_.value(kind, json::array()); }

  TemporaryDirectory directory_;
  json expected_;
  std::unique_ptr<Model> model_;
};

TEST_P(EmbeddingStyles, Description) {
  const ModelInfo& info = model_->info();
  EXPECT_EQ(info.architecture, expected_.at("architecture"));
  EXPECT_EQ(info.task, expected_.at("task"));
  EXPECT_EQ(info.max_tokens, expected_.at("max_tokens"));
  EXPECT_EQ(info.vocabulary_size, expected_.at("vocabulary_size"));
  EXPECT_EQ(info.layers, expected_.at("layers"));
  EXPECT_EQ(info.normalized, expected_.value("normalized", false));
  if (expected_.contains("dimensions")) {
    EXPECT_EQ(info.dimensions, expected_["dimensions"]);
  }
}

TEST_P(EmbeddingStyles, SparseEmbeddings) {
  for (const json& entry : entries("sparse_embed")) {
    const auto text = entry.at("text").get<std::string>();
    std::map<std::string, double> expected;
    for (const json& token : entry.at("tokens")) expected[token[0]] = token[1];
    for (const int32_t threads : {1, 3}) {
      const Result<std::vector<TokenWeight>> found = sparse_embedding(*model_, text, {threads, {}});
      ASSERT_TRUE(found.is_ok()) << explain(found.status());
      std::map<std::string, double> missing = expected;
      float last = INFINITY;
      for (const TokenWeight& token : *found) {
        EXPECT_GT(token.weight, 0);
        EXPECT_LE(token.weight, last);
        last = token.weight;
        const std::string name(model_->tokenizer().token_text(token.token));
        // A logit near 0 may fall on either side of it.
        EXPECT_NEAR(token.weight, expected.contains(name) ? expected[name] : 0, kScoreTolerance)
            << text << ": " << name;
        missing.erase(name);
      }
      for (const auto& [name, weight] : missing) EXPECT_LT(weight, kScoreTolerance) << text << ": " << name;
    }
  }
}

TEST_P(EmbeddingStyles, LateInteraction) {
  for (const json& entry : entries("late_interaction")) {
    const auto query = entry.at("query").get<std::string>();
    const auto document = entry.at("document").get<std::string>();
    for (const int32_t threads : {1, 2}) {
      const Result<float> score = late_interaction(*model_, query, document, {threads, {}});
      ASSERT_TRUE(score.is_ok()) << explain(score.status());
      EXPECT_NEAR(*score, entry.at("score").get<double>(), kScoreTolerance) << query << " | " << document;
    }
  }
}

TEST_P(EmbeddingStyles, SentenceEmbeddings) {
  const auto dimensions = static_cast<size_t>(model_->info().dimensions);
  for (const json& entry : entries("embed")) {
    const auto text = entry.at("text").get<std::string>();
    const auto expected = entry.at("embedding").get<std::vector<double>>();
    ASSERT_EQ(expected.size(), dimensions);
    std::string prompt;
    const std::string* named = nullptr;
    if (!entry.at("prompt").is_null()) {
      prompt = entry["prompt"];
      named = &prompt;
    }
    std::vector<float> found(dimensions);
    const std::string_view content = text;
    ASSERT_TRUE(model_->embed({&content, 1}, model_->prompt_prefix(named), {}, found).is_ok());
    double largest = 1;
    for (const double x : expected) largest = std::max(largest, std::fabs(x));
    for (size_t i = 0; i < dimensions; ++i) EXPECT_NEAR(found[i], expected[i], kVectorTolerance * largest) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, EmbeddingStyles, testing::ValuesIn(example_names()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(TruncateEmbeddings, KeepsTheLeadingNumbersOfEach) {
  std::vector<float> embeddings = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  truncate_embeddings(3, 3, 2, embeddings.data());
  EXPECT_EQ(std::vector<float>(embeddings.begin(), embeddings.begin() + 6), (std::vector<float>{1, 2, 4, 5, 7, 8}));
  truncate_embeddings(3, 2, 2, embeddings.data());
  EXPECT_EQ(embeddings[5], 8);
  truncate_embeddings(0, 2, 1, nullptr);
}

// By hand: two tokens of width 1 and three entries of the vocabulary, in more tokens than one block holds.
TEST(PoolLogits, MaximumAndSum) {
  const float weight[] = {1, -1, 2};
  const float bias[] = {0, 1, -4};
  HeadWeights head;
  head.output = {{std::as_bytes(std::span(weight)).data(), 1, false}, bias, 1, 3};
  std::vector<float> hidden(300, 0.0F);
  hidden[0] = 3;
  hidden[299] = 1;
  std::vector<float> weights;
  ASSERT_TRUE(pool_logits({}, head, 300, hidden.data(), {}, &weights).is_ok());
  EXPECT_FLOAT_EQ(weights[0], std::log(4.0F));
  EXPECT_FLOAT_EQ(weights[1], std::log(2.0F));  // of the tokens in between
  EXPECT_FLOAT_EQ(weights[2], std::log(3.0F));
  ASSERT_TRUE(pool_logits({true, false}, head, 300, hidden.data(), {}, &weights).is_ok());
  EXPECT_FLOAT_EQ(weights[0], std::log(4.0F) + std::log(2.0F));
  EXPECT_FLOAT_EQ(weights[1], 298 * std::log(2.0F));
  ASSERT_TRUE(pool_logits({false, true}, head, 300, hidden.data(), {}, &weights).is_ok());
  EXPECT_FLOAT_EQ(weights[2], std::log1p(std::log(3.0F)));
  // MobileBERT's projection has inputs beyond the word embedding's.
  const float extra[] = {0, 0, 1};
  head.extra = extra;
  head.extra_inputs = 1;
  const float wide[] = {3, 5};
  ASSERT_TRUE(pool_logits({}, head, 1, wide, {}, &weights).is_ok());
  EXPECT_FLOAT_EQ(weights[0], std::log(4.0F));
  EXPECT_EQ(weights[1], 0);
  EXPECT_FLOAT_EQ(weights[2], std::log(8.0F));
}

class UnsoundStyles : public testing::Test {
 protected:
  void take(const std::string& name) {
    fs::remove_all(copy());
    fs::copy(reference_checkpoints(kGroup) / name, copy(), fs::copy_options::recursive);
  }
  [[nodiscard]] fs::path copy() const { return directory_.path() / "model"; }

  void change(const char* file, const json& changes) {
    json value = json::parse(read_file(copy() / file));
    value.update(changes);
    write_file(copy() / file, value.dump());
  }

  Status compile() {
    fs::remove(directory_.path() / "model.bin");
    return compile_model(copy().string(), (directory_.path() / "model.bin").string(), {}).status();
  }

  void expect_refused(StatusCode code, const std::string& detail) {
    const Status status = compile();
    EXPECT_EQ(status.code(), code) << explain(status);
    EXPECT_NE(explain(status).find(detail), std::string::npos) << explain(status);
  }

  TemporaryDirectory directory_;
};

TEST_F(UnsoundStyles, Colbert) {
  const char* file = "artifact.metadata";
  const auto refuse = [&](const json& changes, StatusCode code, const std::string& detail) {
    take("colbert-v2");
    change(file, changes);
    expect_refused(code, detail);
  };
  refuse({{"dim", 17}}, StatusCode::kCorrupt, "linear.weight");
  refuse({{"dim", 0}}, StatusCode::kCorrupt, "outputs");
  refuse({{"dim", int64_t{1} << 40}}, StatusCode::kCorrupt, "outputs");
  refuse({{"dim", "16"}}, StatusCode::kCorrupt, "dim");
  refuse({{"query_maxlen", 65}}, StatusCode::kCorrupt, "length of queries is 65");
  refuse({{"query_maxlen", 3}}, StatusCode::kCorrupt, "length of queries");
  refuse({{"doc_maxlen", -1}}, StatusCode::kCorrupt, "length of documents");
  refuse({{"query_token_id", "[unused99]"}}, StatusCode::kCorrupt, "[unused99]");
  refuse({{"similarity", "manhattan"}}, StatusCode::kUnsupported, "manhattan");
  refuse({{"interaction", "flipr"}}, StatusCode::kUnsupported, "flipr");
  take("colbert-v2");
  change(file, {{"doc_maxlen", 100000}});
  EXPECT_TRUE(compile().is_ok());
}

TEST_F(UnsoundStyles, Pylate) {
  const char* file = "config_sentence_transformers.json";
  const auto refuse = [&](const json& changes, StatusCode code, const std::string& detail) {
    take("pylate");
    change(file, changes);
    expect_refused(code, detail);
  };
  refuse({{"query_prefix", "no token"}}, StatusCode::kCorrupt, "no token");
  refuse({{"query_length", 1000}}, StatusCode::kCorrupt, "length of queries is 1000");
  refuse({{"skiplist_words", "!"}}, StatusCode::kCorrupt, "skiplist_words");
  refuse({{"skiplist_words", {1, 2}}}, StatusCode::kCorrupt, "skiplist_words");
  refuse({{"skiplist_words", std::vector<std::string>(2000, "a")}}, StatusCode::kCorrupt, "skiplist_words");
  refuse({{"do_query_expansion", 1}}, StatusCode::kCorrupt, "do_query_expansion");
  take("pylate");
  change("1_Dense/config.json", {{"use_residual", true}});
  expect_refused(StatusCode::kUnsupported, "use_residual");
  take("pylate");
  change("1_Dense/config.json", {{"in_features", 35}});
  expect_refused(StatusCode::kCorrupt, "35 inputs");
  take("pylate");
  json modules = json::parse(read_file(copy() / "modules.json"));
  modules.push_back({{"idx", 2}, {"name", "2"}, {"path", "2_Normalize"}, {"type", "a.Normalize"}});
  write_file(copy() / "modules.json", modules.dump());
  expect_refused(StatusCode::kUnsupported, "Normalize");
}

// RoBERTa counts positions from behind the padding's: one fewer is usable here.
TEST_F(UnsoundStyles, LongDocumentsAreCutToTheUsablePositions) {
  take("pylate-attends");
  change("config.json", {{"model_type", "roberta"}, {"architectures", {"RobertaModel"}}, {"pad_token_id", 0}});
  // Else the family would bring its own special tokens.
  change("tokenizer_config.json", {{"tokenizer_class", "BertTokenizer"}});
  change("config_sentence_transformers.json", {{"document_length", 64}});
  const std::unique_ptr<Model> model = load(copy(), directory_.path() / "model.bin");
  ASSERT_NE(model, nullptr);
  std::string document;
  for (int i = 0; i < 100; ++i) document += "doctor ";
  const Result<float> score = late_interaction(*model, "doctor", document, {});
  EXPECT_TRUE(score.is_ok()) << explain(score.status());
}

TEST_F(UnsoundStyles, SparseEncoder) {
  take("sparse-encoder-max");
  change("1_SpladePooling/config.json", {{"pooling_strategy", "mean"}});
  expect_refused(StatusCode::kUnsupported, "mean");
  take("sparse-encoder-max");
  change("1_SpladePooling/config.json", {{"activation_function", "gelu"}});
  expect_refused(StatusCode::kUnsupported, "gelu");
  take("sparse-encoder-max");
  fs::remove(copy() / "1_SpladePooling/config.json");
  expect_refused(StatusCode::kCorrupt, "missing");
  take("sparse-encoder-max");
  change("config.json", {{"architectures", {"BertModel"}}});
  expect_refused(StatusCode::kUnsupported, "SpladePooling");
}

TEST_F(UnsoundStyles, CallsThatCannotBeAnswered) {
  const std::unique_ptr<Model> plain =
      load(reference_checkpoints(kGroup) / "plain-encoder", directory_.path() / "plain.bin");
  EXPECT_EQ(sparse_embedding(*plain, "text", {}).status().code(), StatusCode::kUnsupported);
  std::vector<float> weights;
  EXPECT_EQ(plain->vocabulary_weights("text", {}, &weights).code(), StatusCode::kUnsupported);
  take("pylate");
  change("config_sentence_transformers.json", {{"skiplist_words", {"[CLS]", "[SEP]", "[D] ", "the"}}});
  const std::unique_ptr<Model> skipping = load(copy(), directory_.path() / "skipping.bin");
  EXPECT_EQ(late_interaction(*skipping, "the", "the the", {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(late_interaction(*skipping, "the", "the car", {}).is_ok());
  const EmbedOptions stopped{2, [] { return true; }};
  EXPECT_EQ(late_interaction(*skipping, "a", "a", stopped).status().code(), StatusCode::kCancelled);
  const std::unique_ptr<Model> splade =
      load(reference_checkpoints(kGroup) / "splade-distilbert", directory_.path() / "splade.bin");
  // Stops wherever it is asked, the forward pass or the projection.
  for (int stop_at = 1; stop_at < 6; ++stop_at) {
    int asked = 0;
    EXPECT_EQ(sparse_embedding(*splade, "a b c", {1, [&] { return ++asked >= stop_at; }}).status().code(),
              StatusCode::kCancelled);
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
