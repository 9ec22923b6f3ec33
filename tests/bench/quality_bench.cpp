// What lower precisions cost in quality: `quality_bench MODEL_DIRECTORY DATA_DIRECTORY`.
//
// For each retrieval set of DATA_DIRECTORY/retrieval (corpus.tsv, queries.tsv,
// qrels.tsv): the cosine of every text's embedding to its fp32 embedding, and
// nDCG@10 (Järvelin and Kekäläinen 2002, gains as judged) by exact search.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "encoder/model.h"

namespace {

namespace fs = std::filesystem;
using namespace pg_semantic;
using namespace pg_semantic::encoder;

void require(const Status& status) {
  if (status.is_ok()) return;
  std::fprintf(stderr, "%s\n%s\n", status.message().c_str(), status.detail().c_str());
  std::exit(1);
}

struct Texts {
  std::vector<std::string> ids;
  std::vector<std::string> contents;
};

Texts read_texts(const fs::path& path) {
  Texts texts;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) continue;
    texts.ids.push_back(line.substr(0, tab));
    texts.contents.push_back(line.substr(tab + 1));
  }
  return texts;
}

using Judgements = std::map<std::string, std::map<std::string, double>>;  // query, document, gain

Judgements read_judgements(const fs::path& path) {
  Judgements judgements;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string query, document;
    double gain = 0;
    if (words >> query >> document >> gain && gain > 0) judgements[query][document] = gain;
  }
  return judgements;
}

// Of length 1, so that an inner product is a cosine.
std::vector<float> embed(const Model& model, const Texts& texts, const char* prompt_name) {
  const std::string name = prompt_name;
  std::string prefix = model.prompt_prefix(&name);
  if (prefix == name) prefix = model.prompt_prefix(nullptr);  // the model has no such prompt
  const std::vector<std::string_view> views(texts.contents.begin(), texts.contents.end());
  const auto dimensions = static_cast<size_t>(model.info().dimensions);
  std::vector<float> out(views.size() * dimensions);
  EmbedOptions options;
  options.threads = static_cast<int32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  require(model.embed(views, prefix, options, out));
  for (size_t i = 0; i < views.size(); ++i) {
    double squares = 0;
    for (size_t d = 0; d < dimensions; ++d)
      squares += static_cast<double>(out[i * dimensions + d]) * out[i * dimensions + d];
    const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
    for (size_t d = 0; d < dimensions; ++d)
      out[i * dimensions + d] = static_cast<float>(out[i * dimensions + d] * scale);
  }
  return out;
}

double inner_product(const float* a, const float* b, size_t dimensions) {
  double sum = 0;
  for (size_t d = 0; d < dimensions; ++d) sum += static_cast<double>(a[d]) * b[d];
  return sum;
}

double discount(size_t rank) { return 1 / std::log2(static_cast<double>(rank) + 2); }

double ndcg_at_10(const Texts& corpus, const std::vector<float>& documents, const Texts& queries,
                  const std::vector<float>& questions, const Judgements& judgements) {
  const size_t dimensions = documents.size() / corpus.ids.size();
  double total = 0;
  size_t judged = 0;
  for (size_t q = 0; q < queries.ids.size(); ++q) {
    const auto found = judgements.find(queries.ids[q]);
    if (found == judgements.end()) continue;
    std::vector<std::pair<double, size_t>> scores(corpus.ids.size());
    for (size_t d = 0; d < scores.size(); ++d) {
      scores[d] = {-inner_product(&questions[q * dimensions], &documents[d * dimensions], dimensions), d};
    }
    const size_t best = std::min<size_t>(10, scores.size());
    std::partial_sort(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(best), scores.end());
    double gained = 0, ideal = 0;
    for (size_t rank = 0; rank < best; ++rank) {
      const auto gain = found->second.find(corpus.ids[scores[rank].second]);
      if (gain != found->second.end()) gained += gain->second * discount(rank);
    }
    std::vector<double> gains;
    for (const auto& [document, gain] : found->second) gains.push_back(gain);
    std::sort(gains.rbegin(), gains.rend());
    for (size_t rank = 0; rank < std::min<size_t>(10, gains.size()); ++rank) ideal += gains[rank] * discount(rank);
    total += gained / ideal;
    ++judged;
  }
  return judged > 0 ? total / static_cast<double>(judged) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::string pattern = (fs::temp_directory_path() / "quality_bench_XXXXXX").string();
  const fs::path scratch = mkdtemp(pattern.data());
  std::map<std::string, std::unique_ptr<Model>> models;
  for (const char* precision : {"fp32", "fp16", "int8"}) {
    CompileOptions options;
    options.model_precision = precision;
    const std::string file = (scratch / precision).string();
    require(compile_model(argv[1], file, options).status());
    Result<std::unique_ptr<Model>> model = Model::open(file);
    require(model.status());
    models[precision] = std::move(*model);
  }
  std::printf("%-18s %8s %8s %8s %12s %12s %9s %9s\n", "set", "texts", "queries", "", "least cosine", "mean cosine",
              "nDCG@10", "- fp32");
  for (const auto& entry : fs::directory_iterator(fs::path(argv[2]) / "retrieval")) {
    const Texts corpus = read_texts(entry.path() / "corpus.tsv"), queries = read_texts(entry.path() / "queries.tsv");
    const Judgements judgements = read_judgements(entry.path() / "qrels.tsv");
    if (corpus.ids.empty() || queries.ids.empty()) continue;
    std::vector<float> reference[2];
    double reference_ndcg = 0;
    for (const char* precision : {"fp32", "fp16", "int8"}) {
      const std::vector<float> found[2] = {embed(*models[precision], corpus, "document"),
                                           embed(*models[precision], queries, "query")};
      const double ndcg = ndcg_at_10(corpus, found[0], queries, found[1], judgements);
      if (reference[0].empty()) {
        reference[0] = found[0];
        reference[1] = found[1];
        reference_ndcg = ndcg;
      }
      const size_t dimensions = found[0].size() / corpus.ids.size();
      double least = 1, sum = 0;
      for (const size_t part : {0, 1}) {
        for (size_t i = 0; i < found[part].size(); i += dimensions) {
          const double cosine = inner_product(&found[part][i], &reference[part][i], dimensions);
          least = std::min(least, cosine);
          sum += cosine;
        }
      }
      std::printf("%-18s %8zu %8zu %8s %12.6f %12.6f %9.4f %+9.4f\n", entry.path().filename().c_str(),
                  corpus.ids.size(), queries.ids.size(), precision, least,
                  sum / static_cast<double>(corpus.ids.size() + queries.ids.size()), ndcg, ndcg - reference_ndcg);
      std::fflush(stdout);
    }
  }
  fs::remove_all(scratch);
  return 0;
}
