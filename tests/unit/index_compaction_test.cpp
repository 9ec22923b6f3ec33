// A directory that is opened without compactions, as it is when they have failed.
#include <chrono>
#include <thread>

#include "index/storage.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

int unmerged_files(const Storage& storage) {
  std::string text;
  storage.db()->GetProperty(storage.family(Family::kRows), "rocksdb.num-files-at-level0", &text);
  return std::stoi(text);
}

TEST(IndexCompaction, WaitsUntilItIsStarted) {
  constexpr int kFiles = 40;  // with compactions, RocksDB stops all writes at 36
  TemporaryDirectory directory;
  EngineOptions options;
  options.path = directory.path();
  options.compacts = false;
  Result<std::unique_ptr<Storage>> opened = Storage::open(options);
  ASSERT_TRUE(opened.is_ok()) << text_of(opened.status());
  Storage& storage = **opened;
  for (int i = 0; i < kFiles; ++i) {
    rocksdb::WriteBatch batch;
    ASSERT_OK(from_rocksdb(batch.Put(storage.family(Family::kRows), generation_key(7), std::to_string(i))));
    ASSERT_OK(storage.write(&batch));
    ASSERT_OK(from_rocksdb(storage.db()->Flush(rocksdb::FlushOptions(), storage.family(Family::kRows))));
  }
  std::atomic<bool> cancelled{false};
  EXPECT_FALSE(storage.compact(7, &cancelled));
  EXPECT_EQ(unmerged_files(storage), kFiles);

  ASSERT_OK(storage.start_compacting());
  for (int i = 0; i < 1000 && unmerged_files(storage) >= 4; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LT(unmerged_files(storage), 4);
  EXPECT_TRUE(storage.compact(7, &cancelled));
}

}  // namespace
}  // namespace pg_semantic::index::testing
