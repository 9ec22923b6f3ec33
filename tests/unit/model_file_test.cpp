// Model files: what compile_model() writes, and that no damaged file does harm.
#include "encoder/model_file.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/heads.h"
#include "tests/support/random_checkpoint.h"
#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Bytes where a mapping would have them: aligned, and with nothing after them.
class AlignedBytes {
 public:
  explicit AlignedBytes(const std::string& content)
      : size_(content.size()), memory_(std::aligned_alloc(64, (size_ + 63) / 64 * 64)) {
    std::memcpy(memory_, content.data(), size_);
  }
  ~AlignedBytes() { std::free(memory_); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  [[nodiscard]] std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(memory_), size_}; }

 private:
  size_t size_;
  void* memory_;
};

class ModelFile : public testing::Test {
 protected:
  void SetUp() override {
    PG_SEMANTIC_SKIP_WITHOUT(conformance_model("st-dense"));
    copy_model("st-dense", source());
  }
  fs::path source() const { return directory_.path() / "model"; }
  fs::path file() const { return directory_.path() / "model.bin"; }
  Result<ModelInfo> compile(const CompileOptions& options = {}) const {
    return compile_model(source().string(), file().string(), options);
  }

  TemporaryDirectory directory_;
};

// Asks the model's head, whichever it is, everything there is to ask.
void exercise_head(const Model& model) {
  const std::string_view text = "Some people in the [MASK] of a town";
  const std::string_view others[] = {"another text", ""};
  std::vector<float> scores(2);
  const bool done[] = {classify(model, text, {}).is_ok(),
                       classify_pair(model, text, others[0], {}).is_ok(),
                       score_documents(model, text, others, {}, scores).is_ok(),
                       zero_shot(model, text, others, {}, {}).is_ok(),
                       choose(model, text, others, {}).is_ok(),
                       find_entities(model, text, Aggregation::kAverage, {}).is_ok(),
                       find_answers(model, others[0], text, {3, 4}, {}).is_ok(),
                       fill_mask(model, text, 3, {}).is_ok()};
  (void)done;
}

// Uses a model as a session would; only crashes and hangs are failures.
void exercise(const Model& model) {
  const std::string_view texts[] = {"some text to embed", "", "[MASK] ünïcödé 東京"};
  std::vector<float> out(3 * static_cast<size_t>(model.info().dimensions));
  const Status status = model.embed(texts, model.prompt_prefix(nullptr), {}, out);
  (void)status.is_ok();
  const Result<TokenEmbeddings> tokens = model.token_embeddings("some more text", {});
  (void)tokens.is_ok();
  exercise_head(model);
}

TEST_F(ModelFile, OpensFromFileAndMemoryAlike) {
  const Result<ModelInfo> info = compile();
  ASSERT_TRUE(info.is_ok()) << explain(info.status());
  const AlignedBytes memory(read_file(file()));
  const Result<std::unique_ptr<Model>> mapped = Model::open(file().string());
  const Result<std::unique_ptr<Model>> in_memory = Model::open_bytes(memory.bytes());
  ASSERT_TRUE(mapped.is_ok() && in_memory.is_ok());
  EXPECT_EQ((*mapped)->info().fingerprint, info->fingerprint);
  const std::string_view text = "the same numbers";
  std::vector<float> a(24), b(24);
  ASSERT_TRUE((*mapped)->embed({&text, 1}, "", {}, a).is_ok());
  ASSERT_TRUE((*in_memory)->embed({&text, 1}, "", {}, b).is_ok());
  EXPECT_EQ(a, b);
}

TEST_F(ModelFile, FingerprintFollowsContentAndNothingElse) {
  const auto fingerprint = [&] {
    fs::remove(file());
    const Result<ModelInfo> info = compile();
    EXPECT_TRUE(info.is_ok()) << explain(info.status());
    return info ? info->fingerprint : "";
  };
  const std::string first = fingerprint();
  EXPECT_EQ(fingerprint(), first);
  write_file(source() / "README.md", "not part of the model");
  EXPECT_EQ(fingerprint(), first);

  const fs::path weights = source() / "model.safetensors";
  const std::string weights_before = read_file(weights);
  std::string changed = weights_before;
  changed[changed.size() - 3] = static_cast<char>(changed[changed.size() - 3] ^ 1);  // some number's low bits
  write_file(weights, changed);
  EXPECT_NE(fingerprint(), first);
  write_file(weights, weights_before);

  const std::string vocabulary = read_file(source() / "vocab.txt");
  std::string renamed = vocabulary;
  const size_t last = renamed.find_last_not_of('\n');
  renamed[last] = renamed[last] == 'q' ? 'j' : 'q';
  write_file(source() / "vocab.txt", renamed);
  EXPECT_NE(fingerprint(), first);
  write_file(source() / "vocab.txt", vocabulary);

  json tokenizer = json::parse(read_file(source() / "tokenizer_config.json"));
  tokenizer["do_lower_case"] = false;
  write_file(source() / "tokenizer_config.json", tokenizer.dump());
  EXPECT_NE(fingerprint(), first);
}

TEST_F(ModelFile, NeverOverwrites) {
  write_file(file(), "precious");
  EXPECT_EQ(compile().status().code(), StatusCode::kIoError);
  EXPECT_EQ(read_file(file()), "precious");
}

TEST_F(ModelFile, RemovedWhenInterrupted) {
  CompileOptions options;
  int asked = 0;
  options.interrupted = [&] { return ++asked > 3; };
  EXPECT_EQ(compile(options).status().code(), StatusCode::kCancelled);
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(ModelFile, RemovedWhenItCannotBeWritten) {
  struct rlimit before {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 4096, before.rlim_max };
  setrlimit(RLIMIT_FSIZE, &small);
  const Result<ModelInfo> info = compile();
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(info.status().code(), StatusCode::kIoError);
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(ModelFile, AnUnknownPrecisionIsRefused) {
  CompileOptions options;
  options.model_precision = "fp7";
  EXPECT_EQ(compile(options).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ModelFile, LowerPrecisionsAreOtherModelsThatSayNearlyTheSame) {
  const std::string_view text = "the same text for each of them";
  std::vector<std::vector<float>> embeddings;
  std::set<std::string> fingerprints;
  int64_t bytes = INT64_MAX;
  for (const char* precision : {"fp32", "fp16", "int8"}) {
    CompileOptions options;
    options.model_precision = precision;
    fs::remove(file());
    const Result<ModelInfo> info = compile(options);
    ASSERT_TRUE(info.is_ok()) << explain(info.status());
    EXPECT_EQ(info->model_precision, precision);
    EXPECT_LT(info->bytes, bytes);
    bytes = info->bytes;
    fingerprints.insert(info->fingerprint);
    const Result<std::unique_ptr<Model>> model = Model::open(file().string());
    ASSERT_TRUE(model.is_ok()) << explain(model.status());
    ASSERT_TRUE((*model)->embed({&text, 1}, "", {}, embeddings.emplace_back(24)).is_ok());
  }
  EXPECT_EQ(fingerprints.size(), 3U);
  const auto cosine = [&](size_t i) {
    double dot = 0, a = 0, b = 0;
    for (size_t c = 0; c < 24; ++c) {
      dot += static_cast<double>(embeddings[0][c]) * embeddings[i][c];
      a += static_cast<double>(embeddings[0][c]) * embeddings[0][c];
      b += static_cast<double>(embeddings[i][c]) * embeddings[i][c];
    }
    return dot / std::sqrt(a * b);
  };
  EXPECT_GT(cosine(1), 0.99999);
  EXPECT_GT(cosine(2), 0.995);
  EXPECT_NE(embeddings[0], embeddings[1]);
  EXPECT_NE(embeddings[0], embeddings[2]);
}

TEST_F(ModelFile, AnotherVersionIsNamed) {
  ASSERT_TRUE(compile().is_ok());
  std::string bytes = read_file(file());
  const uint32_t version = kModelFileVersion + 1;
  std::memcpy(bytes.data() + offsetof(ModelFileHeader, version), &version, sizeof(version));
  write_file(file(), bytes);
  EXPECT_EQ(Model::open(file().string()).status().code(), StatusCode::kUnsupported);
}

TEST_F(ModelFile, WhatIsNoModelFileIsRefused) {
  EXPECT_EQ(Model::open(file().string()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Model::open(directory_.path().string()).status().code(), StatusCode::kCorrupt);
  for (const size_t size : {0, 1, 255, 256, 5000}) {
    write_file(file(), std::string(size, 'P'));
    EXPECT_EQ(Model::open(file().string()).status().code(), StatusCode::kCorrupt) << size;
  }
}

TEST_F(ModelFile, TruncationIsNoticed) {
  ASSERT_TRUE(compile().is_ok());
  const std::string bytes = read_file(file());
  for (size_t size = 0; size < bytes.size(); size += bytes.size() / 97) {
    const AlignedBytes cut(bytes.substr(0, size));
    EXPECT_FALSE(Model::open_bytes(cut.bytes()).is_ok()) << size;
  }
}

// Words at white space, in special tokens or in none.
std::map<std::string, std::string> word_level_model(bool with_special_tokens) {
  json tokenizer = json::parse(R"({
      "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
      "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "cat": 3}}})");
  if (with_special_tokens) {
    tokenizer["post_processor"] = {{"type", "BertProcessing"}, {"sep", {"[SEP]", 2}}, {"cls", {"[CLS]", 1}}};
  }
  return {{"tokenizer.json", tokenizer.dump()},
          {"config.json", R"({"model_type": "bert", "vocab_size": 4, "hidden_size": 8, "num_hidden_layers": 1,
                              "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16})"}};
}

// An empty text is then no token at all, and heads, pooling and MaxSim would read what is not there.
TEST(ModelFileTokenizer, WithoutSpecialTokensIsRefused) {
  const TemporaryDirectory directory;
  const std::string file = (directory.path() / "model.bin").string();
  ASSERT_TRUE(write_random_checkpoint(directory.path().string(), word_level_model(false), 0.3).is_ok());
  const Result<ModelInfo> bare = compile_model(directory.path().string(), file, {});
  ASSERT_FALSE(bare.is_ok());
  EXPECT_EQ(bare.status().code(), StatusCode::kUnsupported) << explain(bare.status());

  ASSERT_TRUE(write_random_checkpoint(directory.path().string(), word_level_model(true), 0.3).is_ok());
  ASSERT_NE(load(directory.path(), file), nullptr);
  std::string damaged = read_file(file);
  const std::string key = "\"post_processor\"";
  const size_t place = damaged.find(key);
  ASSERT_NE(place, std::string::npos);
  damaged[place + 1] = 'q';
  const AlignedBytes memory(damaged);
  const Result<std::unique_ptr<Model>> model = Model::open_bytes(memory.bytes());
  ASSERT_FALSE(model.is_ok());
  EXPECT_EQ(model.status().code(), StatusCode::kCorrupt) << explain(model.status());
}

// Bytes of everything but the weights changed at random, one to four at a time:
// a model of each kind of head, one without, and one of each family.
class DamagedModelFile : public testing::TestWithParam<const char*> {};

TEST_P(DamagedModelFile, IsRefusedOrHarmless) {
  PG_SEMANTIC_SKIP_WITHOUT(conformance_model(GetParam()));
  const TemporaryDirectory directory;
  const fs::path source = directory.path() / "model";
  const fs::path file = directory.path() / "model.bin";
  copy_model(GetParam(), source);
  ASSERT_TRUE(compile_model(source.string(), file.string(), {}).is_ok());
  const std::string bytes = read_file(file);
  ModelFileHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  std::mt19937 generator(7);
  std::uniform_int_distribution<size_t> position(0, header.data.offset - 1);
  // Where labels, sizes and the head are described.
  std::uniform_int_distribution<size_t> in_config(header.config.offset, header.config.offset + header.config.bytes - 1);
  std::uniform_int_distribution<int> value(0, 255), count(1, 4), digit('0', '9');
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = bytes;
    for (int n = count(generator); n > 0; --n) {
      if (round % 2 == 0) {
        damaged[position(generator)] = static_cast<char>(value(generator));
      } else {
        damaged[in_config(generator)] = static_cast<char>(digit(generator));
      }
    }
    const AlignedBytes memory(damaged);
    const Result<std::unique_ptr<Model>> model = Model::open_bytes(memory.bytes());
    if (model) {
      exercise(**model);
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);
}

INSTANTIATE_TEST_SUITE_P(Examples, DamagedModelFile,
                         testing::Values("st-dense", "bert-emotions", "bert-cross-encoder", "distilbert-nli",
                                         "distilbert-ner", "distilbert-qa", "bert-mlm", "distilbert-mlm-untied",
                                         "distilbert-choice", "roberta-padding-3", "electra-mlm", "mpnet-mlm",
                                         "albert-groups", "mobilebert-mlm", "mobilebert-bottleneck-attention"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace pg_semantic::encoder
