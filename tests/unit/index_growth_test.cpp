// An index that grows and shrinks: what the background makes of it, that it goes on after a
// restart, gives space back, and stops when it should.
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <set>
#include <thread>

#include "index/list_table.h"
#include "index/maintenance.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr size_t kDimensions = 16, kClusters = 40;
const uint32_t kLimit = small_lists().list_limit;

std::vector<Vector> some_vectors(uint64_t seed, size_t count) {
  return clustered_vectors(seed, count, kDimensions, kClusters);
}

std::vector<Vector> part_of(const std::vector<Vector>& vectors, size_t first, size_t last) {
  return {vectors.begin() + static_cast<std::ptrdiff_t>(first), vectors.begin() + static_cast<std::ptrdiff_t>(last)};
}

uint32_t longest_list(const ListTable& table) {
  uint32_t longest = 0;
  for (const ListRef& list : table.lists) longest = std::max(longest, list.live());
  return longest;
}

// A search reads the list table, and so finds what there is to do.
void use(const Engine& engine, GenerationId generation) {
  const Vector query(kDimensions, 1.0f);
  EXPECT_TRUE(engine.search({.generation = generation, .query = query}, {}).is_ok());
}

void build(Engine& engine, GenerationId generation, const std::vector<Vector>& vectors) {
  ASSERT_OK(create(engine, generation, Metric::kCosine, Codec::kBit, true));
  ASSERT_OK(insert(engine, generation, vectors));
  ASSERT_OK(engine.finish_build(generation, nullptr, {}));
}

double cost_at(const Calibration& calibration, float recall) {
  for (const Calibration::Point& point : calibration.points) {
    if (point.recall >= recall) return double{point.cost};
  }
  return 0;
}

TEST(IndexGrowth, TenfoldIsLikeABuildOfTheSame) {
  TemporaryDirectory directory;
  const auto vectors = some_vectors(1, 20000);
  {
    const auto engine = open_or_fail(directory.path(), small_lists());
    build(*engine, 1, vectors);
    build(*engine, 2, part_of(vectors, 0, 2000));
    ASSERT_OK(insert(*engine, 2, part_of(vectors, 2000, vectors.size()), 2001, 100));
    engine->wait_for_maintenance();
    EXPECT_EQ(problems_of(*engine, 2), std::vector<std::string>());
    const auto queries = some_vectors(2, 200);
    // Both keep what was asked for; a standard deviation of so many queries' recall is 0.012 at 0.8.
    for (const GenerationId generation : {1, 2}) {
      for (const float recall : {0.8f, 0.95f})
        EXPECT_GE(recall_of(*engine, generation, Metric::kCosine, vectors, queries, 10, recall), recall - 0.04)
            << recall << ", generation " << generation;
    }
    const auto built = engine->statistics(1).value(), grown = engine->statistics(2).value();
    EXPECT_EQ(grown.vectors, built.vectors);
    EXPECT_NEAR(grown.lists, built.lists, 0.1 * built.lists);
    EXPECT_LE(static_cast<double>(grown.bytes), 1.2 * static_cast<double>(built.bytes) + 1e6);
  }
  const auto built = table_of(directory, 1), grown = table_of(directory, 2);
  EXPECT_LE(longest_list(*grown), kLimit);
  for (const ListRef& list : grown->lists) {
    EXPECT_EQ(list.sizes.blocks(), 1u);
    EXPECT_LE(list.dead, list.entries / 8);
  }
  ASSERT_TRUE(built->calibration);
  ASSERT_TRUE(grown->calibration);
  EXPECT_EQ(grown->calibration->vectors, vectors.size());
  EXPECT_LE(cost_at(*grown->calibration, 0.9f), 1.1 * cost_at(*built->calibration, 0.9f));
}

TEST(IndexGrowth, RecallIsMeasuredAgainOnceAQuarterHasCome) {
  TemporaryDirectory directory;
  const auto vectors = some_vectors(3, 3000);
  {
    const auto engine = open_or_fail(directory.path(), small_lists());
    build(*engine, 1, part_of(vectors, 0, 2000));
    ASSERT_OK(insert(*engine, 1, part_of(vectors, 2000, 2200), 2001));
    engine->wait_for_maintenance();
  }
  EXPECT_EQ(table_of(directory, 1)->calibration->vectors, 2000u);
  {
    const auto engine = open_or_fail(directory.path(), small_lists());
    ASSERT_OK(insert(*engine, 1, part_of(vectors, 2200, 3000), 2201));
    engine->wait_for_maintenance();
  }
  EXPECT_EQ(table_of(directory, 1)->calibration->vectors, 3000u);
}

TEST(IndexGrowth, AChangeLeavesNoListBeyondItsBoundAndARestartGoesOn) {
  TemporaryDirectory directory;
  const auto vectors = some_vectors(4, 4000);
  {
    const auto engine = open_or_fail(directory.path(), small_lists());
    ASSERT_OK(create(*engine, 1));
    ASSERT_OK(insert(*engine, 1, vectors, 1, vectors.size()));
  }
  const auto cut_off = table_of(directory, 1);
  EXPECT_LE(longest_list(*cut_off), list_bound_for(small_lists(), cut_off->layout.vector_size()));
  EXPECT_GT(longest_list(*cut_off), kLimit) << "the background was done already";
  {
    const auto engine = open_or_fail(directory.path(), small_lists());
    use(*engine, 1);
    engine->wait_for_maintenance();
    EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
    EXPECT_EQ(recall_of(*engine, 1, Metric::kCosine, vectors, some_vectors(5, 20), 10, 1), 1);
  }
  const auto settled = table_of(directory, 1);
  EXPECT_LE(longest_list(*settled), kLimit);
  EXPECT_TRUE(settled->calibration);
  for (const ListRef& list : settled->lists) EXPECT_EQ(list.sizes.blocks(), 1u);
}

TEST(IndexGrowth, DeletedRowsGiveTheirSpaceBack) {
  TemporaryDirectory directory;
  const auto vectors = some_vectors(6, 20000);
  {
    const auto engine = open_or_fail(directory.path(), small_lists());
    build(*engine, 1, vectors);
    const auto before = engine->statistics(1).value();
    std::vector<RowId> gone, left;
    for (RowId row = 1; row <= vectors.size(); ++row) (row % 10 == 3 ? left : gone).push_back(row);
    for (size_t first = 0; first < gone.size(); first += 500)
      ASSERT_OK(engine->apply(encode_delete(1, std::span(gone).subspan(first, 500)), false));
    engine->wait_for_maintenance();
    const auto after = engine->statistics(1).value();
    EXPECT_EQ(after.vectors, left.size());
    EXPECT_LE(after.lists, before.lists / 3);
    EXPECT_LE(after.bytes, before.bytes / 5);
    EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
    const auto rows = engine->list_rows(1, 0, 100000);
    ASSERT_TRUE(rows.is_ok());
    ASSERT_EQ(rows->size(), left.size());
    for (size_t i = 0; i < left.size(); ++i) EXPECT_EQ((*rows)[i].row, left[i]);

    ASSERT_OK(engine->apply(encode_delete(1, left), false));
    engine->wait_for_maintenance();
    EXPECT_EQ(engine->statistics(1)->lists, 0u);
    EXPECT_LE(engine->statistics(1)->bytes, before.bytes / 5);
    ASSERT_OK(insert(*engine, 1, part_of(vectors, 0, 1000)));
    engine->wait_for_maintenance();
    EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
    EXPECT_EQ(engine->statistics(1)->vectors, 1000u);
  }
}

// Lists are split and merged all the time; rows 1 … kFixed stay.
TEST(IndexGrowth, RowsStayWhileOthersComeAndGoInMasses) {
  constexpr RowId kFixed = 300, kWave = 3000;
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path(), small_lists(), 1);
  ASSERT_OK(create(*engine, 1));
  const auto fixed = some_vectors(7, kFixed);
  ASSERT_OK(insert(*engine, 1, fixed));
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      const auto result = engine->search({.generation = 1, .query = fixed[5], .k = 100000}, {});
      ASSERT_TRUE(result.is_ok()) << text_of(result.status());
      std::set<RowId> rows;
      for (const SearchHit& hit : result->hits) ASSERT_TRUE(rows.insert(hit.row).second) << hit.row;
      for (RowId row = 1; row <= kFixed; ++row) ASSERT_TRUE(rows.contains(row)) << row;
    }
  });
  std::thread checker([&] {
    while (!stop) ASSERT_EQ(problems_of(*engine, 1), std::vector<std::string>());
  });
  for (uint64_t wave = 0; wave < 3; ++wave) {
    ASSERT_OK(insert(*engine, 1, some_vectors(8 + wave, kWave), kFixed + 1, 100));
    if (wave == 1) engine->wait_for_maintenance();
    std::vector<RowId> gone(kWave);
    std::iota(gone.begin(), gone.end(), kFixed + 1);
    for (size_t first = 0; first < gone.size(); first += 100)
      ASSERT_OK(engine->apply(encode_delete(1, std::span(gone).subspan(first, 100)), false));
  }
  engine->wait_for_maintenance();
  stop = true;
  reader.join();
  checker.join();
  EXPECT_EQ(engine->statistics(1)->vectors, kFixed);
  EXPECT_LE(engine->statistics(1)->lists, 2 * kFixed / 32);
  EXPECT_EQ(problems_of(*engine, 1), std::vector<std::string>());
}

TEST(IndexGrowth, AGenerationMayBeDroppedWhileItIsLookedAfter) {
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path(), small_lists());
  const auto vectors = some_vectors(11, 3000);
  ASSERT_OK(create(*engine, 2));
  ASSERT_OK(insert(*engine, 2, vectors));
  for (int round = 0; round < 4; ++round) {
    ASSERT_OK(create(*engine, 1));
    ASSERT_OK(insert(*engine, 1, vectors, 1, vectors.size()));
    std::this_thread::sleep_for(std::chrono::milliseconds(8 * round));
    ASSERT_OK(engine->apply(encode_drop(1), false));
  }
  engine->wait_for_maintenance();
  EXPECT_EQ(engine->statistics(1).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(problems_of(*engine, 2), std::vector<std::string>());
  EXPECT_EQ(engine->statistics(2)->vectors, vectors.size());
}

// A list that cannot be read is left alone; the others are kept.
TEST(IndexGrowth, ADamagedListDoesNotHoldUpTheOthers) {
  TemporaryDirectory directory;
  {
    // Lists that are too long for the engine that comes after.
    Tuning long_lists = small_lists();
    long_lists.list_limit *= 4;
    long_lists.built_list_entries *= 4;
    const auto engine = open_or_fail(directory.path(), long_lists);
    ASSERT_OK(create(*engine, 1));
    ASSERT_OK(insert(*engine, 1, some_vectors(12, 4000), 1, 4000));
    engine->wait_for_maintenance();
  }
  size_t lists = 0;
  {
    const auto storage = storage_of(directory);
    const auto table = load_list_table(*storage, 1, nullptr);
    ASSERT_TRUE(table.is_ok());
    lists = (*table)->lists.size();
    const auto longest = std::max_element((*table)->lists.begin(), (*table)->lists.end(),
                                          [](const ListRef& a, const ListRef& b) { return a.live() < b.live(); });
    rocksdb::WriteBatch batch;
    ASSERT_TRUE(batch.Put(storage->family(Family::kVectors), block_key(1, longest->id, 0), "damaged").ok());
    ASSERT_OK(storage->write(&batch));
  }
  const auto engine = open_or_fail(directory.path(), small_lists());
  EXPECT_FALSE(problems_of(*engine, 1).empty());  // its first use: from now on it is looked after
  engine->wait_for_maintenance();
  EXPECT_FALSE(problems_of(*engine, 1).empty());
  EXPECT_GT(engine->statistics(1)->lists, lists);
}

TEST(IndexMaintenance, FailedWorkIsTriedAgainLaterAndDoesNotSpin) {
  std::atomic<int> tries{0}, thrown{0}, others{0};
  Maintenance maintenance;
  const Status failure(StatusCode::kIoError, "no");
  maintenance.schedule("fails", {}, [&](const Interrupted&) {
    ++tries;
    return tries < 2 ? failure : Status::ok();
  });
  maintenance.schedule("throws", {}, [&](const Interrupted&) -> Status {
    ++thrown;
    throw std::runtime_error("no");
  });
  maintenance.wait_idle();
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(thrown, 1);
  // Scheduling it again does not make it be tried earlier; other work goes on.
  maintenance.schedule("fails", {}, [&](const Interrupted&) {
    ++others;
    return Status::ok();
  });
  maintenance.schedule("other", {}, [&](const Interrupted&) {
    ++others;
    return Status::ok();
  });
  maintenance.wait_idle();
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(others, 1);
  for (int i = 0; i < 100 && tries < 2; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(tries, 2);
  EXPECT_LE(thrown, 3);
}

TEST(IndexMaintenance, WorkIsPutOffButNotForEver) {
  using Milliseconds = Maintenance::Milliseconds;
  std::atomic<int> runs{0};
  Maintenance maintenance;
  const auto schedule = [&](Maintenance::Delay delay) {
    maintenance.schedule("work", delay, [&](const Interrupted&) {
      ++runs;
      return Status::ok();
    });
  };
  schedule({Milliseconds(600000), Milliseconds(600000)});
  std::this_thread::sleep_for(Milliseconds(20));
  EXPECT_EQ(runs, 0);
  maintenance.wait_idle();  // whoever waits does not wait for the clock
  EXPECT_EQ(runs, 1);
  // At the latest 200 ms after the first time, however often it is put off.
  for (int i = 0; i < 2000 && runs < 2; ++i) {
    schedule({Milliseconds(150), Milliseconds(200)});
    std::this_thread::sleep_for(Milliseconds(5));
  }
  EXPECT_EQ(runs, 2);
}

TEST(IndexMaintenance, StoppingInterruptsWhatRuns) {
  std::atomic<bool> began{false}, ended{false};
  {
    Maintenance maintenance;
    maintenance.schedule("long", {}, [&](const Interrupted& interrupted) {
      began = true;
      while (!interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ended = true;
      return Status::cancelled();
    });
    while (!began) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace pg_semantic::index::testing
