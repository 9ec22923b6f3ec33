// See tiny_model.h.
#include "tests/fuzz/tiny_model.h"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "encoder/model.h"
#include "encoder/model_directory.h"
#include "encoder/model_tensors.h"

namespace pg_semantic::fuzz {

namespace {

using nlohmann::json;

constexpr const char* kVocabulary =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##s\ncat\nse\n##man\n##tic\n.\n,\na\n##a\nb\n##b\n\xe4\xb8\xad\n";

// Values without meaning, the same in every process.
class Values {
 public:
  float next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<int32_t>(state_ >> 40) - (1 << 23)) / static_cast<float>(1 << 25);
  }

 private:
  uint64_t state_ = 1;
};

// Every tensor that the configuration asks for, under its published name.
std::string make_weights(const encoder::ModelConfig& config) {
  json header = json::object();
  std::string data;
  Values values;
  for (const encoder::TensorSpec& tensor : encoder::tensor_plan(config)) {
    const encoder::TensorSource source = encoder::published_source(config, tensor, "");
    int64_t count = 1;
    for (const int64_t size : source.shape) count *= size;
    for (const std::string& name : source.names) {
      const size_t begin = data.size();
      for (int64_t i = 0; i < count; ++i) {
        const float value = values.next();
        data.append(reinterpret_cast<const char*>(&value), sizeof(value));
      }
      header[name] = {{"dtype", "F32"}, {"shape", source.shape}, {"data_offsets", {begin, data.size()}}};
    }
  }
  const std::string text = header.dump();
  const uint64_t header_bytes = text.size();
  std::string file(sizeof(header_bytes), '\0');
  std::memcpy(file.data(), &header_bytes, sizeof(header_bytes));
  return file + text + data;
}

}  // namespace

std::vector<std::map<std::string, std::string>> tiny_tokenizers() {
  return {
      {{"vocab.txt", kVocabulary}},
      {{"vocab.txt", kVocabulary}, {"tokenizer_config.json", R"({"do_lower_case": false})"}},
  };
}

std::vector<std::byte> tiny_model_file() {
  std::map<std::string, std::string> files = tiny_tokenizers().front();
  files["config.json"] = R"({"model_type": "distilbert", "vocab_size": 18, "dim": 8, "n_layers": 2, "n_heads": 2,
                             "hidden_dim": 12, "max_position_embeddings": 16})";
  files["modules.json"] = R"([{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": "1_Pooling"},
                              {"type": "Normalize", "path": "2_Normalize"}])";
  files["1_Pooling/config.json"] = "{}";
  const auto described = encoder::read_model_directory(directory_with(files));
  require(described.is_ok(), "the tiny model's configuration is good");
  files["model.safetensors"] = make_weights(described->config);
  const std::string directory = directory_with(files);
  const std::string path = directory + "/model.bin";
  require(encoder::compile_model(directory, path, {}).is_ok(), "the tiny model compiles");
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<std::byte> bytes(content.size());
  std::memcpy(bytes.data(), content.data(), content.size());
  return bytes;
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
