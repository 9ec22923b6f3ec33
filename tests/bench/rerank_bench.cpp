// What reranking costs beside embedding: 100 passages of 100 words against one
// query, and the same tokens embedded as one batch, by a cross-encoder of
// MiniLM-L6's shape with random weights.  Prints processor seconds, the least of
// some rounds that take turns, and their ratio.
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
#include "tests/support/random_checkpoint.h"

namespace {

namespace fs = std::filesystem;
using namespace pg_semantic;
using namespace pg_semantic::encoder;
using nlohmann::json;

const char* const kWords[] = {"water", "people", "city", "history", "new", "system", "music", "river", "the", "of"};

void require(const Status& status) {
  if (status.is_ok()) return;
  std::fprintf(stderr, "%s\n%s\n", status.message().c_str(), status.detail().c_str());
  std::exit(1);
}

void write_checkpoint(const std::string& directory) {
  const json config = {{"architectures", {"BertForSequenceClassification"}},
                       {"model_type", "bert"},
                       {"vocab_size", 1000},
                       {"hidden_size", 384},
                       {"num_hidden_layers", 6},
                       {"num_attention_heads", 12},
                       {"intermediate_size", 1536},
                       {"max_position_embeddings", 512},
                       {"id2label", {{"0", "LABEL_0"}}}};
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (const char* word : kWords) vocabulary += std::string(word) + "\n";
  require(write_random_checkpoint(directory, {{"config.json", config.dump()}, {"vocab.txt", vocabulary}}, 0.04));
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
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
  fs::create_directories(directory / "model");
  write_checkpoint((directory / "model").string());
  const std::string file = (directory / "model.bin").string();
  const Result<ModelInfo> info = compile_model((directory / "model").string(), file, {});
  require(info.status());
  const Result<std::unique_ptr<Model>> model = Model::open(file);
  require(model.status());
  measure(**model);
  fs::remove_all(directory);
  return 0;
}
