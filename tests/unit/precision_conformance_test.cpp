// Models in half precision and in 8 bits: against the independent references in
// double precision of the unrounded models, and on a trained model and real texts against fp32.
//
// What to expect.  Half precision rounds a weight by at most 2^-11 of itself, int8 a
// weight by at most 1/254 of the largest of its output and an input by 1/510 of its
// token's range; the errors of the 16 to 64 columns that these checkpoints have partly
// cancel, and LayerNorm after each step keeps them in proportion.  MobileBERT's NoNorm
// keeps nothing in proportion, and with random weights its attention turns small
// differences into large ones: such a checkpoint says that int8 works at all, a
// trained one would say how well.
#include <algorithm>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The least cosine with the reference, of sentences and of single tokens.
struct Agreement {
  double sentence;
  double token;
};

// A checkpoint whose layers end without a normalisation.
bool keeps_no_norm(const std::string& name) {
  const json config = json::parse(read_file(conformance_model(name) / "config.json"));
  return config.value("model_type", "") == "mobilebert" && config.value("normalization_type", "no_norm") == "no_norm";
}

Agreement expected_agreement(const std::string& name, const std::string& model_precision) {
  if (model_precision == "fp16") return {0.9999, 0.9999};
  if (keeps_no_norm(name)) return {0.95, 0.5};
  return {0.995, 0.995};
}

using NameAndPrecision = std::tuple<std::string, std::string>;

class PrecisionConformance : public testing::TestWithParam<NameAndPrecision> {
 protected:
  void SetUp() override {
    const auto& [name, model_precision] = GetParam();
    expected_ = conformance_expected(name);
    copy_model(name, directory_.path() / "model");
    model_ = load(directory_.path() / "model", directory_.path() / "model.bin", model_precision);
    ASSERT_NE(model_, nullptr);
    EXPECT_EQ(model_->info().model_precision, model_precision);
    agreement_ = expected_agreement(name, model_precision);
  }

  TemporaryDirectory directory_;
  json expected_;
  std::unique_ptr<Model> model_;
  Agreement agreement_{};
};

TEST_P(PrecisionConformance, Embeddings) {
  for (const json& entry : expected_.value("embed", json::array())) {
    const auto text = entry.at("text").get<std::string>();
    const bool has_prompt = !entry.at("prompt").is_null();
    const std::string prompt = has_prompt ? entry["prompt"].get<std::string>() : "";
    const std::string prefix = model_->prompt_prefix(has_prompt ? &prompt : nullptr);
    const auto expected = entry.at("embedding").get<std::vector<double>>();
    std::vector<float> found(expected.size());
    const std::string_view content = text;
    const Status status = model_->embed({&content, 1}, prefix, {}, found);
    ASSERT_TRUE(status.is_ok()) << explain(status);
    EXPECT_GE(cosine(found, expected), agreement_.sentence) << text;
  }
  for (const json& entry : expected_.value("token_embeddings", json::array())) {
    const auto text = entry.at("text").get<std::string>();
    const Result<TokenEmbeddings> found = model_->token_embeddings(text, {});
    ASSERT_TRUE(found.is_ok()) << explain(found.status());
    const auto expected = entry.at("embeddings").get<std::vector<std::vector<double>>>();
    ASSERT_EQ(found->tokens.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_GE(cosine(found->states.data() + i * static_cast<size_t>(found->width), expected[i]), agreement_.token)
          << text << " token " << i;
    }
  }
}

// A text's neighbours and threads do not change what rounds: an embedding is the same in any batch.
TEST_P(PrecisionConformance, BatchesAgree) {
  std::vector<std::string> texts;
  for (const json& entry : expected_.value("embed", json::array())) texts.push_back(entry.at("text"));
  if (texts.empty()) return;
  const auto dimensions = static_cast<size_t>(model_->info().dimensions);
  std::vector<float> alone(texts.size() * dimensions);
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string_view content = texts[i];
    ASSERT_TRUE(model_->embed({&content, 1}, "", {}, std::span(alone).subspan(i * dimensions, dimensions)).is_ok());
  }
  const std::vector<std::string_view> contents(texts.begin(), texts.end());
  for (const int32_t threads : {1, 3}) {
    EmbedOptions options;
    options.threads = threads;
    std::vector<float> together(alone.size());
    ASSERT_TRUE(model_->embed(contents, "", options, together).is_ok());
    for (size_t i = 0; i < alone.size(); ++i)
      ASSERT_NEAR(together[i], alone[i], 1e-5 * std::max(1.0F, std::fabs(alone[i])));
  }
}

std::vector<std::string> names_with_embeddings() {
  std::vector<std::string> names = conformance_names();
  std::erase_if(names, [](const std::string& name) { return !conformance_expected(name).contains("embed"); });
  return names;
}

std::string parameter_name(const testing::TestParamInfo<NameAndPrecision>& info) {
  std::string name = std::get<1>(info.param) + "_" + std::get<0>(info.param);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Examples, PrecisionConformance,
                         testing::Combine(testing::ValuesIn(names_with_embeddings()), testing::Values("fp16", "int8")),
                         parameter_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PrecisionConformance);

// ---- a trained model -------------------------------------------------------------------

// The second column of the first `count` lines of each file.
std::vector<std::string> real_texts(size_t count) {
  std::vector<std::string> texts;
  for (const char* file : {"nq_oracle/corpus.tsv", "nq_oracle/queries.tsv", "cranfield/corpus.tsv"}) {
    std::ifstream in(shared_directory() / "data/retrieval" / file);
    std::string line;
    for (size_t i = 0; i < count && std::getline(in, line); ++i) {
      const size_t begin = std::min(line.find('\t') + 1, line.size());
      std::string text = line.substr(begin, line.find('\t', begin) - begin);
      if (!text.empty()) texts.push_back(std::move(text));
    }
  }
  return texts;
}

std::vector<float> embed_all(const Model& model, const std::vector<std::string>& texts) {
  const std::vector<std::string_view> contents(texts.begin(), texts.end());
  std::vector<float> found(texts.size() * static_cast<size_t>(model.info().dimensions));
  const Status status = model.embed(contents, "", {}, found);
  EXPECT_TRUE(status.is_ok()) << explain(status);
  return found;
}

// Every text, not the mean over them.
TEST(TrainedModelPrecision, EmbeddingsStayNearTheUnrounded) {
  const fs::path starter = shared_directory() / "models/starter";
  PG_SEMANTIC_SKIP_WITHOUT(starter / "model.safetensors");
  PG_SEMANTIC_SKIP_WITHOUT(shared_directory() / "data/retrieval/nq_oracle/corpus.tsv");
  const std::vector<std::string> texts = real_texts(200);
  ASSERT_GT(texts.size(), 590U);
  const TemporaryDirectory directory;
  const auto full = load(starter, directory.path() / "fp32.bin");
  ASSERT_NE(full, nullptr);
  const auto dimensions = static_cast<size_t>(full->info().dimensions);
  const std::vector<float> expected = embed_all(*full, texts);
  int64_t bytes = full->info().bytes;
  for (const auto& [model_precision, least] : {std::pair("fp16", 0.99999), std::pair("int8", 0.995)}) {
    const auto model = load(starter, directory.path() / model_precision, model_precision);
    ASSERT_NE(model, nullptr);
    EXPECT_LT(model->info().bytes, bytes) << model_precision;
    bytes = model->info().bytes;
    const std::vector<float> found = embed_all(*model, texts);
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_GE(cosine(found.data() + i * dimensions, std::span(expected).subspan(i * dimensions, dimensions)), least)
          << model_precision << ": " << texts[i];
    }
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
