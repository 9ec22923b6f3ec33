// A Hugging Face directory's tokenizer files, in all the forms they are
// published in, and broken ones.
#include "encoder/tokenizer_config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/json.h"
#include "tests/unit/tokenizer_test_support.h"

namespace pg_semantic::encoder {
namespace {

using Files = std::map<std::string, std::string>;

constexpr const char* kVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##b\ne\n\xc3\xa9\n<s>\n</s>\n[X]\n";

// A tokenizer.json; %s places: normaliser, pre-tokenizer, post-processor, model.
std::string tokenizer_json(const std::string& normalizer, const std::string& pre_tokenizer,
                           const std::string& post_processor, const std::string& model,
                           const std::string& added = "[]") {
  return R"({"version":"1.0","truncation":{"max_length":4},"padding":null,"added_tokens":)" + added +
         R"(,"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" + pre_tokenizer + R"(,"post_processor":)" +
         post_processor + R"(,"decoder":null,"model":)" + model + "}";
}

const std::string kNormalizer =
    R"({"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true})";
const std::string kPreTokenizer = R"({"type":"BertPreTokenizer"})";
const std::string kPostProcessor = R"({"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]})";
const std::string kModel =
    R"({"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,)"
    R"("vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"[MASK]":4,"a":5,"b":6,"##b":7,"e":8,"\u00e9":9,"<s>":10,"</s>":11}})";

TokenizerConfig load(const Files& files) {
  Result<TokenizerConfig> config = load_tokenizer_config(MemoryReader(files));
  EXPECT_TRUE(config.is_ok()) << config.status().message() << ": " << config.status().detail();
  return config.is_ok() ? *config : TokenizerConfig();
}

Status refusal(const Files& files) {
  const Result<TokenizerConfig> config = load_tokenizer_config(MemoryReader(files));
  EXPECT_FALSE(config.is_ok());
  return config.is_ok() ? Status(StatusCode::kInternal, "was not refused") : config.status();
}

const AddedToken* find_added(const TokenizerConfig& config, const std::string& content) {
  for (const AddedToken& token : config.added_tokens) {
    if (token.content == content) return &token;
  }
  return nullptr;
}

TEST(TokenizerConfig, VocabularyFileAlone) {
  const TokenizerConfig config = load({{"vocab.txt", kVocabulary}});
  EXPECT_EQ(config.vocabulary.size(), 13u);
  EXPECT_TRUE(config.lowercase);
  EXPECT_TRUE(config.strip_accents);
  EXPECT_TRUE(config.clean_text);
  EXPECT_TRUE(config.handle_chinese_chars);
  ASSERT_EQ(config.added_tokens.size(), 5u);
  const OwnedTokenizer tokenizer = make_tokenizer(config);
  EXPECT_EQ(describe(*tokenizer, tokenizer->encode("Ab[MASK]")), "[CLS] a[0,1] ##b[1,2] [MASK][2,8] [SEP]");
}

// Python's text mode ends lines at \n, \r\n and \r; other white space stays in the piece.
TEST(TokenizerConfig, VocabularyLines) {
  const TokenizerConfig config = load({{"vocab.txt", "[PAD]\r\n[UNK]\n[CLS]\r[SEP]\n\n a \n\xe2\x80\xa8\nlast"}});
  const std::vector<std::string> expected = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "", " a ", "\u2028", "last"};
  EXPECT_EQ(config.vocabulary, expected);
  EXPECT_EQ(refusal({{"vocab.txt", "[UNK]\n\xff\n"}}).code(), StatusCode::kCorrupt);
}

TEST(TokenizerConfig, NormaliserSwitches) {
  const auto with = [](const std::string& config) {
    return load({{"vocab.txt", kVocabulary}, {"tokenizer_config.json", config}});
  };
  EXPECT_FALSE(with(R"({"do_lower_case": false})").lowercase);
  EXPECT_FALSE(with(R"({"do_lower_case": false})").strip_accents);
  EXPECT_TRUE(with(R"({"do_lower_case": false, "strip_accents": true})").strip_accents);
  EXPECT_FALSE(with(R"({"do_lower_case": true, "strip_accents": false})").strip_accents);
  EXPECT_TRUE(with(R"({"do_lower_case": true, "strip_accents": null})").strip_accents);
  EXPECT_FALSE(with(R"({"tokenize_chinese_chars": false})").handle_chinese_chars);
}

TEST(TokenizerConfig, SpecialTokenNames) {
  const std::string names =
      R"({"cls_token": "<s>", "sep_token": {"content": "</s>", "lstrip": true, "__type": "AddedToken"}})";
  const TokenizerConfig config = load({{"vocab.txt", kVocabulary}, {"tokenizer_config.json", names}});
  EXPECT_EQ(config.cls_token, "<s>");
  EXPECT_EQ(config.sep_token, "</s>");
  EXPECT_EQ(find_added(config, "[CLS]"), nullptr);
  ASSERT_NE(find_added(config, "</s>"), nullptr);
  EXPECT_TRUE(find_added(config, "</s>")->lstrip);
  EXPECT_FALSE(find_added(config, "</s>")->normalized);
  const OwnedTokenizer tokenizer = make_tokenizer(config);
  EXPECT_EQ(describe(*tokenizer, tokenizer->encode("a")), "<s> a[0,1] </s>");
}

// Directories from before added_tokens_decoder: the map has the last word.
TEST(TokenizerConfig, SpecialTokensMap) {
  const Files files = {{"vocab.txt", kVocabulary},
                       {"tokenizer_config.json", R"({"cls_token": "a"})"},
                       {"special_tokens_map.json", R"({"cls_token": "<s>", "additional_special_tokens": ["[X]"]})"},
                       {"added_tokens.json", R"({"[NEW]": 13, "[X]": 12})"}};
  const TokenizerConfig config = load(files);
  EXPECT_EQ(config.cls_token, "<s>");
  ASSERT_NE(find_added(config, "[X]"), nullptr);
  EXPECT_TRUE(find_added(config, "[X]")->special);
  ASSERT_NE(find_added(config, "[NEW]"), nullptr);
  EXPECT_EQ(find_added(config, "[NEW]")->id, 13);
  EXPECT_TRUE(find_added(config, "[NEW]")->normalized);
  EXPECT_EQ(make_tokenizer(config)->vocabulary_size(), 14);

  Files newer = files;
  newer["tokenizer_config.json"] =
      R"({"cls_token": "a", "added_tokens_decoder": {"4": {"content": "[MASK]", "lstrip": true, "special": true}}})";
  const TokenizerConfig newer_config = load(newer);
  EXPECT_EQ(newer_config.cls_token, "a");
  EXPECT_TRUE(find_added(newer_config, "[MASK]")->lstrip);
  EXPECT_EQ(find_added(newer_config, "[NEW]"), nullptr);
}

TEST(TokenizerConfig, MissingMaskTokenIsNone) {
  const TokenizerConfig config = load({{"vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\n"}});
  EXPECT_EQ(find_added(config, "[MASK]"), nullptr);
  EXPECT_EQ(make_tokenizer(config)->mask_id(), -1);
  EXPECT_EQ(make_tokenizer(config)->pad_id(), -1);
}

TEST(TokenizerConfig, TokenizerJson) {
  const std::string added =
      R"([{"id":4,"content":"[MASK]","single_word":false,"lstrip":true,"rstrip":false,"normalized":false,"special":true},)"
      R"({"id":99,"content":"new","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false}])";
  const TokenizerConfig config =
      load({{"tokenizer.json", tokenizer_json(kNormalizer, kPreTokenizer, kPostProcessor, kModel, added)},
            {"vocab.txt", "not looked at"}});
  EXPECT_EQ(config.vocabulary.size(), 12u);
  EXPECT_TRUE(find_added(config, "[MASK]")->lstrip);
  EXPECT_EQ(find_added(config, "new")->id, 12);  // the next free id, whatever the file says
  EXPECT_TRUE(config.strip_accents);
  ASSERT_NE(find_added(config, "[CLS]"), nullptr);
}

TEST(TokenizerConfig, TokenizerJsonVariants) {
  // Early files have no model type; some say nothing about normalising; templates name their tokens.
  std::string untyped = kModel;
  untyped.erase(untyped.find(R"("type":"WordPiece",)"), 19);
  const std::string templated =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"A","type_id":0}},{"Sequence":{"id":"A","type_id":0}},)"
      R"({"SpecialToken":{"id":"</s>","type_id":0}}],"pair":[],"special_tokens":{"A":{"id":"A","ids":[10],"tokens":["<s>"]}}})";
  const std::string sequence = R"({"type":"Sequence","normalizers":[)" + kNormalizer + "]}";
  const TokenizerConfig config =
      load({{"tokenizer.json", tokenizer_json(sequence, kPreTokenizer, templated, untyped)}});
  EXPECT_EQ(config.cls_token, "<s>");
  EXPECT_EQ(config.sep_token, "</s>");
  const TokenizerConfig plain =
      load({{"tokenizer.json", tokenizer_json("null", kPreTokenizer, kPostProcessor, kModel)}});
  EXPECT_FALSE(plain.lowercase || plain.strip_accents || plain.clean_text || plain.handle_chinese_chars);
}

TEST(TokenizerConfig, ConfigOverridesNormaliser) {
  Files files = {{"tokenizer.json", tokenizer_json(kNormalizer, kPreTokenizer, kPostProcessor, kModel)},
                 {"tokenizer_config.json", R"({"do_lower_case": false, "tokenizer_class": "BertTokenizer"})"}};
  EXPECT_FALSE(load(files).lowercase);
  EXPECT_FALSE(load(files).strip_accents);
  files["tokenizer_config.json"] = R"({"do_lower_case": false, "tokenizer_class": "PreTrainedTokenizerFast"})";
  EXPECT_TRUE(load(files).lowercase);
  std::string keeps_accents = kNormalizer;
  keeps_accents.replace(keeps_accents.find("null"), 4, "false");
  files["tokenizer.json"] = tokenizer_json(keeps_accents, kPreTokenizer, kPostProcessor, kModel);
  files["tokenizer_config.json"] = R"({"do_lower_case": true})";
  EXPECT_FALSE(load(files).strip_accents);
  files["tokenizer_config.json"] = R"({"strip_accents": null})";
  EXPECT_TRUE(load(files).strip_accents);
}

TEST(TokenizerConfig, UnsupportedKindsAreNamed) {
  const auto unsupported = [](const Files& files, const std::string& name) {
    const Status status = refusal(files);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.message();
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
  };
  const auto with_model = [](const std::string& model) {
    return Files{{"tokenizer.json", tokenizer_json(kNormalizer, kPreTokenizer, kPostProcessor, model)}};
  };
  unsupported(with_model(R"({"type":"Morphemes","vocab":{"a":0}})"), "Morphemes");
  unsupported({{"tokenizer.json", tokenizer_json(R"({"type":"NFX"})", kPreTokenizer, kPostProcessor, kModel)}}, "NFX");
  unsupported({{"tokenizer.json", tokenizer_json(kNormalizer, R"({"type":"Syllables"})", kPostProcessor, kModel)}},
              "Syllables");
  unsupported({{"tokenizer.json", tokenizer_json(kNormalizer, kPreTokenizer, R"({"type":"Framing"})", kModel)}},
              "Framing");
  unsupported(
      {{"vocab.txt", kVocabulary}, {"tokenizer_config.json", R"({"tokenizer_class": "BertJapaneseTokenizer"})"}},
      "BertJapaneseTokenizer");
}

TEST(TokenizerConfig, BrokenFiles) {
  EXPECT_EQ(refusal({}).code(), StatusCode::kNotFound);
  const auto with_model = [](const std::string& model) {
    return Files{{"tokenizer.json", tokenizer_json(kNormalizer, kPreTokenizer, kPostProcessor, model)}};
  };
  const auto model_with = [](const std::string& vocabulary) {
    return R"({"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,)"
           R"("vocab":)" +
           vocabulary + "}";
  };
  const std::string deep(100000, '[');
  for (const Files& files : std::vector<Files>{
           {{"tokenizer.json", "{"}},
           {{"tokenizer.json", "[]"}},
           {{"tokenizer.json", "{}"}},
           {{"tokenizer.json", deep}},
           {{"tokenizer.json", R"({"model": 3})"}},
           with_model(model_with(R"({"[UNK]":0,"a":0})")),
           with_model(model_with(R"({"[UNK]":-1})")),
           with_model(model_with(R"({"[UNK]":1e9})")),
           with_model(model_with(R"({"[UNK]":99999999999999999999})")),
           with_model(model_with(R"({"[UNK]":"0"})")),
           with_model(model_with("[]")),
           with_model(model_with("{}")),
           with_model(R"({"type":"WordPiece","vocab":{"a":0}})"),
           {{"vocab.txt", kVocabulary}, {"tokenizer_config.json", "[]"}},
           {{"vocab.txt", kVocabulary}, {"tokenizer_config.json", R"({"do_lower_case": "yes"})"}},
           {{"vocab.txt", kVocabulary}, {"tokenizer_config.json", R"({"cls_token": 7})"}},
           {{"vocab.txt", kVocabulary},
            {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})"}},
           {{"vocab.txt", kVocabulary}, {"tokenizer_config.json", R"({"added_tokens_decoder": {"1": 5}})"}},
           {{"vocab.txt", kVocabulary}, {"added_tokens.json", R"({"a": -1})"}},
           {{"vocab.txt", kVocabulary}, {"special_tokens_map.json", R"({"additional_special_tokens": 1})"}},
       }) {
    const Status status = refusal(files);
    EXPECT_EQ(status.code(), StatusCode::kCorrupt) << status.message();
    EXPECT_FALSE(status.detail().empty()) << status.message();
  }
  // Loads, but has no [CLS]: refused when it is compiled.
  std::vector<std::byte> tables;
  EXPECT_EQ(Tokenizer::compile(load({{"vocab.txt", "[UNK]\na\n"}}), &tables).code(), StatusCode::kCorrupt);
}

TEST(TokenizerConfig, ModelMaxLength) {
  const auto length = [](const std::string& config) {
    return load_model_max_length(MemoryReader({{"tokenizer_config.json", config}}));
  };
  EXPECT_EQ(*length(R"({"model_max_length": 512})"), 512);
  EXPECT_EQ(*length(R"({"model_max_length": 1000000000000000019884624838656})"), std::nullopt);
  EXPECT_EQ(*length(R"({"model_max_length": 1e30})"), std::nullopt);
  EXPECT_EQ(*length("{}"), std::nullopt);
  EXPECT_EQ(*load_model_max_length(MemoryReader(Files())), std::nullopt);
  EXPECT_FALSE(length(R"({"model_max_length": -5})").is_ok());
  EXPECT_FALSE(length(R"({"model_max_length": "512"})").is_ok());
}

TEST(Json, DepthTypesAndRanges) {
  EXPECT_TRUE(parse_json(R"({"a": "[[[[", "b": "\"[["})", 1, "x").is_ok());
  EXPECT_FALSE(parse_json("[[1]]", 1, "x").is_ok());
  EXPECT_FALSE(parse_json("{\"a\": \"\xff\"}", "x").is_ok());
  EXPECT_FALSE(parse_json("", "x").is_ok());
  EXPECT_FALSE(parse_json("1e999", "x").is_ok());
  const nlohmann::json object =
      *parse_json(R"({"i": 3, "f": 3.0, "h": 3.5, "big": 18446744073709551615, "n": null})", "x");
  EXPECT_EQ(*json_integer(object, "i", 0, 3, "x"), 3);
  EXPECT_EQ(*json_integer(object, "f", 0, 3, "x"), 3);
  EXPECT_EQ(*json_integer(object, "n", 0, 3, "x"), std::nullopt);
  EXPECT_EQ(*json_integer(object, "absent", 0, 3, "x"), std::nullopt);
  EXPECT_FALSE(json_integer(object, "i", 0, 2, "x").is_ok());
  EXPECT_FALSE(json_integer(object, "h", 0, 9, "x").is_ok());
  EXPECT_FALSE(json_integer(object, "big", 0, INT64_MAX, "x").is_ok());
  EXPECT_FALSE(json_string(object, "i", "x").is_ok());
  EXPECT_FALSE(json_bool(object, "i", "x").is_ok());
  EXPECT_EQ(*json_number(object, "h", "x"), 3.5);
}

// A directory of its own for every test.
class FileReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("pg_semantic_reader_" + std::to_string(getpid()));
    std::filesystem::create_directories(directory_ / "sub");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST_F(FileReaderTest, RegularFilesOnly) {
  const DirectoryReader reader(directory_.string());
  std::ofstream(directory_ / "sub" / "a.txt") << "content";
  std::ofstream(directory_ / "empty").flush();
  std::filesystem::create_symlink(directory_ / "sub" / "a.txt", directory_ / "link");
  std::filesystem::create_symlink("nowhere", directory_ / "dangling");
  ASSERT_EQ(mkfifo((directory_ / "fifo").c_str(), 0600), 0);

  EXPECT_EQ(*reader.read_small_file("sub/a.txt", 7), "content");
  EXPECT_EQ(*reader.read_small_file("link", 100), "content");
  EXPECT_EQ(*reader.read_small_file("empty", 0), "");
  EXPECT_EQ(*reader.read_small_file("absent", 100), std::nullopt);
  EXPECT_EQ(*reader.read_small_file("absent/too", 100), std::nullopt);
  EXPECT_EQ(*reader.read_small_file("dangling", 100), std::nullopt);
  EXPECT_EQ(reader.read_small_file("sub/a.txt", 6).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(reader.read_small_file("fifo", 100).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(reader.read_small_file("sub", 100).status().code(), StatusCode::kCorrupt);
  for (const char* name : {"", "/etc/hostname", "../x", "sub/../../x", ".."}) {
    EXPECT_EQ(reader.read_small_file(name, 100).status().code(), StatusCode::kInvalidArgument) << name;
  }
}

TEST_F(FileReaderTest, HugeSparseFileIsRefusedBeforeReading) {
  std::ofstream(directory_ / "vocab.txt").flush();
  std::filesystem::resize_file(directory_ / "vocab.txt", std::uintmax_t{1} << 40);
  const Result<TokenizerConfig> config = load_tokenizer_config(DirectoryReader(directory_.string()));
  ASSERT_FALSE(config.is_ok());
  EXPECT_EQ(config.status().code(), StatusCode::kCorrupt);
}

}  // namespace
}  // namespace pg_semantic::encoder
