// What reranking costs beside embedding: 100 passages of 100 words against one
// query, and the same tokens embedded as one batch, by a cross-encoder of
// MiniLM-L6's shape with random weights.  Prints processor seconds, the least of
// some rounds that take turns, and their ratio.
//
//   make all && g++ -std=c++20 -O2 -I. tests/bench/rerank_bench.cpp build/encoder/*.o -o build/rerank_bench
//     -licuuc -lcrypto -lpthread -ldl && build/rerank_bench
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/heads.h"

namespace {

namespace fs = std::filesystem;
using namespace pg_semantic;
using namespace pg_semantic::encoder;
using nlohmann::json;

constexpr int64_t kWidth = 384, kLayers = 6, kFeedForward = 1536, kPositions = 512, kVocabulary = 1000;
const char* const kWords[] = {"water", "people", "city", "history", "new", "system", "music", "river", "the", "of"};

std::vector<std::pair<std::string, std::vector<int64_t>>> tensor_shapes() {
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  const auto linear = [&](const std::string& name, int64_t inputs, int64_t outputs) {
    shapes.push_back({name + ".weight", {outputs, inputs}});
    shapes.push_back({name + ".bias", {outputs}});
  };
  const auto norm = [&](const std::string& name) {
    shapes.push_back({name + ".weight", {kWidth}});
    shapes.push_back({name + ".bias", {kWidth}});
  };
  const std::string embeddings = "bert.embeddings.";
  shapes.push_back({embeddings + "word_embeddings.weight", {kVocabulary, kWidth}});
  shapes.push_back({embeddings + "position_embeddings.weight", {kPositions, kWidth}});
  shapes.push_back({embeddings + "token_type_embeddings.weight", {2, kWidth}});
  norm(embeddings + "LayerNorm");
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string layer = "bert.encoder.layer." + std::to_string(i) + ".";
    for (const char* part : {"query", "key", "value"}) linear(layer + "attention.self." + part, kWidth, kWidth);
    linear(layer + "attention.output.dense", kWidth, kWidth);
    norm(layer + "attention.output.LayerNorm");
    linear(layer + "intermediate.dense", kWidth, kFeedForward);
    linear(layer + "output.dense", kFeedForward, kWidth);
    norm(layer + "output.LayerNorm");
  }
  linear("bert.pooler.dense", kWidth, kWidth);
  linear("classifier", kWidth, 1);
  return shapes;
}

void write_checkpoint(const fs::path& directory) {
  fs::create_directories(directory);
  const json config = {{"architectures", {"BertForSequenceClassification"}},
                       {"model_type", "bert"},
                       {"vocab_size", kVocabulary},
                       {"hidden_size", kWidth},
                       {"num_hidden_layers", kLayers},
                       {"num_attention_heads", 12},
                       {"intermediate_size", kFeedForward},
                       {"max_position_embeddings", kPositions},
                       {"id2label", {{"0", "LABEL_0"}}}};
  std::ofstream(directory / "config.json") << config.dump();
  std::ofstream vocabulary(directory / "vocab.txt");
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) vocabulary << token << "\n";
  for (const char* word : kWords) vocabulary << word << "\n";

  json header = json::object();
  std::string data;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, 0.04F);
  for (const auto& [name, shape] : tensor_shapes()) {
    const size_t begin = data.size();
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    for (int64_t i = 0; i < count; ++i) {
      const float value = normal(generator);
      data.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  std::ofstream file(directory / "model.safetensors", std::ios::binary);
  file.write(reinterpret_cast<const char*>(&size), sizeof(size));
  file << text << data;
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void require(const Status& status) {
  if (status.is_ok()) return;
  std::fprintf(stderr, "%s\n%s\n", status.message().c_str(), status.detail().c_str());
  std::exit(1);
}

void measure(const Model& model) {
  const std::string query = "history of the river city";
  std::mt19937 generator(2);
  std::uniform_int_distribution<size_t> any(0, std::size(kWords) - 1);
  std::vector<std::string> passages(100);
  std::vector<std::string> pairs;
  for (std::string& passage : passages) {
    for (int i = 0; i < 100; ++i) passage += std::string(kWords[any(generator)]) + " ";
    pairs.push_back(query + " [SEP] " + passage);
  }
  const std::vector<std::string_view> passage_views(passages.begin(), passages.end());
  const std::vector<std::string_view> pair_views(pairs.begin(), pairs.end());
  std::vector<float> embeddings(pairs.size() * static_cast<size_t>(model.info().dimensions));
  std::vector<float> scores(passages.size());
  double embedding = 1e9;
  double reranking = 1e9;
  for (int round = 0; round < 7; ++round) {
    const double start = processor_seconds();
    require(model.embed(pair_views, "", {}, embeddings));
    const double middle = processor_seconds();
    require(score_documents(model, query, passage_views, {}, scores));
    embedding = std::min(embedding, middle - start);
    reranking = std::min(reranking, processor_seconds() - middle);
  }
  std::printf("embedding the tokens of 100 pairs  %.3f s\nreranking 100 passages             %.3f s\nratio %.3f\n",
              embedding, reranking, reranking / embedding);
}

}  // namespace

int main() {
  std::string pattern = (fs::temp_directory_path() / "rerank_bench_XXXXXX").string();
  const fs::path directory = mkdtemp(pattern.data());
  write_checkpoint(directory / "model");
  const std::string file = (directory / "model.bin").string();
  const Result<ModelInfo> info = compile_model((directory / "model").string(), file, {});
  require(info.status());
  const Result<std::unique_ptr<Model>> model = Model::open(file);
  require(model.status());
  measure(**model);
  fs::remove_all(directory);
  return 0;
}
