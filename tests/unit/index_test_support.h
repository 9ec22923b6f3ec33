// What the tests of the index share: a directory that goes away, changes in one
// call, vectors, and exact search written without the index's code.
#ifndef PG_SEMANTIC_TESTS_UNIT_INDEX_TEST_SUPPORT_H
#define PG_SEMANTIC_TESTS_UNIT_INDEX_TEST_SUPPORT_H

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "index/list_table.h"
#include "index/tuning.h"

namespace pg_semantic::index::testing {

using Vector = std::vector<float>;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "pg_semantic_index_XXXXXX").string();
    path_ = ::mkdtemp(name.data()) != nullptr ? name : "";
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  std::string path_;
};

inline std::string text_of(const Status& status) { return status.message() + " / " + status.detail(); }

#define ASSERT_OK(expression)                                                                      \
  do {                                                                                             \
    const ::pg_semantic::Status status_in_test = (expression);                                     \
    ASSERT_TRUE(status_in_test.is_ok()) << ::pg_semantic::index::testing::text_of(status_in_test); \
  } while (false)

inline std::unique_ptr<Engine> open_or_fail(const std::string& path, const Tuning& tuning = {}, uint32_t threads = 2) {
  EngineOptions options;
  options.path = path;
  options.memory_bytes = 64 << 20;
  options.threads = threads;
  Result<std::unique_ptr<Engine>> engine = open_engine(options, tuning);
  EXPECT_TRUE(engine.is_ok()) << text_of(engine.status());
  return engine.is_ok() ? std::move(*engine) : nullptr;
}

inline ContentHash hash_of(uint64_t value) {
  ContentHash hash{};
  for (size_t i = 0; i < 8; ++i) hash[i] = static_cast<std::byte>(value >> (8 * i));
  return hash;
}

inline Status create(Engine& engine, GenerationId generation, Metric metric = Metric::kCosine,
                     Codec codec = Codec::kBit, bool building = false) {
  GenerationOptions options;
  options.metric = metric;
  options.codec = codec;
  options.building = building;
  return engine.apply(encode_create(generation, options), false);
}

// Rows are numbered from `first_row`; their hash is their number.
inline Status insert(Engine& engine, GenerationId generation, const std::vector<Vector>& vectors, RowId first_row = 1,
                     size_t batch = 1000) {
  for (size_t first = 0; first < vectors.size(); first += batch) {
    std::vector<RowChange> rows;
    for (size_t i = first; i < std::min(first + batch, vectors.size()); ++i)
      rows.push_back({first_row + i, RowKind::kVector, hash_of(first_row + i), vectors[i]});
    PG_SEMANTIC_RETURN_IF_ERROR(engine.apply(encode_insert(generation, rows), false));
  }
  return Status::ok();
}

inline Vector random_vector(std::mt19937_64& random, size_t dimensions) {
  std::normal_distribution<float> normal;
  Vector vector(dimensions);
  for (float& value : vector) value = normal(random);
  return vector;
}

// Vectors around `clusters` centres, themselves in a space of few dimensions, as
// embeddings are.
inline std::vector<Vector> clustered_vectors(uint64_t seed, size_t count, size_t dimensions, size_t clusters,
                                             float spread = 0.6f) {
  std::mt19937_64 random(seed);
  std::mt19937_64 centre_random(97);
  std::vector<Vector> centres;
  for (size_t i = 0; i < clusters; ++i) centres.push_back(random_vector(centre_random, dimensions));
  std::normal_distribution<float> normal;
  std::vector<Vector> vectors(count);
  for (Vector& vector : vectors) {
    vector = centres[random() % clusters];
    for (float& value : vector) value += spread * normal(random);
  }
  return vectors;
}

inline double exact_distance(Metric metric, const Vector& a, const Vector& b) {
  long double product = 0, difference = 0, norm_a = 0, norm_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += static_cast<long double>(a[i]) * b[i];
    difference += (static_cast<long double>(a[i]) - b[i]) * (static_cast<long double>(a[i]) - b[i]);
    norm_a += static_cast<long double>(a[i]) * a[i];
    norm_b += static_cast<long double>(b[i]) * b[i];
  }
  switch (metric) {
    case Metric::kL2:
      return static_cast<double>(std::sqrt(difference));
    case Metric::kInnerProduct:
      return static_cast<double>(-product);
    case Metric::kCosine:
      break;
  }
  return static_cast<double>(1 - product / std::sqrt(norm_a * norm_b));
}

// Ascending distances of all vectors; row = position + 1.
inline std::vector<std::pair<double, RowId>> exact_search(Metric metric, const std::vector<Vector>& vectors,
                                                          const Vector& query) {
  std::vector<std::pair<double, RowId>> result;
  for (size_t i = 0; i < vectors.size(); ++i) result.emplace_back(exact_distance(metric, vectors[i], query), i + 1);
  std::sort(result.begin(), result.end());
  return result;
}

// Share of the true `k` nearest found, counting distances as equal that storing
// may have made so.  Distances of all hits must be right up to the error they give.
inline double recall_of(const Engine& engine, GenerationId generation, Metric metric,
                        const std::vector<Vector>& vectors, const std::vector<Vector>& queries, uint32_t k,
                        float recall) {
  uint64_t found = 0;
  for (const Vector& query : queries) {
    const auto truth = exact_search(metric, vectors, query);
    SearchRequest request;
    request.generation = generation;
    request.query = query;
    request.k = k;
    request.recall = recall;
    Result<SearchResult> result = engine.search(request, {});
    EXPECT_TRUE(result.is_ok()) << text_of(result.status());
    if (!result) return 0;
    EXPECT_EQ(result->hits.size(), std::min<size_t>(k, vectors.size()));
    const double farthest = truth[std::min<size_t>(k, truth.size()) - 1].first;
    for (const SearchHit& hit : result->hits) {
      const double expected = exact_distance(metric, vectors[hit.row - 1], query);
      EXPECT_NEAR(hit.distance, expected, hit.error + 1e-9 * std::max(1.0, std::fabs(expected)));
      EXPECT_EQ(hit.hash, hash_of(hit.row));
      found += expected <= farthest + 2 * hit.error + 1e-12 ? 1 : 0;
    }
  }
  return static_cast<double>(found) / static_cast<double>(queries.size() * k);
}

inline std::vector<std::string> problems_of(const Engine& engine, GenerationId generation) {
  Result<std::vector<std::string>> problems = engine.check(generation, {});
  if (!problems) return {text_of(problems.status())};
  return *problems;
}

// Splits, measurements and training with a few thousand vectors.
inline Tuning small_lists() {
  Tuning tuning;
  tuning.list_limit = 64;
  tuning.list_floor = 6;
  tuning.built_list_entries = 32;
  tuning.exact_vectors = 500;
  tuning.calibration_samples = 512;
  return tuning;
}

// Nobody has the directory open.
inline std::unique_ptr<Storage> storage_of(const TemporaryDirectory& directory) {
  EngineOptions options;
  options.path = directory.path();
  Result<std::unique_ptr<Storage>> storage = Storage::open(options);
  EXPECT_TRUE(storage.is_ok()) << text_of(storage.status());
  return storage.is_ok() ? std::move(*storage) : nullptr;
}

inline std::shared_ptr<ListTable> table_of(const TemporaryDirectory& directory, GenerationId generation) {
  const auto storage = storage_of(directory);
  Result<std::shared_ptr<ListTable>> table = load_list_table(*storage, generation, nullptr);
  EXPECT_TRUE(table.is_ok()) << text_of(table.status());
  return table.is_ok() ? *table : std::make_shared<ListTable>();
}

inline std::filesystem::path shared_data() {
  const char* shared = std::getenv("PG_SEMANTIC_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : "../shared") / "data";
}

}  // namespace pg_semantic::index::testing

#endif  // PG_SEMANTIC_TESTS_UNIT_INDEX_TEST_SUPPORT_H
