// Copies of the directory, made while it is written to, built in and looked after.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kGrowing = 1, kCollecting = 2, kComing = 3;
constexpr size_t kDimensions = 8;

std::map<RowId, ContentHash> rows_of(const Engine& engine, GenerationId generation) {
  std::map<RowId, ContentHash> rows;
  Result<std::vector<ListedRow>> listed = engine.list_rows(generation, 0, 10000000);
  EXPECT_TRUE(listed.is_ok());
  if (!listed) return rows;
  for (const ListedRow& row : *listed) rows[row.row] = row.hash;
  return rows;
}

Tuning small_lists() {
  Tuning tuning;
  tuning.list_limit = 40;
  tuning.list_floor = 5;
  return tuning;
}

// Rows 1, 2, 3, … of a generation, one by one, until it is told to stop.
class Writer {
 public:
  Writer(Engine* engine, GenerationId generation)
      : thread_([this, engine, generation] {
          std::mt19937_64 random(generation);
          for (RowId row = 1; !stop_; ++row) {
            const Status status = insert(*engine, generation, {random_vector(random, kDimensions)}, row);
            EXPECT_TRUE(status.is_ok()) << text_of(status);
            if (!status.is_ok()) return;
            acknowledged_ = row;
            std::this_thread::sleep_for(std::chrono::microseconds(500));
          }
        }) {}
  ~Writer() {
    stop_ = true;
    thread_.join();
  }
  [[nodiscard]] RowId acknowledged() const { return acknowledged_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<RowId> acknowledged_{0};
  std::thread thread_;  // the last member
};

void expect_rows(const Engine& engine, GenerationId generation, RowId least) {
  const auto rows = rows_of(engine, generation);
  EXPECT_GE(rows.size(), least);
  for (const auto& [row, hash] : rows) EXPECT_EQ(hash, hash_of(row));
  EXPECT_TRUE(rows.empty() || rows.rbegin()->first == rows.size()) << "rows are missing, or others there";
  EXPECT_EQ(problems_of(engine, generation), std::vector<std::string>());
}

TEST(IndexCopy, HoldsWhatWasAppliedBeforeUnderLoad) {
  TemporaryDirectory directory, copies;
  const auto engine = open_or_fail(directory.path(), small_lists());
  ASSERT_TRUE(engine);
  ASSERT_OK(create(*engine, kGrowing));
  ASSERT_OK(create(*engine, kCollecting, Metric::kL2, Codec::kF16, true));
  std::atomic<bool> stop{false};
  {
    Writer growing(engine.get(), kGrowing), collecting(engine.get(), kCollecting);
    // Spools that come and go while the directory is copied.
    std::thread builder([&] {
      const auto vectors = clustered_vectors(1, 500, kDimensions, 9);
      while (!stop) {
        EXPECT_TRUE(create(*engine, kComing, Metric::kL2, Codec::kF16, true).is_ok());
        EXPECT_TRUE(insert(*engine, kComing, vectors, 1, 50).is_ok());
        EXPECT_TRUE(engine->finish_build(kComing, nullptr, {}).is_ok());
        EXPECT_TRUE(insert(*engine, kComing, {vectors[0]}, 501).is_ok());
        EXPECT_TRUE(engine->apply(encode_drop(kComing), false).is_ok());
      }
    });
    for (int round = 0; round < 6; ++round) {
      SCOPED_TRACE("copy " + std::to_string(round));
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      const RowId least_growing = growing.acknowledged(), least_collecting = collecting.acknowledged();
      const std::string path = copies.path() + "/" + std::to_string(round);
      const Status copied = engine->copy_to(path);
      EXPECT_TRUE(copied.is_ok()) << text_of(copied);
      for (const auto& file : std::filesystem::directory_iterator(path))
        EXPECT_FALSE(file.path().filename().string().starts_with("unfinished-")) << file.path();
      // Like another server's: it is written to, too.
      const auto copy = open_or_fail(path, small_lists());
      if (!copy) break;
      EXPECT_TRUE(insert(*copy, kCollecting, {Vector(kDimensions, 1.0f)}, 1000000).is_ok());
      EXPECT_TRUE(copy->finish_build(kCollecting, nullptr, {}).is_ok());
      EXPECT_TRUE(copy->apply(encode_delete(kCollecting, std::array<RowId, 1>{1000000}), false).is_ok());
      expect_rows(*copy, kGrowing, least_growing);
      expect_rows(*copy, kCollecting, least_collecting);
      for (const GenerationStatistics& one : copy->generations()) {
        if (one.generation != kComing) continue;
        EXPECT_TRUE(copy->finish_build(kComing, nullptr, {}).is_ok());
        expect_rows(*copy, kComing, one.options.building ? 0 : 500);
      }
    }
    stop = true;
    builder.join();
  }
  // What was done in the copies is not to be seen here.
  ASSERT_OK(engine->finish_build(kCollecting, nullptr, {}));
  expect_rows(*engine, kCollecting, 1);
  expect_rows(*engine, kGrowing, 1);
}

TEST(IndexCopy, KeepsMarksAndFlags) {
  TemporaryDirectory directory, copies;
  const std::string path = copies.path() + "/copy";
  {
    const auto engine = open_or_fail(directory.path());
    ASSERT_TRUE(engine);
    ASSERT_OK(engine->apply(encode_create(kGrowing, {}), 10, false));
    ASSERT_OK(engine->set_mark({10, 5, false}, false));
    ASSERT_OK(engine->apply(encode_create(kComing, {}), 20, false));
    ASSERT_OK(engine->declare_behind());
    ASSERT_OK(engine->copy_to(path));
    ASSERT_OK(engine->apply(encode_drop(kGrowing), 30, false));
  }
  const auto copy = open_or_fail(path);
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->found_mark(), (Mark{10, 5, false}));
  EXPECT_EQ(copy->found_position(), 20u);
  ASSERT_EQ(copy->generations().size(), 2u);
  EXPECT_TRUE(copy->generations()[0].behind);
}

TEST(IndexCopy, LeavesWhatIsThereAlone) {
  TemporaryDirectory directory, copies;
  const auto engine = open_or_fail(directory.path());
  ASSERT_TRUE(engine);
  EXPECT_EQ(engine->copy_to(copies.path()).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_empty(copies.path()));
  EXPECT_FALSE(engine->copy_to(copies.path() + "/missing/copy").is_ok());
  EXPECT_TRUE(std::filesystem::is_empty(copies.path()));
}

}  // namespace
}  // namespace pg_semantic::index::testing
