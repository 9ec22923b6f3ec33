// Builds that are interrupted, written to, dropped, cut off.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kGeneration = 3;

TEST(IndexBuild, EmptyAndTinyGenerationsAreBuilt) {
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path());
  for (const size_t count : {0, 1, 2, 7}) {
    const GenerationId generation = count + 1;
    ASSERT_OK(create(*engine, generation, Metric::kCosine, Codec::kF16, true));
    ASSERT_OK(insert(*engine, generation, clustered_vectors(1, count, 5, 2)));
    ASSERT_OK(engine->finish_build(generation, nullptr, {}));
    ASSERT_OK(engine->finish_build(generation, nullptr, {}));  // is built: nothing to do
    EXPECT_EQ(engine->statistics(generation).value().vectors, count);
    EXPECT_FALSE(engine->statistics(generation).value().options.building);
    ASSERT_OK(insert(*engine, generation, clustered_vectors(2, 5, 5, 2), 100));
    EXPECT_EQ(problems_of(*engine, generation), std::vector<std::string>());
  }
  EXPECT_EQ(engine->finish_build(99, nullptr, {}).code(), StatusCode::kNotFound);
}

TEST(IndexBuild, EqualVectorsAreBuilt) {
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path());
  const std::vector<Vector> same(3000, Vector(8, 0.5f));
  for (const bool building : {true, false}) {
    const GenerationId generation = building ? 1 : 2;
    ASSERT_OK(create(*engine, generation, Metric::kL2, Codec::kSq8, building));
    ASSERT_OK(insert(*engine, generation, same));
    ASSERT_OK(engine->finish_build(generation, nullptr, {}));
    EXPECT_EQ(problems_of(*engine, generation), std::vector<std::string>());
    EXPECT_EQ(recall_of(*engine, generation, Metric::kL2, same, {Vector(8, 0.25f)}, 10, 0.95f), 1.0);
  }
}

TEST(IndexBuild, CollectedRowsAreThereAfterTheBuildOnly) {
  TemporaryDirectory directory;
  auto engine = open_or_fail(directory.path());
  const auto vectors = clustered_vectors(3, 500, 8, 4);
  ASSERT_OK(create(*engine, kGeneration, Metric::kL2, Codec::kSq8, true));
  ASSERT_OK(insert(*engine, kGeneration, vectors));
  SearchRequest request;
  request.generation = kGeneration;
  request.query = vectors[3];
  EXPECT_EQ(engine->search(request, {}).status().code(), StatusCode::kBehind);
  EXPECT_EQ(engine->list_rows(kGeneration, 0, 10).value().size(), 0u);
  EXPECT_EQ(problems_of(*engine, kGeneration), std::vector<std::string>());
  engine.reset();
  engine = open_or_fail(directory.path());
  ASSERT_OK(engine->finish_build(kGeneration, nullptr, {}));
  EXPECT_EQ(recall_of(*engine, kGeneration, Metric::kL2, vectors, {vectors[3], vectors[77]}, 10, 0.9f), 1.0);
  EXPECT_EQ(problems_of(*engine, kGeneration), std::vector<std::string>());
  for (const auto& file : std::filesystem::directory_iterator(directory.path())) {
    const std::string name = file.path().filename();
    EXPECT_FALSE(name.starts_with("collected-") || name.starts_with("unfinished-")) << name;
  }
}

// A row's last change holds, whatever the order of rows.
TEST(IndexBuild, CollectedRowsMayComeInAnyOrder) {
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path());
  auto vectors = clustered_vectors(11, 700, 8, 4);
  ASSERT_OK(create(*engine, kGeneration, Metric::kL2, Codec::kBit, true));
  for (size_t i = vectors.size(); i-- > 0;) ASSERT_OK(insert(*engine, kGeneration, {vectors[(i + 1) % 700]}, i + 1));
  for (size_t i = 0; i < 700; i += 100) ASSERT_OK(insert(*engine, kGeneration, {vectors[i]}, i + 1));
  std::vector<RowId> gone;
  for (size_t i = 0; i < vectors.size(); ++i) {
    if (i % 100 == 0) continue;
    if (i % 2 == 0) {
      gone.push_back(i + 1);
    } else {
      ASSERT_OK(insert(*engine, kGeneration, {vectors[i]}, i + 1));
    }
  }
  ASSERT_OK(engine->apply(encode_delete(kGeneration, gone), false));
  for (const RowId row : gone) ASSERT_OK(insert(*engine, kGeneration, {vectors[row - 1]}, row));
  ASSERT_OK(engine->finish_build(kGeneration, nullptr, {}));
  EXPECT_EQ(problems_of(*engine, kGeneration), std::vector<std::string>());
  EXPECT_EQ(engine->statistics(kGeneration).value().vectors, 700u);
  EXPECT_EQ(recall_of(*engine, kGeneration, Metric::kL2, vectors, {vectors[3], vectors[99]}, 10, 0.9f), 1.0);
}

// Stops at every place where a build asks, one after the other, then lets it
// finish.
TEST(IndexBuild, CancelledAnywhereItCanBeRepeated) {
  Tuning tuning;
  tuning.exact_vectors = 1000;
  tuning.calibration_samples = 10;
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path(), tuning);
  const auto vectors = clustered_vectors(4, 9000, 8, 20);
  ASSERT_OK(create(*engine, kGeneration, Metric::kCosine, Codec::kSq8, true));
  ASSERT_OK(insert(*engine, kGeneration, vectors, 1, 3000));
  int cancelled = 0;
  for (int allowed = 0;; ++allowed) {
    std::atomic<int> asked{0};
    const Status status = engine->finish_build(kGeneration, nullptr, [&] { return asked++ >= allowed; });
    if (status.is_ok()) break;
    ASSERT_EQ(status.code(), StatusCode::kCancelled) << text_of(status);
    if (!engine->statistics(kGeneration).value().options.building) break;  // cancelled while calibrating
    ++cancelled;
  }
  EXPECT_GT(cancelled, 5);
  EXPECT_EQ(problems_of(*engine, kGeneration), std::vector<std::string>());
  EXPECT_EQ(recall_of(*engine, kGeneration, Metric::kCosine, vectors, {vectors[9], vectors[8000]}, 10, 1.0f), 1.0);
}

TEST(IndexBuild, CutOffBuildIsStillBuildingAfterReopening) {
  TemporaryDirectory directory;
  auto engine = open_or_fail(directory.path());
  const auto vectors = clustered_vectors(5, 6000, 8, 20);
  ASSERT_OK(create(*engine, kGeneration, Metric::kCosine, Codec::kSq8, true));
  ASSERT_OK(insert(*engine, kGeneration, vectors));
  BuildProgress progress;
  const Interrupted in_the_middle = [&] { return progress.phase >= static_cast<uint32_t>(BuildPhase::kAssigning); };
  EXPECT_EQ(engine->finish_build(kGeneration, &progress, in_the_middle).code(), StatusCode::kCancelled);
  engine.reset();
  engine = open_or_fail(directory.path());
  EXPECT_TRUE(engine->statistics(kGeneration).value().options.building);
  const RowId gone[] = {1, 2, 3};
  ASSERT_OK(engine->apply(encode_delete(kGeneration, gone), false));
  ASSERT_OK(engine->finish_build(kGeneration, nullptr, {}));
  EXPECT_EQ(problems_of(*engine, kGeneration), std::vector<std::string>());
  EXPECT_EQ(engine->statistics(kGeneration).value().vectors, 5997u);
  ASSERT_OK(engine->apply(encode_drop(kGeneration), false));
  EXPECT_TRUE(engine->generations().empty());
}

// The interruption callback writes, so that changes fall into every phase.
TEST(IndexBuild, ChangesDuringTheBuildAreInIt) {
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path());
  auto vectors = clustered_vectors(6, 12000, 8, 20);
  const auto later = clustered_vectors(7, 3000, 8, 20);
  ASSERT_OK(create(*engine, kGeneration, Metric::kCosine, Codec::kSq8, true));
  ASSERT_OK(insert(*engine, kGeneration, vectors));
  std::atomic<size_t> next{0};
  std::vector<RowId> deleted;
  std::mutex one_at_a_time;
  const Interrupted change_something = [&] {
    const std::lock_guard lock(one_at_a_time);
    for (int i = 0; i < 5 && next < later.size(); ++i) {
      const size_t at = next++;
      // Replaced rows at the front and the back, new rows, deleted rows.
      const RowId row = at % 3 == 0 ? at + 1 : at % 3 == 1 ? vectors.size() - at : vectors.size() + at;
      const RowChange change{row, RowKind::kVector, hash_of(1000000 + at), later[at]};
      EXPECT_TRUE(engine->apply(encode_insert(kGeneration, {&change, 1}), false).is_ok());
      const RowId gone[] = {5000 + at};
      EXPECT_TRUE(engine->apply(encode_delete(kGeneration, gone), false).is_ok());
      deleted.push_back(gone[0]);
    }
    return false;
  };
  ASSERT_OK(engine->finish_build(kGeneration, nullptr, change_something));
  EXPECT_GT(next, 40u);
  EXPECT_EQ(problems_of(*engine, kGeneration), std::vector<std::string>());
  for (size_t at = 0; at < next; at += 7) {
    SearchRequest request;
    request.generation = kGeneration;
    request.query = later[at];
    request.k = 1;
    Result<SearchResult> result = engine->search(request, {});
    ASSERT_TRUE(result.is_ok() && result->hits.size() == 1);
    EXPECT_NEAR(result->hits[0].distance, 0, result->hits[0].error + 1e-9);
    EXPECT_EQ(result->hits[0].hash, hash_of(1000000 + at));
  }
  Result<std::vector<ListedRow>> rows = engine->list_rows(kGeneration, 0, 100000);
  ASSERT_TRUE(rows.is_ok());
  for (const ListedRow& row : *rows) EXPECT_EQ(std::count(deleted.begin(), deleted.end(), row.row), 0);
}

TEST(IndexBuild, DropEndsABuild) {
  TemporaryDirectory directory;
  const auto engine = open_or_fail(directory.path());
  ASSERT_OK(create(*engine, kGeneration, Metric::kCosine, Codec::kSq8, true));
  ASSERT_OK(insert(*engine, kGeneration, clustered_vectors(8, 20000, 16, 20), 1, 5000));
  std::atomic<bool> started{false};
  Status built;
  std::thread builder([&] {
    built = engine->finish_build(kGeneration, nullptr, [&] {
      started = true;
      return false;
    });
  });
  while (!started) std::this_thread::yield();
  ASSERT_OK(engine->apply(encode_drop(kGeneration), false));
  builder.join();
  EXPECT_FALSE(built.is_ok());
  EXPECT_EQ(engine->statistics(kGeneration).status().code(), StatusCode::kNotFound);
  ASSERT_OK(create(*engine, kGeneration));
  EXPECT_EQ(problems_of(*engine, kGeneration), std::vector<std::string>());
}

}  // namespace
}  // namespace pg_semantic::index::testing
