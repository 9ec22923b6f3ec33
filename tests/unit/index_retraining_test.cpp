// Lists of a grown index, trained anew: what they are then, that nothing is lost on the way,
// wherever it ends, and that searches and changes go on meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "index/list_reader.h"
#include "index/retraining.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr size_t kDimensions = 16, kClusters = 40;

// Lists as those of this Tuning, but never trained anew.
Tuning never_trained() {
  Tuning tuning = small_lists();
  tuning.exact_vectors = 1'000'000;
  return tuning;
}

std::vector<Vector> some_vectors(uint64_t seed, size_t count) {
  return clustered_vectors(seed, count, kDimensions, kClusters);
}

void build_a_tenth_and_grow(Engine& engine, GenerationId generation, const std::vector<Vector>& vectors,
                            Metric metric = Metric::kCosine, Codec codec = Codec::kBit) {
  const size_t tenth = vectors.size() / 10;
  ASSERT_OK(create(engine, generation, metric, codec, true));
  ASSERT_OK(insert(engine, generation, {vectors.begin(), vectors.begin() + static_cast<std::ptrdiff_t>(tenth)}));
  ASSERT_OK(engine.finish_build(generation, nullptr, {}));
  ASSERT_OK(insert(engine, generation, {vectors.begin() + static_cast<std::ptrdiff_t>(tenth), vectors.end()}, tenth + 1,
                   100));
  engine.wait_for_maintenance();
}

std::vector<RowId> rows_of(const Engine& engine, GenerationId generation) {
  std::vector<RowId> rows;
  const auto listed = engine.list_rows(generation, 0, 1'000'000);
  EXPECT_TRUE(listed.is_ok());
  if (listed.is_ok()) {
    for (const ListedRow& row : *listed) rows.push_back(row.row);
  }
  return rows;
}

// The mean of vectors' squared distances to the centroids of their lists, and the share of vectors to whose own no
// other is nearer.
struct Fit {
  double error = 0;
  double share = 0;
};
Fit fit_of(const TemporaryDirectory& directory, GenerationId generation) {
  const auto storage = storage_of(directory);
  const ReadView view{generation, load_list_table(*storage, generation, nullptr).value(),
                      std::make_shared<const Snapshot>(*storage)};
  const ListTable& table = *view.table;
  ListReader reader(*storage, view);
  Fit fit;
  size_t count = 0;
  Vector vector(kDimensions);
  for (const ListRef& list : table.lists) {
    const Status read = reader.for_each(list, [&](RowId, const std::byte* stored) {
      table.layout.decode_vector(stored, vector.data());
      double own = 0, least = INFINITY;
      for (const ListRef& other : table.lists) {
        const float* centroid = table.centroid(other);
        const double distance = exact_distance(Metric::kL2, vector, {centroid, centroid + kDimensions});
        least = std::min(least, distance);
        if (other.id == list.id) own = distance;
      }
      fit.error += own * own;
      fit.share += own <= least * (1 + 1e-5) ? 1 : 0;
      ++count;
      return Status::ok();
    });
    EXPECT_TRUE(read.is_ok()) << text_of(read);
  }
  return {fit.error / static_cast<double>(count), fit.share / static_cast<double>(count)};
}

TEST(IndexRetraining, ListsOfAGrownIndexFitItsVectorsAsThoseOfABuildDo) {
  TemporaryDirectory directory;
  // What comes is of other kinds than what was there.
  auto vectors = some_vectors(1, 2000);
  for (const Vector& vector : some_vectors(20, 18000)) vectors.push_back(vector);
  {
    const auto engine = open_or_fail(directory.path(), never_trained());
    build_a_tenth_and_grow(*engine, 2, vectors);
  }
  EXPECT_EQ(table_of(directory, 2)->catalog.trained, 2000u);
  const Fit split = fit_of(directory, 2);
  {
    const auto engine = open_or_fail(directory.path(), small_lists());
    ASSERT_OK(create(*engine, 1, Metric::kCosine, Codec::kBit, true));
    ASSERT_OK(insert(*engine, 1, vectors));
    ASSERT_OK(engine->finish_build(1, nullptr, {}));
    ASSERT_TRUE(engine->search({.generation = 2, .query = vectors[0]}, {}).is_ok());  // it is looked after from now on
    engine->wait_for_maintenance();
    EXPECT_EQ(problems_of(*engine, 2), std::vector<std::string>());
    EXPECT_EQ(rows_of(*engine, 2).size(), vectors.size());
  }
  const auto trained = table_of(directory, 2), built = table_of(directory, 1);
  EXPECT_EQ(trained->catalog.trained, vectors.size());
  ASSERT_TRUE(trained->calibration);
  EXPECT_EQ(trained->calibration->vectors, vectors.size());
  EXPECT_NEAR(static_cast<double>(trained->lists.size()), static_cast<double>(built->lists.size()),
              0.1 * static_cast<double>(built->lists.size()));
  for (const ListRef& list : trained->lists) {
    EXPECT_EQ(list.sizes.blocks(), 1u);
    EXPECT_LE(list.live(), 64u);
  }
  const Fit fit = fit_of(directory, 2), goal = fit_of(directory, 1);
  EXPECT_GT(split.error, 1.02 * goal.error) << "splits do as well by themselves";
  EXPECT_LE(fit.error, 1.005 * goal.error);
  EXPECT_GE(fit.share, 0.999);
}

TEST(IndexRetraining, IsDueAfterFourfoldGrowthOrTwofoldWhenSettled) {
  ListTable table;
  const Tuning tuning = small_lists();
  const auto due = [&](uint64_t trained, uint64_t vectors, bool settled) {
    table.catalog.trained = trained;
    table.catalog.vectors = vectors;
    return needs_retraining(table, tuning, settled);
  };
  EXPECT_FALSE(due(0, 1'000'000, true)) << "there are no lists";
  table.store = std::make_shared<CentroidStore>(kDimensions);
  EXPECT_FALSE(due(10000, 19999, true));
  EXPECT_TRUE(due(10000, 20000, true));
  EXPECT_FALSE(due(10000, 39999, false));
  EXPECT_TRUE(due(10000, 40000, false));
  EXPECT_FALSE(due(0, 1999, true)) << "small ones are searched whole";
  EXPECT_TRUE(due(0, 2000, true));
  table.catalog.options.building = true;
  EXPECT_FALSE(due(10000, 40000, true));
}

// Whichever step is the last one.
TEST(IndexRetraining, CutOffAnywhereNothingIsLostAndItBeginsAnew) {
  TemporaryDirectory directory;
  const auto vectors = some_vectors(2, 6000), queries = some_vectors(3, 10);
  {
    const auto engine = open_or_fail(directory.path(), never_trained());
    build_a_tenth_and_grow(*engine, 1, vectors);
  }
  bool done = false;
  for (int polls = 1; !done; polls += 1 + polls / 3) {
    {
      const auto storage = storage_of(directory);
      Generation generation(1);
      int left = polls;
      const Status status = retrain_lists(*storage, small_lists(), &generation, [&] { return --left < 0; });
      done = status.is_ok();
      EXPECT_TRUE(done || status.code() == StatusCode::kCancelled) << text_of(status);
      EXPECT_FALSE(generation.retrained_from);
    }
    const auto table = table_of(directory, 1);
    EXPECT_EQ(table->catalog.trained, done ? vectors.size() : 600);
    const auto engine = open_or_fail(directory.path(), never_trained());
    EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>()) << polls;
    EXPECT_EQ(rows_of(*engine, 1).size(), vectors.size());
    EXPECT_EQ(recall_of(*engine, 1, Metric::kCosine, vectors, queries, 10, 1), 1) << polls;
    engine->wait_for_maintenance();
    EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>()) << polls;
    EXPECT_LE(engine->statistics(1)->lists, vectors.size() / 20) << "lists without entries stay";
  }
}

TEST(IndexRetraining, EveryMetricAndCodec) {
  TemporaryDirectory directory;
  const auto vectors = some_vectors(4, 6000), queries = some_vectors(5, 100);
  GenerationId generation = 0;
  const auto engine = open_or_fail(directory.path(), small_lists());
  for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
    for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8, Codec::kBit}) {
      build_a_tenth_and_grow(*engine, ++generation, vectors, metric, codec);
      EXPECT_EQ(problems_of(*engine, generation), std::vector<std::string>());
      EXPECT_EQ(rows_of(*engine, generation).size(), vectors.size());
      EXPECT_GE(recall_of(*engine, generation, metric, vectors, queries, 10, 0.9f), 0.86) << generation;
    }
  }
}

TEST(IndexRetraining, WithAGraphOfCentroids) {
  TemporaryDirectory directory;
  Tuning tuning = small_lists();
  tuning.graph_lists = 20;
  tuning.distances_per_walk = 4;  // also for many lists of few
  const auto vectors = some_vectors(6, 10000), queries = some_vectors(7, 100);
  const auto engine = open_or_fail(directory.path(), tuning);
  build_a_tenth_and_grow(*engine, 1, vectors);
  EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
  EXPECT_GE(recall_of(*engine, 1, Metric::kCosine, vectors, queries, 10, 0.95f), 0.92);
  const auto statistics = engine->statistics(1).value();
  EXPECT_LE(statistics.memory_bytes, statistics.lists * (2 * kDimensions * sizeof(float) + 70 * sizeof(int) + 200))
      << "centroids that are gone stay in memory";
}

TEST(IndexRetraining, ADamagedListKeepsWhatItHas) {
  TemporaryDirectory directory;
  {
    const auto engine = open_or_fail(directory.path(), never_trained());
    build_a_tenth_and_grow(*engine, 1, some_vectors(8, 6000));
  }
  ListId damaged = 0;
  {
    const auto storage = storage_of(directory);
    const auto table = load_list_table(*storage, 1, nullptr).value();
    damaged = table->lists[table->lists.size() / 2].id;
    rocksdb::WriteBatch batch;
    ASSERT_TRUE(batch.Put(storage->family(Family::kVectors), block_key(1, damaged, 0), "damaged").ok());
    ASSERT_OK(storage->write(&batch));
    Generation generation(1);
    ASSERT_OK(retrain_lists(*storage, small_lists(), &generation, {}));
    EXPECT_EQ(generation.damaged, std::set<ListId>{damaged});
  }
  const auto table = table_of(directory, 1);
  EXPECT_EQ(table->catalog.trained, 6000u);
  EXPECT_EQ(table->lists.front().id, damaged) << "all others have new numbers";
}

// Rows come and go, and are searched, while lists are trained, more than once.
TEST(IndexRetraining, ChangesGoOnMeanwhile) {
  constexpr RowId kFixed = 400, kRows = 12000;
  TemporaryDirectory directory;
  const auto vectors = some_vectors(9, kRows);
  std::set<RowId> expected;
  {
    const auto engine = open_or_fail(directory.path(), small_lists(), 1);
    ASSERT_OK(create(*engine, 1));
    std::atomic<bool> stop{false};
    std::thread reader;
    std::mt19937_64 random(10);
    std::vector<RowId> gone;
    for (RowId row = 1; row <= kRows; row += 20) {
      ASSERT_OK(insert(*engine, 1,
                       {vectors.begin() + static_cast<std::ptrdiff_t>(row - 1),
                        vectors.begin() + static_cast<std::ptrdiff_t>(row + 19)},
                       row));
      for (RowId i = row; i < row + 20; ++i) expected.insert(i);
      if (row == kFixed + 1) {
        reader = std::thread([&] {
          while (!stop) {
            const auto result = engine->search({.generation = 1, .query = vectors[5], .k = 100000}, {});
            ASSERT_TRUE(result.is_ok()) << text_of(result.status());
            std::set<RowId> rows;
            for (const SearchHit& hit : result->hits) ASSERT_TRUE(rows.insert(hit.row).second) << hit.row;
            for (RowId fixed = 1; fixed <= kFixed; ++fixed) ASSERT_TRUE(rows.contains(fixed)) << fixed;
          }
        });
      }
      if (row < kFixed) continue;
      gone.clear();
      for (int i = 0; i < 5; ++i) {
        const RowId one = kFixed + 1 + random() % (row + 19 - kFixed);
        if (expected.erase(one) > 0) gone.push_back(one);
      }
      ASSERT_OK(engine->apply(encode_delete(1, gone), false));
    }
    engine->wait_for_maintenance();
    stop = true;
    reader.join();
    EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
    EXPECT_EQ(rows_of(*engine, 1), std::vector<RowId>(expected.begin(), expected.end()));
  }
  EXPECT_GE(2 * table_of(directory, 1)->catalog.trained, expected.size());
}

}  // namespace
}  // namespace pg_semantic::index::testing
