// Times the index engine alone: build, search at several recalls, alone and in batches, memory; growth
// from nothing, and tenfold from a built index, beside a build of the same vectors; deleting.
// Usage: index_bench [vectors [dimensions [FILE]]]
//
// Vectors are those of FILE (floats, one vector after the other; 500 more than are
// indexed serve as queries), or clustered synthetic ones.  Prints one line a
// measurement; nothing is judged.  In the environment: BUILD_ONLY=1 leaves growth out;
// BUILD_MEMORY=MEGABYTES bounds the build's memory (64), INDEX_MEMORY=MEGABYTES cache and write buffers (256).
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "index/engine.h"

namespace {

using namespace pg_semantic;
using namespace pg_semantic::index;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Of the calling thread: what others on the machine do counts little.
double processor_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

uint64_t bytes_of_setting(const char* name, uint64_t megabytes) {
  const char* value = std::getenv(name);
  return (value != nullptr ? std::strtoull(value, nullptr, 10) : megabytes) << 20;
}

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
                const char* what, size_t from = 0) {
  std::vector<double> times;
  const auto start = Clock::now();
  const double processor_start = processor_milliseconds();
  for (size_t first = from; first < vectors.size(); first += batch) {
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
  const auto rows = static_cast<double>(vectors.size() - from);
  std::printf(
      "%s, batches of %zu: %.0f rows/s, %.1f us of this thread a row; a batch p50 %.2f ms, p99 %.2f ms, most %.1f ms\n",
      what, batch, rows / total, (processor_milliseconds() - processor_start) * 1000 / rows, times[times.size() / 2],
      times[times.size() * 99 / 100], times.back());
}

constexpr size_t kQueries = 500;

std::vector<RowId> search_one(Engine& engine, GenerationId generation, const std::vector<float>& query, float recall) {
  SearchRequest request;
  request.generation = generation;
  request.query = query;
  request.recall = recall;
  const auto result = engine.search(request, {});
  require(result.status());
  std::vector<RowId> rows;
  for (const SearchHit& hit : result->hits) rows.push_back(hit.row);
  return rows;
}

using Truth = std::vector<std::vector<RowId>>;

Truth search_exactly(Engine& engine, GenerationId generation, const std::vector<std::vector<float>>& queries) {
  Truth truth;
  const auto start = Clock::now();
  for (const auto& query : queries) truth.push_back(search_one(engine, generation, query, 1));
  std::printf("exact search: %.3f ms\n", seconds_since(start) * 1000 / static_cast<double>(queries.size()));
  return truth;
}

void search_all(Engine& engine, GenerationId generation, const std::vector<std::vector<float>>& queries,
                const Truth& truth, float recall) {
  std::vector<double> times;
  size_t found = 0;
  for (int pass = 0; pass < 2; ++pass) {
    times.clear();
    found = 0;
    for (size_t i = 0; i < queries.size(); ++i) {
      const auto before = Clock::now();
      const std::vector<RowId> rows = search_one(engine, generation, queries[i], recall);
      times.push_back(seconds_since(before) * 1000);
      for (const RowId row : rows) found += std::find(truth[i].begin(), truth[i].end(), row) != truth[i].end() ? 1 : 0;
    }
  }
  std::sort(times.begin(), times.end());
  const auto measured = engine.measure_recall(generation, 10, 200, recall, {});
  require(measured.status());
  std::printf(
      "search at recall %.3f: p50 %.3f ms, p99 %.3f ms; recall@10 of held-out queries %.4f, of its own vectors %.4f\n",
      static_cast<double>(recall), times[times.size() / 2], times[times.size() * 99 / 100],
      static_cast<double>(found) / static_cast<double>(10 * queries.size()), static_cast<double>(*measured));
}

// All queries in batches of several sizes, in turns; what a query takes of the processor and from files.
void search_batches(Engine& engine, GenerationId generation, const std::vector<std::vector<float>>& queries,
                    float recall) {
  constexpr size_t kSizes[] = {1, 16, 100, 500};
  std::vector<SearchRequest> requests;
  for (const auto& query : queries) requests.push_back({.generation = generation, .query = query, .recall = recall});
  std::vector<double> times[std::size(kSizes)];
  uint64_t reads[std::size(kSizes)] = {};
  for (int pass = 0; pass < 5; ++pass) {
    for (size_t which = 0; which < std::size(kSizes); ++which) {
      const uint64_t reads_before = engine.statistics(generation).value().disk_reads;
      const double before = processor_milliseconds();
      for (size_t first = 0; first < requests.size(); first += kSizes[which]) {
        const size_t count = std::min(kSizes[which], requests.size() - first);
        require(engine.search_batch({requests.data() + first, count}, {}).status());
      }
      times[which].push_back((processor_milliseconds() - before) / static_cast<double>(requests.size()));
      reads[which] = engine.statistics(generation).value().disk_reads - reads_before;
    }
  }
  std::printf("batches at recall %.3f, of the processor and blocks from files a query:", static_cast<double>(recall));
  for (size_t which = 0; which < std::size(kSizes); ++which) {
    std::sort(times[which].begin(), times[which].end());
    std::printf("%s of %zu %.3f ms, %.1f", which == 0 ? "" : ";", kSizes[which], times[which][times[which].size() / 2],
                static_cast<double>(reads[which]) / static_cast<double>(requests.size()));
  }
  std::printf("\n");
}

// Searches of two indexes over the same vectors, in turns; then what the second takes for the recall of the first.
void compare(Engine& engine, GenerationId built, GenerationId grown, const std::vector<std::vector<float>>& queries,
             const Truth& truth) {
  constexpr int kPasses = 4;
  struct Point {
    double recall, median;
  };
  std::vector<Point> points[2];
  const GenerationId generations[2] = {built, grown};
  for (const float recall : {0.75f, 0.8f, 0.85f, 0.9f, 0.925f, 0.95f, 0.97f, 0.98f, 0.99f, 0.995f}) {
    std::vector<double> times[2], processor[2];
    size_t found[2] = {};
    for (size_t turn = 0; turn < kPasses * 2 * queries.size(); ++turn) {
      const size_t i = turn / 2 % queries.size(), which = (turn + turn / 2 + turn / 2 / queries.size()) % 2;
      const auto before = Clock::now();
      const double processor_before = processor_milliseconds();
      const std::vector<RowId> rows = search_one(engine, generations[which], queries[i], recall);
      processor[which].push_back(processor_milliseconds() - processor_before);
      times[which].push_back(seconds_since(before) * 1000);
      for (const RowId row : rows)
        found[which] += std::find(truth[i].begin(), truth[i].end(), row) != truth[i].end() ? 1 : 0;
    }
    for (size_t which = 0; which < 2; ++which) {
      std::sort(times[which].begin(), times[which].end());
      std::sort(processor[which].begin(), processor[which].end());
      const auto at = [](const std::vector<double>& sorted, size_t percent) {
        return sorted[sorted.size() * percent / 100];
      };
      const double share = static_cast<double>(found[which]) / static_cast<double>(10 * kPasses * queries.size());
      points[which].push_back({share, at(processor[which], 50)});
      std::printf("%s at recall %.3f: p50 %.3f ms, p99 %.3f ms; of the processor p50 %.3f, p99 %.3f; recall@10 %.4f\n",
                  which == 0 ? "built" : "grown", static_cast<double>(recall), at(times[which], 50),
                  at(times[which], 99), at(processor[which], 50), at(processor[which], 99), share);
    }
  }
  // Between two points the logarithm of the time is about linear in the recall.
  std::printf("grown / built, processor p50 at the built one's recall:");
  for (const Point& point : points[0]) {
    for (size_t i = 0; i + 1 < points[1].size(); ++i) {
      const Point &low = points[1][i], &high = points[1][i + 1];
      if (point.recall < low.recall || point.recall > high.recall || low.recall == high.recall) continue;
      const double share = (point.recall - low.recall) / (high.recall - low.recall);
      std::printf(" %.3f: %.3f", point.recall,
                  std::exp(std::log(low.median) * (1 - share) + std::log(high.median) * share) / point.median);
      break;
    }
  }
  std::printf("\n");
}

// Anonymous memory of this process in megabytes.
double anonymous_megabytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::strtod(line.c_str() + 8, nullptr) / 1024;
  }
  return 0;
}

// Looks at it while it lives.
class MemoryPeak {
 public:
  ~MemoryPeak() {
    stopping_ = true;
    thread_.join();
  }
  [[nodiscard]] double megabytes() const { return peak_; }

 private:
  std::atomic<bool> stopping_{false};
  std::atomic<double> peak_{0};
  std::thread thread_{[this] {
    while (!stopping_) {
      peak_ = std::max(peak_.load(), anonymous_megabytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  }};
};

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
  options.memory_bytes = bytes_of_setting("INDEX_MEMORY", 256);
  auto opened = Engine::open(options);
  require(opened.status());
  Engine& engine = **opened;
  std::vector<std::vector<float>> vectors(count), queries(kQueries);
  if (argc > 3) {
    std::ifstream file(argv[3], std::ios::binary);
    const auto read = [&](std::vector<float>& vector) {
      vector.resize(dimensions);
      if (!file.read(reinterpret_cast<char*>(vector.data()), static_cast<std::streamsize>(dimensions * sizeof(float))))
        require({StatusCode::kInvalidArgument, "the file of vectors is too short"});
    };
    for (auto& query : queries) read(query);
    for (auto& vector : vectors) read(vector);
  } else {
    Source source(dimensions);
    for (auto& vector : vectors) vector = source.next();
    for (auto& query : queries) query = source.next();
  }

  GenerationOptions built;
  built.building = true;
  require(engine.apply(encode_create(1, built), false));
  insert_all(engine, 1, vectors, 1000, "collecting");
  const BuildRequest request = {.generation = 1, .memory_bytes = bytes_of_setting("BUILD_MEMORY", 64)};
  const double memory_before = anonymous_megabytes();
  const MemoryPeak peak;
  auto start = Clock::now();
  BuildProgress progress;
  uint32_t phase = 0;
  auto phase_start = start;
  require(engine.finish_build(request, &progress, [&] {
    if (progress.phase != phase) {
      if (phase != 0) std::printf("  phase %u: %.2f s\n", phase, seconds_since(phase_start));
      phase = progress.phase;
      phase_start = Clock::now();
    }
    return false;
  }));
  std::printf("  phase %u: %.2f s\n", phase, seconds_since(phase_start));
  std::printf("build of %zu x %zu: %.2f s\n", count, dimensions, seconds_since(start));
  std::printf("anonymous memory: %.0f MB before, at most %.0f MB more in the build, %.0f MB more after it\n",
              memory_before, peak.megabytes() - memory_before, anonymous_megabytes() - memory_before);
  describe(engine, 1);
  Truth truth = search_exactly(engine, 1, queries);
  for (const float recall : {0.8f, 0.9f, 0.95f, 0.99f}) search_all(engine, 1, queries, truth, recall);
  for (const float recall : {0.8f, 0.95f, 0.99f}) search_batches(engine, 1, queries, recall);
  if (std::getenv("BUILD_ONLY")) return 0;

  const auto settle = [&](const char* what) {
    const auto before = Clock::now();
    engine.wait_for_maintenance();
    std::printf("%s settled after %.2f s\n", what, seconds_since(before));
  };
  const auto check = [&](GenerationId generation) {
    const auto before = Clock::now();
    const auto problems = engine.check(generation, {});
    require(problems.status());
    std::printf("check: %zu problems, %.2f s\n", problems->size(), seconds_since(before));
  };
  // The same vectors, a tenth built and the others inserted.
  require(engine.apply(encode_create(2, built), false));
  insert_all(engine, 2, {vectors.begin(), vectors.begin() + static_cast<std::ptrdiff_t>(count / 10)}, 1000,
             "collecting a tenth");
  require(engine.finish_build(2, nullptr, {}));
  insert_all(engine, 2, vectors, 100, "growing tenfold", count / 10);
  settle("growth");
  describe(engine, 2);
  compare(engine, 1, 2, queries, truth);
  check(2);
  if (std::getenv("GROWTH_ONLY")) return 0;

  require(engine.apply(encode_create(3, {}), false));
  insert_all(engine, 3, {vectors.begin(), vectors.begin() + static_cast<std::ptrdiff_t>(count / 2)}, 100,
             "growing a half from nothing");
  insert_all(engine, 3, {vectors.begin(), vectors.begin() + static_cast<std::ptrdiff_t>(count / 2 + count / 50)}, 1,
             "and a few row by row", count / 2);
  settle("growth from nothing");
  describe(engine, 3);

  // Nine rows of ten go.
  std::vector<RowId> gone;
  const auto deleting = Clock::now();
  for (RowId row = 1; row <= count; ++row) {
    if (row % 10 != 0) gone.push_back(row);
    if (gone.size() < 1000 && row < count) continue;
    require(engine.apply(encode_delete(2, gone), false));
    gone.clear();
  }
  std::printf("deleting nine tenths: %.0f rows/s\n", 0.9 * static_cast<double>(count) / seconds_since(deleting));
  settle("deleting");
  describe(engine, 2);
  check(2);
  opened = Status(StatusCode::kCancelled, "closed");
  std::filesystem::remove_all(path);
  return 0;
}
