// What heads.h promises beyond the conformance examples: how pairs are cut, how
// tokens become text, heads that the examples lack, and what is refused.
#include "encoder/heads.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/token_decoder.h"
#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// By hand from the rule of tokenizers' truncate_encodings (LongestFirst).
TEST(PairLengths, LongestFirst) {
  const struct {
    PairLengths lengths;
    size_t limit;
    PairLengths expected;
  } kCases[] = {
      {{3, 4}, 7, {3, 4}},    {{3, 5}, 7, {3, 4}},      {{5, 3}, 7, {4, 3}},   {{1, 100}, 10, {1, 9}},
      {{100, 1}, 10, {9, 1}}, {{100, 100}, 10, {5, 5}}, {{50, 60}, 9, {4, 5}}, {{60, 50}, 9, {5, 4}},
      {{50, 50}, 9, {4, 5}},  {{0, 100}, 9, {0, 9}},    {{100, 0}, 9, {9, 0}}, {{6, 5}, 10, {5, 5}},
      {{5, 6}, 10, {5, 5}},   {{7, 7}, 1, {0, 1}},      {{7, 7}, 0, {0, 0}},   {{8, 3}, 10, {7, 3}},
  };
  for (const auto& entry : kCases) {
    const PairLengths found = cut_longest_first(entry.lengths, entry.limit);
    EXPECT_EQ(found.first, entry.expected.first) << entry.lengths.first << "+" << entry.lengths.second;
    EXPECT_EQ(found.second, entry.expected.second) << entry.lengths.first << "+" << entry.lengths.second;
  }
}

// The published library's WordPiece decoder, token by token.
TEST(TokenDecoder, JoinsPiecesAndCleansUp) {
  EXPECT_EQ(decode_tokens(std::vector<std::string>{"play", "##ing", "a", "##b"}, "##"), "playing ab");
  EXPECT_EQ(decode_tokens(std::vector<std::string>{"##ing", "##s"}, "##"), "##ings");
  EXPECT_EQ(decode_tokens(std::vector<std::string>{"no", ",", "really", "?", "yes", "."}, "##"), "no, really? yes.");
  EXPECT_EQ(decode_tokens(std::vector<std::string>{"it", "'", "s", "$", "9", ".", "5"}, "##"), "it ' s $ 9. 5");
  EXPECT_EQ(decode_tokens(std::vector<std::string>{}, "##"), "");
}

class Heads : public testing::Test {
 protected:
  std::unique_ptr<Model> conformance(const std::string& name) {
    copy_model(name, directory_.path() / name);
    return load_copy(name);
  }

  std::unique_ptr<Model> load_copy(const std::string& name) {
    fs::remove(directory_.path() / (name + ".bin"));
    return load(directory_.path() / name, directory_.path() / (name + ".bin"));
  }

  Result<ModelInfo> compile_copy(const std::string& name) {
    fs::remove(directory_.path() / (name + ".bin"));
    return compile_model((directory_.path() / name).string(), (directory_.path() / (name + ".bin")).string(), {});
  }

  void change_config(const std::string& name, const json& changes) {
    const fs::path path = directory_.path() / name / "config.json";
    json config = json::parse(read_file(path));
    config.update(changes);
    write_file(path, config.dump());
  }

  // The checkpoint's tensors under other names, `rows` of the first dimension kept
  // (0: all); an empty name drops one.
  struct Renaming {
    std::string from;
    std::string to;
    int64_t rows = 0;
  };
  void change_tensors(const std::string& name, const std::vector<Renaming>& renamings) {
    const fs::path path = directory_.path() / name / "model.safetensors";
    const SafetensorsContent before = SafetensorsContent::read(path);
    SafetensorsContent after;
    after.header = json::object();
    for (const auto& [key, tensor] : before.header.items()) {
      if (key == "__metadata__") continue;
      Renaming renaming{key, key, 0};
      for (const Renaming& wanted : renamings) {
        if (wanted.from == key) renaming = wanted;
      }
      if (renaming.to.empty()) continue;
      json changed = tensor;
      const auto begin = tensor["data_offsets"][0].get<size_t>();
      size_t size = tensor["data_offsets"][1].get<size_t>() - begin;
      if (renaming.rows > 0) {
        size = size / tensor["shape"][0].get<size_t>() * static_cast<size_t>(renaming.rows);
        changed["shape"][0] = renaming.rows;
      }
      changed["data_offsets"] = {after.data.size(), after.data.size() + size};
      after.data += before.data.substr(begin, size);
      after.header[renaming.to] = changed;
    }
    after.write(path);
  }

  TemporaryDirectory directory_;
};

TEST_F(Heads, RefuseOtherTasks) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("bert-base"));
  const std::string_view text = "a [MASK] text";
  for (const char* name : {"bert-base", "distilbert-ner"}) {
    const std::unique_ptr<Model> model = conformance(name);
    ASSERT_NE(model, nullptr);
    std::vector<float> score(1);
    EXPECT_EQ(classify(*model, text, {}).status().code(), StatusCode::kUnsupported);
    EXPECT_EQ(classify_pair(*model, text, text, {}).status().code(), StatusCode::kUnsupported);
    EXPECT_EQ(score_documents(*model, text, {&text, 1}, {}, score).code(), StatusCode::kUnsupported);
    EXPECT_EQ(zero_shot(*model, text, {&text, 1}, {}, {}).status().code(), StatusCode::kUnsupported);
    EXPECT_EQ(choose(*model, text, {&text, 1}, {}).status().code(), StatusCode::kUnsupported);
    EXPECT_EQ(find_answers(*model, text, text, {}, {}).status().code(), StatusCode::kUnsupported);
    EXPECT_EQ(fill_mask(*model, text, 1, {}).status().code(), StatusCode::kUnsupported);
  }
  const std::unique_ptr<Model> bare = load_copy("bert-base");
  EXPECT_EQ(find_entities(*bare, text, Aggregation::kNone, {}).status().code(), StatusCode::kUnsupported);
  std::vector<std::vector<float>> logits;
  EXPECT_EQ(bare->head_logits({}, {}, &logits).code(), StatusCode::kUnsupported);
}

TEST_F(Heads, RefuseUnusableArguments) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("bert-mlm"));
  const std::unique_ptr<Model> mlm = conformance("bert-mlm");
  const std::unique_ptr<Model> qa = conformance("distilbert-qa-short");
  const std::unique_ptr<Model> nli = conformance("bert-nli");
  const std::unique_ptr<Model> emotions = conformance("bert-emotions");
  std::string long_text;
  for (int i = 0; i < 100; ++i) long_text += "word ";
  const auto code = [](const auto& result) { return result.status().code(); };
  EXPECT_EQ(code(fill_mask(*mlm, "no mask", 5, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(fill_mask(*mlm, "[MASK] and [MASK]", 5, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(fill_mask(*mlm, long_text + "[MASK]", 5, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(fill_mask(*mlm, "[MASK]", 0, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(find_answers(*qa, long_text, "context", {}, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(find_answers(*qa, "question", "context", {0, 15}, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(find_answers(*qa, "question", "context", {1, -1}, {})), StatusCode::kInvalidArgument);
  const std::string_view label = "label";
  const std::string_view long_label = long_text;
  EXPECT_EQ(code(zero_shot(*nli, "text", {&label, 1}, {"no place", false}, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(zero_shot(*nli, "text", {&long_label, 1}, {}, {})), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(zero_shot(*emotions, "text", {&label, 1}, {}, {})), StatusCode::kUnsupported);
  std::vector<float> score(1);
  EXPECT_EQ(score_documents(*emotions, "query", {&label, 1}, {}, score).code(), StatusCode::kUnsupported);
}

TEST_F(Heads, EmptyInputs) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("bert-cross-encoder"));
  const std::unique_ptr<Model> reranker = conformance("bert-cross-encoder");
  EXPECT_TRUE(score_documents(*reranker, "query", {}, {}, {}).is_ok());
  const std::unique_ptr<Model> qa = conformance("distilbert-qa");
  const Result<std::vector<Answer>> answers = find_answers(*qa, "", " ", {3, 15}, {});
  ASSERT_TRUE(answers.is_ok()) << explain(answers.status());
  EXPECT_TRUE(answers->empty());
  const std::unique_ptr<Model> ner = conformance("bert-ner");
  const Result<std::vector<Entity>> entities = find_entities(*ner, "", Aggregation::kMax, {});
  ASSERT_TRUE(entities.is_ok()) << explain(entities.status());
  EXPECT_TRUE(entities->empty());
}

TEST_F(Heads, InterruptedCallsSaySo) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("distilbert-qa-short"));
  const std::unique_ptr<Model> qa = conformance("distilbert-qa-short");
  std::string context;
  for (int i = 0; i < 5000; ++i) context += "some words ";
  EmbedOptions options;
  int asked = 0;
  options.interrupted = [&] { return ++asked > 20; };
  EXPECT_EQ(find_answers(*qa, "what", context, {}, options).status().code(), StatusCode::kCancelled);
  EXPECT_LE(asked, 30);
}

// Where both texts are cut and the room is odd, the odd token is the longer text's.
TEST_F(Heads, OddTokenBelongsToTheLongerText) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("bert-cross-encoder-plain"));
  const std::unique_ptr<Model> model = conformance("bert-cross-encoder-plain");
  const size_t max_tokens = static_cast<size_t>(model->info().max_tokens);
  ASSERT_EQ((max_tokens - 3) % 2, 1U);
  const auto words = [](size_t count, const char* word) {
    std::string text;
    for (size_t i = 0; i < count; ++i) text += word;
    return text;
  };
  const size_t half = (max_tokens - 3) / 2;
  const std::string shorter = words(500, "a ");
  const std::string longer = words(600, "b ");
  const TokenSequence first_longer = PairEncoder(model->tokenizer(), longer, max_tokens).encode(shorter);
  const TokenSequence second_longer = PairEncoder(model->tokenizer(), shorter, max_tokens).encode(longer);
  EXPECT_EQ(first_longer.ids.size(), max_tokens);
  EXPECT_EQ(first_longer.first_segment, half + 1 + 2);
  EXPECT_EQ(second_longer.ids.size(), max_tokens);
  EXPECT_EQ(second_longer.first_segment, half + 2);
}

// BERT for multiple choice has the tensors of a classifier with one label.
TEST_F(Heads, BertForMultipleChoice) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("bert-cross-encoder"));
  const std::unique_ptr<Model> reranker = conformance("bert-cross-encoder");  // its activation is the identity
  change_config("bert-cross-encoder", {{"architectures", {"BertForMultipleChoice"}}});
  fs::rename(directory_.path() / "bert-cross-encoder", directory_.path() / "choice");
  const std::unique_ptr<Model> choice = load_copy("choice");
  ASSERT_NE(choice, nullptr);
  EXPECT_EQ(choice->info().task, "multiple-choice");
  const std::string_view texts[] = {"A dog runs.", "The company said so.", ""};
  std::vector<float> logits(3);
  ASSERT_TRUE(score_documents(*reranker, "Two dogs in the grass", texts, {}, logits).is_ok());
  const Result<std::vector<Ranked>> chosen = choose(*choice, "Two dogs in the grass", texts, {});
  ASSERT_TRUE(chosen.is_ok()) << explain(chosen.status());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  for (const Ranked& entry : *chosen) EXPECT_NEAR(entry.score, std::exp(logits[entry.index]) / sum, 1e-6);
}

// BERT for question answering is a token classifier of two labels by other names.
TEST_F(Heads, BertForQuestionAnswering) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("bert-ner"));
  const std::unique_ptr<Model> ner = conformance("bert-ner");
  change_config("bert-ner", {{"architectures", {"BertForQuestionAnswering"}}});
  change_tensors("bert-ner",
                 {{"classifier.weight", "qa_outputs.weight", 2}, {"classifier.bias", "qa_outputs.bias", 2}});
  fs::rename(directory_.path() / "bert-ner", directory_.path() / "qa");
  const std::unique_ptr<Model> qa = load_copy("qa");
  ASSERT_NE(qa, nullptr);
  EXPECT_EQ(qa->info().task, "question-answering");
  TokenSequence sequence = PairEncoder(ner->tokenizer(), "who is it", 64).encode("A man in the town");
  sequence.wanted.clear();
  for (size_t i = 0; i < sequence.ids.size(); ++i) sequence.wanted.push_back(i);
  std::vector<std::vector<float>> all, two;
  ASSERT_TRUE(ner->head_logits({&sequence, 1}, {}, &all).is_ok());
  ASSERT_TRUE(qa->head_logits({&sequence, 1}, {}, &two).is_ok());
  for (size_t i = 0; i < sequence.ids.size(); ++i) {
    EXPECT_NEAR(two[0][2 * i], all[0][7 * i], 1e-5);
    EXPECT_NEAR(two[0][2 * i + 1], all[0][7 * i + 1], 1e-5);
  }
  const Result<std::vector<Answer>> answers = find_answers(*qa, "who is it", "A man in the town", {2, 3}, {});
  ASSERT_TRUE(answers.is_ok());
  EXPECT_EQ(answers->size(), 2U);
}

// The tensors decide whether the projection is the word embedding; the bias has two names.
TEST_F(Heads, VocabularyProjectionsByAnyName) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("bert-mlm-untied"));
  const std::unique_ptr<Model> untied = conformance("bert-mlm-untied");
  const auto best = [](const Model& model) {
    const Result<std::vector<MaskFilling>> found = fill_mask(model, "A man [MASK] a dog.", 3, {});
    EXPECT_TRUE(found.is_ok()) << explain(found.status());
    std::vector<std::pair<int32_t, float>> tokens;
    for (const MaskFilling& filling : *found) tokens.emplace_back(filling.token, filling.score);
    return tokens;
  };
  const auto expected = best(*untied);
  change_tensors("bert-mlm-untied", {{"cls.predictions.bias", "cls.predictions.decoder.bias"}});
  ASSERT_TRUE(compile_copy("bert-mlm-untied").is_ok());
  Result<std::unique_ptr<Model>> renamed = Model::open((directory_.path() / "bert-mlm-untied.bin").string());
  ASSERT_TRUE(renamed.is_ok());
  EXPECT_EQ(best(**renamed), expected);
  change_tensors("bert-mlm-untied", {{"cls.predictions.decoder.weight", ""}});
  ASSERT_TRUE(compile_copy("bert-mlm-untied").is_ok());
  Result<std::unique_ptr<Model>> tied = Model::open((directory_.path() / "bert-mlm-untied.bin").string());
  ASSERT_TRUE(tied.is_ok());
  EXPECT_NE(best(**tied), expected);
}

TEST_F(Heads, UnsoundCheckpointsAreRefused) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model("distilbert-sst2"));
  const auto code = [&](const std::string& name) { return compile_copy(name).status().code(); };
  const auto fresh = [&](const std::string& name) {
    fs::remove_all(directory_.path() / name);
    copy_model(name, directory_.path() / name);
  };
  fresh("distilbert-sst2");
  change_tensors("distilbert-sst2", {{"classifier.weight", ""}});
  EXPECT_EQ(code("distilbert-sst2"), StatusCode::kCorrupt);
  fresh("distilbert-sst2");
  change_tensors("distilbert-sst2", {{"pre_classifier.bias", ""}});
  EXPECT_EQ(code("distilbert-sst2"), StatusCode::kCorrupt);
  fresh("distilbert-sst2");
  change_config("distilbert-sst2", {{"id2label", {{"0", "a"}, {"1", "b"}, {"2", "c"}}}});
  EXPECT_EQ(code("distilbert-sst2"), StatusCode::kCorrupt);
  fresh("bert-cross-encoder");
  change_config("bert-cross-encoder", {{"sentence_transformers", {{"activation_fn", "torch.nn.Mish"}}}});
  EXPECT_EQ(code("bert-cross-encoder"), StatusCode::kUnsupported);
  fresh("bert-cross-encoder");
  change_config("bert-cross-encoder", {{"sentence_transformers", {{"activation_fn", 7}}}});
  EXPECT_EQ(code("bert-cross-encoder"), StatusCode::kCorrupt);
  fresh("bert-mlm");
  change_tensors("bert-mlm", {{"cls.predictions.transform.LayerNorm.weight", ""}});
  EXPECT_EQ(code("bert-mlm"), StatusCode::kCorrupt);
}

}  // namespace
}  // namespace pg_semantic::encoder
