// Times the index engine on clustered synthetic vectors: inserts, growth, build,
// search, memory.  Usage: index_bench [vectors] [dimensions]
//
// Prints one line a measurement; nothing is judged.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "index/engine.h"

namespace {

using namespace pg_semantic;
using namespace pg_semantic::index;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void require(const Status& status) {
  if (status.is_ok()) return;
  std::fprintf(stderr, "%s: %s\n", status.message().c_str(), status.detail().c_str());
  std::exit(1);
}

// Gaussian clusters whose centres lie in a space of 32 dimensions, as those of
// text embeddings do.
class Source {
 public:
  explicit Source(size_t dimensions) : dimensions_(dimensions), centres_(1000 * dimensions), basis_(32 * dimensions) {
    for (float& value : basis_) value = normal_(random_);
    for (size_t centre = 0; centre < 1000; ++centre) {
      for (size_t axis = 0; axis < 32; ++axis) {
        const float along = normal_(random_) * 0.25f;
        for (size_t i = 0; i < dimensions; ++i)
          centres_[centre * dimensions + i] += along * basis_[axis * dimensions + i];
      }
    }
  }
  std::vector<float> next() {
    const size_t centre = random_() % 1000;
    std::vector<float> vector(centres_.begin() + static_cast<std::ptrdiff_t>(centre * dimensions_),
                              centres_.begin() + static_cast<std::ptrdiff_t>((centre + 1) * dimensions_));
    for (size_t axis = 0; axis < 32; ++axis) {
      const float along = normal_(random_) * 0.12f;
      for (size_t i = 0; i < dimensions_; ++i) vector[i] += along * basis_[axis * dimensions_ + i];
    }
    for (float& value : vector) value += 0.15f * normal_(random_);
    return vector;
  }

 private:
  size_t dimensions_;
  std::mt19937_64 random_{11};
  std::normal_distribution<float> normal_;
  std::vector<float> centres_, basis_;
};

void insert_all(Engine& engine, GenerationId generation, const std::vector<std::vector<float>>& vectors, size_t batch,
                const char* what) {
  std::vector<double> times;
  const auto start = Clock::now();
  for (size_t first = 0; first < vectors.size(); first += batch) {
    std::vector<RowChange> rows;
    for (size_t i = first; i < std::min(first + batch, vectors.size()); ++i)
      rows.push_back({i + 1, RowKind::kVector, {}, vectors[i]});
    const auto change = encode_insert(generation, rows);
    const auto before = Clock::now();
    require(engine.apply(change, false));
    times.push_back(seconds_since(before) * 1000);
  }
  const double total = seconds_since(start);
  std::sort(times.begin(), times.end());
  std::printf("%s, batches of %zu: %.0f rows/s; a batch p50 %.2f ms, p99 %.2f ms, most %.1f ms\n", what, batch,
              static_cast<double>(vectors.size()) / total, times[times.size() / 2], times[times.size() * 99 / 100],
              times.back());
}

void search_all(Engine& engine, GenerationId generation, const std::vector<std::vector<float>>& queries, float recall) {
  std::vector<double> times;
  for (int pass = 0; pass < 2; ++pass) {
    times.clear();
    for (const auto& query : queries) {
      SearchRequest request;
      request.generation = generation;
      request.query = query;
      request.recall = recall;
      const auto before = Clock::now();
      const auto result = engine.search(request, {});
      times.push_back(seconds_since(before) * 1000);
      require(result.status());
    }
  }
  std::sort(times.begin(), times.end());
  const auto measured = engine.measure_recall(generation, 10, 200, recall, {});
  require(measured.status());
  std::printf("search at recall %.2f: p50 %.3f ms, p99 %.3f ms; measured recall@10 %.4f\n", static_cast<double>(recall),
              times[times.size() / 2], times[times.size() * 99 / 100], static_cast<double>(*measured));
}

void describe(Engine& engine, GenerationId generation) {
  const auto statistics = engine.statistics(generation);
  require(statistics.status());
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%lu vectors in %u lists, %.0f MB on disk, %.1f MB of centroids; process peak %.0f MB\n",
              static_cast<unsigned long>(statistics->vectors), statistics->lists,
              static_cast<double>(statistics->bytes) / 1e6, static_cast<double>(statistics->memory_bytes) / 1e6,
              static_cast<double>(usage.ru_maxrss) / 1e3);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t count = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 200000;
  const size_t dimensions = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 256;
  std::string path = (std::filesystem::temp_directory_path() / "pg_semantic_bench_XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) return 1;
  EngineOptions options;
  options.path = path;
  auto opened = Engine::open(options);
  require(opened.status());
  Engine& engine = **opened;
  Source source(dimensions);
  std::vector<std::vector<float>> vectors(count), queries(500);
  for (auto& vector : vectors) vector = source.next();
  for (auto& query : queries) query = source.next();

  GenerationOptions built;
  built.building = true;
  require(engine.apply(encode_create(1, built), false));
  insert_all(engine, 1, vectors, 1000, "collecting");
  auto start = Clock::now();
  BuildProgress progress;
  uint32_t phase = 0;
  auto phase_start = start;
  require(engine.finish_build(1, &progress, [&] {
    if (progress.phase != phase) {
      if (phase != 0) std::printf("  phase %u: %.2f s\n", phase, seconds_since(phase_start));
      phase = progress.phase;
      phase_start = Clock::now();
    }
    return false;
  }));
  std::printf("  phase %u: %.2f s\n", phase, seconds_since(phase_start));
  std::printf("build of %zu x %zu: %.2f s\n", count, dimensions, seconds_since(start));
  describe(engine, 1);
  for (const float recall : {0.9f, 0.95f, 0.99f, 1.0f}) search_all(engine, 1, queries, recall);

  require(engine.apply(encode_create(2, {}), false));
  insert_all(engine, 2, vectors, 100, "growing");
  engine.wait_for_maintenance();
  describe(engine, 2);
  for (const float recall : {0.9f, 0.95f, 0.99f}) search_all(engine, 2, queries, recall);
  start = Clock::now();
  const auto problems = engine.check(2, {});
  require(problems.status());
  std::printf("check: %zu problems, %.2f s\n", problems->size(), seconds_since(start));
  opened = Status(StatusCode::kCancelled, "closed");
  std::filesystem::remove_all(path);
  return 0;
}
