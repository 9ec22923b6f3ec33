// See tiny_model.h.
#include "tests/fuzz/tiny_model.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "encoder/model.h"
#include "tests/support/random_checkpoint.h"

namespace pg_semantic::fuzz {

namespace {

namespace fs = std::filesystem;

constexpr const char* kVocabulary =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##s\ncat\nse\n##man\n##tic\n.\n,\na\n##a\nb\n##b\n\xe4\xb8\xad\n";

std::vector<std::byte> compile_tiny(const std::map<std::string, std::string>& files, const char* model_precision) {
  const std::string directory = directory_with({});
  require(write_random_checkpoint(directory, files, 0.3).is_ok(), "a tiny model's configuration is good");
  const std::string path = directory + "/model.bin";
  encoder::CompileOptions options;
  options.model_precision = model_precision;
  require(encoder::compile_model(directory, path, options).is_ok(), "a tiny model compiles");
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<std::byte> bytes(content.size());
  std::memcpy(bytes.data(), content.data(), content.size());
  return bytes;
}

}  // namespace

std::vector<std::map<std::string, std::string>> tiny_tokenizers() {
  std::vector<std::map<std::string, std::string>> all = {
      {{"vocab.txt", kVocabulary}},
      {{"vocab.txt", kVocabulary}, {"tokenizer_config.json", R"({"do_lower_case": false})"}},
  };
  // Those that are compared with the published library, in the order of their names.
  std::set<fs::path> directories;
  for (const auto& entry : fs::directory_iterator("tests/reference/tokenizers")) {
    if (entry.is_directory()) directories.insert(entry.path());
  }
  for (const fs::path& directory : directories) {
    std::map<std::string, std::string>& files = all.emplace_back();
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().filename() == "expected.jsonl") continue;
      std::ifstream file(entry.path(), std::ios::binary);
      files[entry.path().filename()] = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    }
  }
  return all;
}

std::vector<std::vector<std::byte>> tiny_model_files() {
  constexpr const char* kConfigs[] = {
      R"({"model_type": "distilbert", "vocab_size": 18, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12,
          "max_position_embeddings": 16})",
      R"({"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"], "vocab_size": 18,
          "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
          "max_position_embeddings": 18, "type_vocab_size": 1, "pad_token_id": 1})",
      R"({"model_type": "mpnet", "architectures": ["MPNetForMaskedLM"], "vocab_size": 18, "hidden_size": 8,
          "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 18})",
      R"({"model_type": "albert", "architectures": ["AlbertForMaskedLM"], "vocab_size": 18, "embedding_size": 6,
          "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
          "max_position_embeddings": 16})",
      R"({"model_type": "mobilebert", "architectures": ["MobileBertForMaskedLM"], "vocab_size": 18,
          "embedding_size": 6, "hidden_size": 16, "intra_bottleneck_size": 8, "num_hidden_layers": 2,
          "num_attention_heads": 2, "intermediate_size": 12, "num_feedforward_networks": 2,
          "max_position_embeddings": 16})",
      R"({"model_type": "bert", "architectures": ["HF_ColBERT"], "vocab_size": 18, "hidden_size": 8,
          "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16})",
  };
  std::vector<std::map<std::string, std::string>> checkpoints;
  for (const char* config : kConfigs) {
    std::map<std::string, std::string> files = tiny_tokenizers().front();
    files["config.json"] = config;
    files["tokenizer_config.json"] = R"({"tokenizer_class": "BertTokenizer"})";  // whatever the family's own is
    if (checkpoints.empty()) {
      files["modules.json"] = R"([{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": "1_Pooling"},
                                  {"type": "Normalize", "path": "2_Normalize"}])";
      files["1_Pooling/config.json"] = "{}";
    }
    files["artifact.metadata"] =
        R"({"dim": 4, "query_maxlen": 8, "doc_maxlen": 12, "query_token_id": "the", "doc_token_id": "cat"})";
    checkpoints.push_back(files);
  }
  // The precisions one after the other: an input says by number which model it damages.
  std::vector<std::vector<std::byte>> models;
  for (const char* model_precision : {"fp32", "fp16", "int8"}) {
    for (const auto& files : checkpoints) models.push_back(compile_tiny(files, model_precision));
  }
  return models;
}

std::string_view damage(Bytes input, std::vector<std::byte>* bytes) {
  size_t at = 0;
  if (!input.empty()) {
    const size_t places = input[at++] % 16;
    for (size_t i = 0; i < places && at + 4 <= input.size(); ++i, at += 4) {
      const size_t offset = input[at] | input[at + 1] << 8 | input[at + 2] << 16;
      (*bytes)[offset % bytes->size()] = static_cast<std::byte>(input[at + 3]);
    }
  }
  return {reinterpret_cast<const char*>(input.data()) + at, input.size() - at};
}

}  // namespace pg_semantic::fuzz
