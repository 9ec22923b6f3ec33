// Model's contract beyond the numbers: prompts, length, interruption, and the
// model that ships with the extension.
#include "encoder/model.h"

#include <atomic>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/thread_pool.h"
#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;

class ModelTest : public testing::Test {
 protected:
  std::unique_ptr<Model> conformance(const std::string& name) {
    copy_model(name, directory_.path() / name);
    return load(directory_.path() / name, directory_.path() / (name + ".bin"));
  }

  static std::vector<float> embed(const Model& model, std::string_view text, std::string_view prefix = "") {
    std::vector<float> out(static_cast<size_t>(model.info().dimensions));
    const Status status = model.embed({&text, 1}, prefix, {}, out);
    EXPECT_TRUE(status.is_ok()) << explain(status);
    return out;
  }

  TemporaryDirectory directory_;
};

TEST_F(ModelTest, Prompts) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("st-default-prompt"));
  const std::unique_ptr<Model> with_default = conformance("st-default-prompt");
  const std::string query = "query", document = "document", literal = "summarize: ";
  EXPECT_EQ(with_default->prompt_prefix(nullptr), "Represent this sentence for searching relevant passages: ");
  EXPECT_EQ(with_default->prompt_prefix(&document), "");
  EXPECT_EQ(with_default->prompt_prefix(&literal), "summarize: ");
  const std::unique_ptr<Model> without = conformance("st-prompts");
  EXPECT_EQ(without->prompt_prefix(nullptr), "");
  EXPECT_EQ(without->prompt_prefix(&query), "query: ");
}

// Past max_tokens a text's end does not matter, however long it is.
TEST_F(ModelTest, LongTextsAreCut) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("st-minilm"));
  const std::unique_ptr<Model> model = conformance("st-minilm");
  std::string text;
  while (text.size() < 300) text += "words and more words. ";
  std::string longer = text;
  while (longer.size() < 3000000) longer += "Something else entirely! ";
  EXPECT_EQ(embed(*model, text), embed(*model, longer));
  const Result<TokenEmbeddings> tokens = model->token_embeddings(longer, {});
  ASSERT_TRUE(tokens.is_ok());
  EXPECT_EQ(tokens->tokens.size(), 32U);
  EXPECT_EQ(tokens->tokens.front().id, model->tokenizer().cls_id());
  EXPECT_EQ(tokens->tokens.back().id, model->tokenizer().sep_id());
  EXPECT_EQ(tokens->tokens.back().char_start, -1);
}

// One word without a space to cut at, and white space without a word.
TEST_F(ModelTest, LongTextsWithoutWordsOrSpaces) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("st-minilm"));
  const std::unique_ptr<Model> model = conformance("st-minilm");
  EXPECT_EQ(embed(*model, std::string(500000, 'x')), embed(*model, std::string(101, 'x')));
  EXPECT_EQ(embed(*model, std::string(500000, ' ')), embed(*model, ""));
}

TEST_F(ModelTest, WrongSpaceIsRefused) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("st-minilm"));
  const std::unique_ptr<Model> model = conformance("st-minilm");
  const std::string_view text = "text";
  for (const size_t size : {0, 31, 33, 64}) {
    std::vector<float> out(size);
    EXPECT_EQ(model->embed({&text, 1}, "", {}, out).code(), StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(model->embed({}, "", {}, {}).is_ok());
}

TEST_F(ModelTest, InterruptionIsAskedForFromTheCallersThreadOnly) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("st-minilm"));
  const std::unique_ptr<Model> model = conformance("st-minilm");
  const std::vector<std::string_view> texts(5000, "a text among many that are to be embedded");
  std::vector<float> out(texts.size() * 32);
  const auto caller = std::this_thread::get_id();
  for (const int32_t threads : {1, 3}) {
    std::atomic<int> asked = 0;
    std::atomic<bool> elsewhere = false;
    EmbedOptions options;
    options.threads = threads;
    options.interrupted = [&] {
      if (std::this_thread::get_id() != caller) elsewhere = true;
      return ++asked > 40;
    };
    EXPECT_EQ(model->embed(texts, "", options, out).code(), StatusCode::kCancelled);
    EXPECT_GT(asked, 40);
    EXPECT_FALSE(elsewhere);
    options.interrupted = nullptr;
    EXPECT_TRUE(model->embed(texts, "", options, out).is_ok()) << "usable afterwards";
  }
  shut_down_threads();
}

// Two models, used in turn, share working memory but no numbers.
TEST_F(ModelTest, ModelsDoNotDisturbEachOther) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("st-minilm"));
  const std::unique_ptr<Model> a = conformance("st-minilm"), b = conformance("bert-12-layers");
  const std::vector<float> first = embed(*a, "some text"), other = embed(*b, "another, somewhat longer text");
  EXPECT_EQ(embed(*a, "some text"), first);
  EXPECT_EQ(embed(*b, "another, somewhat longer text"), other);
}

class DefaultModel : public ModelTest {
 protected:
  std::unique_ptr<Model> shipped() { return load("extension/models/default", directory_.path() / "default.bin"); }
};

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double product = 0, x = 0, y = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += static_cast<double>(a[i]) * b[i];
    x += static_cast<double>(a[i]) * a[i];
    y += static_cast<double>(b[i]) * b[i];
  }
  return product / std::sqrt(x * y);
}

TEST_F(DefaultModel, LoadsAndKnowsSynonyms) {
  const std::unique_ptr<Model> model = shipped();
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->info().architecture, "DistilBertModel");
  EXPECT_EQ(model->info().dimensions, 256);
  EXPECT_EQ(model->info().max_tokens, 256);
  EXPECT_EQ(model->info().pooling, "mean");
  EXPECT_TRUE(model->info().normalized);
  const std::vector<float> query = embed(*model, "reset my password");
  EXPECT_NEAR(cosine(query, query), 1, 1e-6);
  EXPECT_GT(cosine(query, embed(*model, "I forgot my passcode and want to change it")),
            cosine(query, embed(*model, "the mitochondria of a cell")) + 0.1);
}

// The compact form against the model it was made from, on real questions.
TEST_F(DefaultModel, CompactFormKeepsTheEmbeddings) {
  const fs::path original = shared_directory() / "models/starter";
  PG_SEMANTIC_SKIP_WITHOUT(original);
  const std::unique_ptr<Model> compact = shipped(), full = load(original, directory_.path() / "starter.bin");
  ASSERT_TRUE(compact != nullptr && full != nullptr);
  std::ifstream lines(shared_directory() / "data/intent/banking77_test.csv");
  double least = 1;
  int count = 0;
  for (std::string line; std::getline(lines, line) && count < 500; ++count) {
    const std::string text = line.substr(0, line.rfind(','));
    least = std::min(least, cosine(embed(*compact, text), embed(*full, text)));
  }
  EXPECT_EQ(count, 500);
  EXPECT_GT(least, 0.9999);
}

}  // namespace
}  // namespace pg_semantic::encoder
