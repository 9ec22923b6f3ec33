// Directories as people and programs leave them: variants that must load, and
// unsound ones that must be refused, quickly and with a reason.
#include "encoder/model_directory.h"

#include <sys/stat.h>

#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/model_test_support.h"

namespace pg_semantic::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Directory : public testing::Test {
 protected:
  // A fresh copy of a conformance checkpoint.
  bool start(const std::string& name) {
    if (!fs::exists(conformance_model(name))) return false;
    fs::remove_all(model());
    copy_model(name, model());
    return true;
  }

  fs::path model() const { return directory_.path() / "model"; }

  void edit(const std::string& file, const std::function<void(json&)>& change) const {
    json content = json::parse(read_file(model() / file));
    change(content);
    write_file(model() / file, content.dump());
  }

  void edit_weights(const std::function<void(SafetensorsContent&)>& change) const {
    SafetensorsContent content = SafetensorsContent::read(model() / "model.safetensors");
    change(content);
    content.write(model() / "model.safetensors");
  }

  // Renames tensors without touching their data.
  void rename(const std::function<std::string(const std::string&)>& name) const {
    edit_weights([&](SafetensorsContent& content) {
      json renamed;
      for (const auto& [key, value] : content.header.items()) renamed[name(key)] = value;
      content.header = renamed;
    });
  }

  Result<ModelInfo> compile() const {
    const fs::path file = directory_.path() / "model.bin";
    fs::remove(file);
    Result<ModelInfo> info = compile_model(model().string(), file.string(), {});
    EXPECT_EQ(fs::exists(file), info.is_ok());
    return info;
  }

  void expect_refused(StatusCode code, const std::string& because) const {
    const Result<ModelInfo> info = compile();
    ASSERT_FALSE(info.is_ok()) << "not refused: " << because;
    EXPECT_EQ(info.status().code(), code) << explain(info.status());
    EXPECT_NE(explain(info.status()).find(because), std::string::npos) << explain(info.status());
  }

  ModelConfig config() const {
    const Result<ModelDirectory> read = read_model_directory(model().string());
    EXPECT_TRUE(read.is_ok()) << explain(read.status());
    return read ? read->config : ModelConfig();
  }

  TemporaryDirectory directory_;
};

#define START(name) \
  if (!start(name)) GTEST_SKIP() << "test data is missing: " << conformance_model(name) << " (set PG_SEMANTIC_SHARED)"

TEST_F(Directory, AbsurdConfigurations) {
  START("bert-base");
  const std::string original = read_file(model() / "config.json");
  const std::pair<const char*, json> changes[] = {{"hidden_size", 0},
                                                  {"hidden_size", -32},
                                                  {"hidden_size", 33},
                                                  {"hidden_size", 1 << 20},
                                                  {"hidden_size", INT64_MAX},
                                                  {"hidden_size", "32"},
                                                  {"hidden_size", 31.5},
                                                  {"num_hidden_layers", 0},
                                                  {"num_hidden_layers", -1},
                                                  {"num_hidden_layers", 3},
                                                  {"num_hidden_layers", 1 << 30},
                                                  {"num_attention_heads", 0},
                                                  {"num_attention_heads", 5},
                                                  {"num_attention_heads", 64},
                                                  {"intermediate_size", 0},
                                                  {"intermediate_size", 65},
                                                  {"intermediate_size", 1e300},
                                                  {"max_position_embeddings", 1},
                                                  {"max_position_embeddings", 65},
                                                  {"max_position_embeddings", -64},
                                                  {"vocab_size", 0},
                                                  {"vocab_size", 321},
                                                  {"vocab_size", 2147483648},
                                                  {"vocab_size", json::array()},
                                                  {"type_vocab_size", 0},
                                                  {"type_vocab_size", 1000000},
                                                  {"layer_norm_eps", -1},
                                                  {"layer_norm_eps", "small"},
                                                  {"hidden_act", "mystery"},
                                                  {"hidden_act", 4},
                                                  {"position_embedding_type", "relative_key"},
                                                  {"is_decoder", true},
                                                  {"model_type", "gpt2"},
                                                  {"model_type", 17},
                                                  {"pruned_heads", {{"0", {1}}}}};
  for (const auto& [key, value] : changes) {
    edit("config.json", [&, &key = key, &value = value](json& c) { c[key] = value; });
    const Result<ModelInfo> info = compile();
    EXPECT_FALSE(info.is_ok()) << key << " = " << value;
    EXPECT_TRUE(info.status().code() == StatusCode::kCorrupt || info.status().code() == StatusCode::kUnsupported)
        << explain(info.status());
    write_file(model() / "config.json", original);
  }
  EXPECT_TRUE(compile().is_ok());
}

// What only one family's configuration has: unsound values, and values that ask for something else.
TEST_F(Directory, AbsurdConfigurationsOfSiblings) {
  const std::tuple<const char*, const char*, json> changes[] = {
      {"roberta", "pad_token_id", -2},
      {"roberta", "pad_token_id", 61},
      {"roberta", "pad_token_id", INT64_MAX},
      {"roberta", "pad_token_id", "one"},
      {"roberta", "max_position_embeddings", 4},
      {"electra", "embedding_size", 0},
      {"electra", "embedding_size", -17},
      {"electra", "embedding_size", 16},
      {"electra", "embedding_size", 33},
      {"electra", "embedding_size", 1 << 30},
      {"electra-choice", "summary_type", "last"},
      {"electra-choice", "summary_activation", "mystery"},
      {"electra-choice", "summary_activation", 4},
      {"mpnet", "relative_attention_num_buckets", 16},
      {"mpnet", "relative_attention_num_buckets", -1},
      {"mpnet", "num_attention_heads", 4},
      {"albert", "embedding_size", 12},
      {"albert", "num_hidden_groups", 0},
      {"albert", "num_hidden_groups", 2},
      {"albert", "num_hidden_groups", 4},
      {"albert", "num_hidden_groups", 1 << 30},
      {"albert", "inner_group_num", 0},
      {"albert", "inner_group_num", 2},
      {"albert", "inner_group_num", 1 << 30},
      {"mobilebert", "embedding_size", 29},
      {"mobilebert", "trigram_input", false},
      {"mobilebert", "trigram_input", 1},
      {"mobilebert", "use_bottleneck", false},
      {"mobilebert", "intra_bottleneck_size", 0},
      {"mobilebert", "intra_bottleneck_size", -15},
      {"mobilebert", "intra_bottleneck_size", 16},
      {"mobilebert", "intra_bottleneck_size", 1 << 20},
      {"mobilebert", "use_bottleneck_attention", true},
      {"mobilebert", "key_query_shared_bottleneck", false},
      {"mobilebert", "num_feedforward_networks", 0},
      {"mobilebert", "num_feedforward_networks", 5},
      {"mobilebert", "num_feedforward_networks", 1 << 30},
      {"mobilebert", "normalization_type", "batch_norm"},
      {"mobilebert-mlm", "embedding_size", 30},
      {"mobilebert-classify-plain", "classifier_activation", true}};
  for (const auto& [name, key, value] : changes) {
    ASSERT_TRUE(start(name)) << name;
    edit("config.json", [&, &key = key, &value = value](json& c) { c[key] = value; });
    const Result<ModelInfo> info = compile();
    EXPECT_FALSE(info.is_ok()) << name << ": " << key << " = " << value;
    EXPECT_TRUE(info.status().code() == StatusCode::kCorrupt || info.status().code() == StatusCode::kUnsupported)
        << explain(info.status());
  }
}

TEST_F(Directory, OtherFamiliesAreRefusedByName) {
  ASSERT_TRUE(start("roberta"));
  for (const char* type : {"deberta", "deberta-v2"}) {
    edit("config.json", [&](json& c) { c["model_type"] = type; });
    expect_refused(StatusCode::kUnsupported, "\"" + std::string(type) + "\"; DeBERTa takes disentangled attention");
    EXPECT_NE(compile().status().hint().find("\"mobilebert\""), std::string::npos);
  }
  edit("config.json", [](json& c) { c.erase("model_type"), c["architectures"] = {"DebertaV2Model"}; });
  expect_refused(StatusCode::kUnsupported, "disentangled attention");
  edit("config.json", [](json& c) { c["model_type"] = "xlnet"; });
  expect_refused(StatusCode::kUnsupported, "\"xlnet\"; the supported ones are \"bert\", \"distilbert\", \"roberta\"");
}

// Each shared tensor is stored, and counted, once.
TEST_F(Directory, SharedLayersAreStoredOnce) {
  ASSERT_TRUE(start("albert"));
  const Result<ModelInfo> three = compile();
  edit("config.json", [](json& c) { c["num_hidden_layers"] = 12; });
  const Result<ModelInfo> twelve = compile();
  ASSERT_TRUE(three.is_ok() && twelve.is_ok());
  EXPECT_EQ(twelve->layers, 12);
  EXPECT_EQ(twelve->parameters, three->parameters);
  EXPECT_NEAR(static_cast<double>(twelve->bytes), static_cast<double>(three->bytes), 64);
  const int64_t width = 21, words = 13, feed_forward = 41;
  const int64_t embeddings = (three->vocabulary_size + 61 + 2 + 2) * words + (words + 1) * width;
  const int64_t layer = 4 * (width + 1) * width + 2 * width * feed_forward + width + feed_forward + 4 * width;
  EXPECT_EQ(three->parameters, embeddings + layer);
}

TEST_F(Directory, UnsoundJson) {
  START("st-dense");
  for (const char* file : {"config.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
                           "sentence_bert_config.json", "config_sentence_transformers.json", "tokenizer_config.json"}) {
    const std::string original = read_file(model() / file);
    for (const std::string& text : {std::string(), std::string("null"), std::string("{"), std::string(100000, '['),
                                    original.substr(0, original.size() / 2), std::string("{\"a\":\"\xff\"}"),
                                    std::string("7"), std::string("{\"dim\":1e400}")}) {
      write_file(model() / file, text);
      EXPECT_FALSE(compile().is_ok()) << file << ": " << text.substr(0, 40);
    }
    write_file(model() / file, original);
  }
  EXPECT_TRUE(compile().is_ok());
}

TEST_F(Directory, FilesThatAreNoFiles) {
  START("st-dense");
  for (const char* file : {"config.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
                           "2_Dense/model.safetensors", "model.safetensors", "vocab.txt", "tokenizer_config.json",
                           "sentence_bert_config.json", "config_sentence_transformers.json"}) {
    const std::string original = read_file(model() / file);
    fs::remove(model() / file);
    ASSERT_EQ(mkfifo((model() / file).c_str(), 0600), 0);
    EXPECT_EQ(compile().status().code(), StatusCode::kCorrupt) << file;
    fs::remove(model() / file);
    fs::create_directory(model() / file);
    EXPECT_FALSE(compile().is_ok()) << file;
    fs::remove(model() / file);
    fs::create_symlink("/dev/zero", model() / file);
    EXPECT_EQ(compile().status().code(), StatusCode::kCorrupt) << file;
    fs::remove(model() / file);
    write_file(model() / file, "");
    fs::resize_file(model() / file, 20ULL << 30);  // sparse
    EXPECT_EQ(compile().status().code(), StatusCode::kCorrupt) << file;
    fs::remove(model() / file);
    // As Hugging Face's cache has it.
    write_file(directory_.path() / "blob", original);
    fs::create_symlink(directory_.path() / "blob", model() / file);
    EXPECT_TRUE(compile().is_ok()) << file;
    fs::remove(model() / file);
    write_file(model() / file, original);
  }
}

TEST_F(Directory, MissingFiles) {
  START("st-dense");
  for (const char* file : {"config.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
                           "model.safetensors", "vocab.txt"}) {
    const std::string original = read_file(model() / file);
    fs::remove(model() / file);
    const StatusCode code = compile().status().code();
    EXPECT_TRUE(code == StatusCode::kNotFound || code == StatusCode::kCorrupt) << file;
    write_file(model() / file, original);
  }
  fs::remove_all(model());
  EXPECT_EQ(compile().status().code(), StatusCode::kNotFound);
  write_file(model(), "a file");
  EXPECT_EQ(compile().status().code(), StatusCode::kNotFound);
}

TEST_F(Directory, TensorsThatDoNotFit) {
  START("distilbert-base");
  const std::string original = read_file(model() / "model.safetensors");
  const char* const name = "transformer.layer.1.ffn.lin1.weight";
  edit_weights([&](SafetensorsContent& c) { c.header[name]["shape"] = {32, 64}; });
  expect_refused(StatusCode::kCorrupt, "has shape [32, 64]; [64, 32] was expected");
  write_file(model() / "model.safetensors", original);
  rename([&](const std::string& key) { return key == name ? "something.else" : key; });
  expect_refused(StatusCode::kCorrupt, name);
  write_file(model() / "model.safetensors", original);
  edit_weights([&](SafetensorsContent& c) {
    const auto begin = c.header[name]["data_offsets"][0].get<size_t>();
    c.data.replace(begin + 40, 4, "\0\0\xc0\x7f", 4);  // NaN
  });
  expect_refused(StatusCode::kCorrupt, "NaN");
  for (size_t size = 0; size < original.size(); size += original.size() / 50 + 1) {
    write_file(model() / "model.safetensors", original.substr(0, size));
    expect_refused(StatusCode::kCorrupt, "model.safetensors");
  }
}

TEST_F(Directory, VocabularyLargerThanTheEmbedding) {
  START("distilbert-base");
  fs::remove(model() / "tokenizer.json");
  write_file(model() / "vocab.txt", read_file(model() / "vocab.txt") + "extra\n");
  expect_refused(StatusCode::kCorrupt, "323 tokens");
}

TEST_F(Directory, ModulePathsStayInside) {
  START("st-dense");
  for (const char* path : {"../model/1_Pooling", "/etc", "1_Pooling/../../model/1_Pooling"}) {
    edit("modules.json", [&](json& c) { c[1]["path"] = path; });
    expect_refused(StatusCode::kCorrupt, "leaves the model's directory");
  }
}

TEST_F(Directory, UnsupportedModules) {
  START("st-dense");
  edit("modules.json", [](json& c) { c[2]["type"] = "sentence_transformers.models.LSTM"; });
  expect_refused(StatusCode::kUnsupported, "LSTM");
  START("st-dense");
  edit("2_Dense/config.json", [](json& c) { c["activation_function"] = "torch.nn.modules.activation.Mish"; });
  expect_refused(StatusCode::kUnsupported, "Mish");
  START("st-dense");
  edit("2_Dense/config.json", [](json& c) { c["in_features"] = 64; });
  expect_refused(StatusCode::kCorrupt, "takes 64 inputs, but gets 32");
  START("st-dense");
  edit("1_Pooling/config.json", [](json& c) { c["pooling_mode_lasttoken"] = true; });
  expect_refused(StatusCode::kUnsupported, "pooling_mode_lasttoken");
  START("st-dense");
  edit("1_Pooling/config.json", [](json& c) { c["pooling_mode_mean_tokens"] = false; });
  expect_refused(StatusCode::kCorrupt, "no pooling mode");
  START("st-dense");
  edit("1_Pooling/config.json", [](json& c) { c["word_embedding_dimension"] = 33; });
  expect_refused(StatusCode::kCorrupt, "33");
}

TEST_F(Directory, NamedPoolingModes) {
  START("st-max");
  const auto pooling = [&](const json& modes) {
    write_file(model() / "1_Pooling/config.json", json{{"embedding_dimension", 32}, {"pooling_mode", modes}}.dump());
    return pooling_name(config().pooling);
  };
  EXPECT_EQ(pooling("mean"), "mean");
  EXPECT_EQ(pooling("cls"), "cls");
  EXPECT_EQ(pooling("mean_sqrt_len_tokens"), "mean_sqrt_len");
  EXPECT_EQ(pooling(json{"mean", "cls"}), "cls+mean");
  EXPECT_EQ(pooling("max+cls"), "cls+max");
  write_file(model() / "1_Pooling/config.json", R"({"pooling_mode": "weightedmean"})");
  expect_refused(StatusCode::kUnsupported, "weightedmean");
}

TEST_F(Directory, TransformerInASubdirectory) {
  START("st-minilm");
  const Result<ModelInfo> flat = compile();
  ASSERT_TRUE(flat.is_ok());
  fs::create_directory(model() / "0_Transformer");
  for (const char* file : {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "sentence_bert_config.json"}) {
    fs::rename(model() / file, model() / "0_Transformer" / file);
  }
  edit("modules.json", [](json& c) { c[0]["path"] = "0_Transformer"; });
  const Result<ModelInfo> nested = compile();
  ASSERT_TRUE(nested.is_ok()) << explain(nested.status());
  EXPECT_EQ(nested->fingerprint, flat->fingerprint);
}

TEST_F(Directory, LengthRule) {
  START("st-minilm");
  EXPECT_EQ(config().max_tokens, 32);
  edit("sentence_bert_config.json", [](json& c) { c["max_seq_length"] = 4096; });
  EXPECT_EQ(config().max_tokens, 64) << "not more than there are positions";
  edit("sentence_bert_config.json", [](json& c) { c["max_seq_length"] = nullptr; });
  edit("tokenizer_config.json", [](json& c) { c["model_max_length"] = 20; });
  EXPECT_EQ(config().max_tokens, 20);
  edit("tokenizer_config.json", [](json& c) { c["model_max_length"] = 1e30; });
  EXPECT_EQ(config().max_tokens, 64);
  edit("sentence_bert_config.json", [](json& c) { c["max_seq_length"] = -5; });
  expect_refused(StatusCode::kCorrupt, "max_seq_length");
}

TEST_F(Directory, Prompts) {
  START("st-default-prompt");
  EXPECT_EQ(config().default_prompt_name, "query");
  EXPECT_EQ(config().prompts.at("document"), "");
  edit("config_sentence_transformers.json", [](json& c) { c["default_prompt_name"] = "absent"; });
  expect_refused(StatusCode::kCorrupt, "absent");
  edit("config_sentence_transformers.json", [](json& c) { c["prompts"]["query"] = 5; });
  expect_refused(StatusCode::kCorrupt, "must be a string");
}

TEST_F(Directory, Labels) {
  START("bert-emotions");
  edit("config.json", [](json& c) { c["id2label"].erase("3"); });
  expect_refused(StatusCode::kCorrupt, "none of the id 3");
  edit("config.json", [](json& c) { c.erase("id2label"); });
  EXPECT_EQ(config().labels, (std::vector<std::string>{"LABEL_0", "LABEL_1"}));
  edit("config.json", [](json& c) { c["num_labels"] = 3; });
  EXPECT_EQ(config().labels.size(), 3U);
  edit("config.json", [](json& c) { c["num_labels"] = 1000000000; });
  expect_refused(StatusCode::kCorrupt, "num_labels");
}

TEST_F(Directory, DefaultsOfAShortConfiguration) {
  START("distilbert-base");
  write_file(model() / "config.json", R"({"model_type": "distilbert"})");
  const TransformerConfig t = config().transformer;
  EXPECT_EQ(t.width, 768);
  EXPECT_EQ(t.layers, 6);
  EXPECT_EQ(t.heads, 12);
  EXPECT_EQ(t.feed_forward, 3072);
  EXPECT_EQ(config().architecture_name, "DistilBertModel");
  expect_refused(StatusCode::kCorrupt, "[30522, 768] was expected");
}

// Sinusoidal positions may be left out of the weights; those of the example are
// the computed ones.
TEST_F(Directory, SinusoidalPositionsAreComputed) {
  START("distilbert-sinusoidal");
  const std::unique_ptr<Model> with = load(model(), directory_.path() / "with.bin");
  rename([](const std::string& key) { return key == "embeddings.position_embeddings.weight" ? "unused" : key; });
  const std::unique_ptr<Model> without = load(model(), directory_.path() / "without.bin");
  ASSERT_TRUE(with != nullptr && without != nullptr);
  const std::string_view text = "computed positions";
  std::vector<float> a(32), b(32);
  ASSERT_TRUE(with->embed({&text, 1}, "", {}, a).is_ok());
  ASSERT_TRUE(without->embed({&text, 1}, "", {}, b).is_ok());
  for (size_t i = 0; i < 32; ++i) EXPECT_NEAR(a[i], b[i], 1e-5);
  edit("config.json", [](json& c) { c["sinusoidal_pos_embds"] = false; });
  expect_refused(StatusCode::kCorrupt, "position_embeddings");
}

TEST_F(Directory, LowerCasingOfSentenceTransformers) {
  START("st-minilm");
  fs::remove(model() / "tokenizer.json");
  edit("tokenizer_config.json", [](json& c) { c["do_lower_case"] = false; });
  const std::unique_ptr<Model> cased = load(model(), directory_.path() / "cased.bin");
  edit("sentence_bert_config.json", [](json& c) { c["do_lower_case"] = true; });
  const std::unique_ptr<Model> lowered = load(model(), directory_.path() / "lowered.bin");
  ASSERT_TRUE(cased != nullptr && lowered != nullptr);
  const auto ids = [](const Model& m, const char* text) {
    std::vector<int32_t> found;
    for (const Token& token : m.tokenizer().encode(text)) found.push_back(token.id);
    return found;
  };
  EXPECT_NE(ids(*cased, "ABC def"), ids(*cased, "abc def"));
  EXPECT_EQ(ids(*lowered, "ABC def"), ids(*cased, "abc def"));
}

}  // namespace
}  // namespace pg_semantic::encoder
