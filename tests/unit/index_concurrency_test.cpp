// Writers, readers, builds and drops at once.  Run under ThreadSanitizer by
// `make sanitize`.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

Tuning concurrent_tuning() {
  Tuning tuning;
  tuning.list_limit = 40;
  tuning.list_floor = 5;
  tuning.built_list_entries = 20;
  tuning.graph_lists = 60;
  tuning.distances_per_walk = 4;  // also for many lists of few
  tuning.exact_vectors = 500;
  tuning.calibration_samples = 10;
  return tuning;
}

// Rows 1 .. kFixed never change; whatever else happens, every search that reads
// everything must return each of them once.
TEST(IndexConcurrency, RowsNeitherVanishNorDoubleWhileListsSplit) {
  constexpr RowId kFixed = 400;
  constexpr size_t kDimensions = 8;
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path(), concurrent_tuning(), 1);
  ASSERT_OK(create(*engine, 1, Metric::kL2));
  const auto fixed = clustered_vectors(1, kFixed, kDimensions, 6);
  ASSERT_OK(insert(*engine, 1, fixed));
  std::atomic<bool> stop{false};
  std::atomic<int> searches{0};

  const auto write = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    const RowId base = kFixed + 1 + seed * 100000;
    for (int step = 0; step < 60; ++step) {
      const auto vectors = clustered_vectors(random(), 50, kDimensions, 6);
      ASSERT_OK(insert(*engine, 1, vectors, base + random() % 1500));
      std::vector<RowId> gone;
      for (int i = 0; i < 25; ++i) gone.push_back(base + random() % 1500);
      ASSERT_OK(engine->apply(encode_delete(1, gone), step % 20 == 0));
    }
  };
  const auto read = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    while (!stop) {
      const Vector query = fixed[random() % fixed.size()];
      SearchRequest request;
      request.generation = 1;
      request.query = query;
      request.k = random() % 3 == 0 ? 100000 : 20;
      request.recall = random() % 2 == 0 ? 1.0f : 0.9f;
      Result<SearchResult> result = engine->search(request, {});
      ASSERT_TRUE(result.is_ok()) << text_of(result.status());
      std::set<RowId> rows;
      for (const SearchHit& hit : result->hits) ASSERT_TRUE(rows.insert(hit.row).second) << hit.row;
      if (request.k == 100000) {
        ASSERT_TRUE(result->exhausted);
        for (RowId row = 1; row <= kFixed; ++row) ASSERT_TRUE(rows.contains(row)) << row;
      } else if (request.recall == 1.0f) {
        ASSERT_LE(result->hits.front().distance, result->hits.front().error);  // the query is a fixed row's vector
      }
      ++searches;
    }
  };
  const auto watch = [&] {
    while (!stop) {
      ASSERT_EQ(problems_of(*engine, 1), std::vector<std::string>());
      ASSERT_TRUE(engine->statistics(1).is_ok());
      ASSERT_TRUE(engine->measure_recall(1, 5, 5, 0.9f, {}).is_ok());
    }
  };
  std::vector<std::thread> readers;
  for (uint64_t seed = 0; seed < 2; ++seed) readers.emplace_back(read, seed);
  readers.emplace_back(watch);
  std::vector<std::thread> writers;
  for (uint64_t seed = 0; seed < 2; ++seed) writers.emplace_back(write, seed);
  for (std::thread& writer : writers) writer.join();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(searches, 0);
  engine->wait_for_maintenance();
  EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
}

TEST(IndexConcurrency, GenerationsComeAndGoUnderSearches) {
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path(), concurrent_tuning(), 1);
  const auto vectors = clustered_vectors(2, 800, 8, 6);
  std::atomic<bool> stop{false};
  const auto come_and_go = [&](GenerationId generation) {
    for (int round = 0; round < 6; ++round) {
      const bool building = round % 2 == 0;
      ASSERT_OK(create(*engine, generation, Metric::kCosine, Codec::kSq8, building));
      ASSERT_OK(insert(*engine, generation, vectors, 1, 200));
      ASSERT_OK(engine->finish_build(generation, nullptr, {}));
      ASSERT_OK(engine->apply(encode_drop(generation), false));
    }
  };
  const auto read = [&] {
    for (uint64_t i = 0; !stop; ++i) {
      SearchRequest request;
      request.generation = 1 + i % 2;
      request.query = vectors[i % vectors.size()];
      request.k = i % 5 == 0 ? 5000 : 10;
      Result<SearchResult> result = engine->search(request, {});
      const StatusCode code = result.status().code();  // kBehind: it is being built
      ASSERT_TRUE(result.is_ok() || code == StatusCode::kNotFound || code == StatusCode::kBehind)
          << text_of(result.status());
      (void)engine->generations();
    }
  };
  std::thread reader(read), one(come_and_go, 1), two(come_and_go, 2);
  one.join();
  two.join();
  stop = true;
  reader.join();
  EXPECT_TRUE(engine->generations().empty());
}

}  // namespace
}  // namespace pg_semantic::index::testing
