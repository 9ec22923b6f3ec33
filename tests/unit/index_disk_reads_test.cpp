// Blocks that come from files are counted for their generation; a small cache bounds
// what is kept, not what is found.
#include <gtest/gtest.h>

#include "index/disk_reads.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kLarge = 1;
constexpr GenerationId kSmall = 2;

std::unique_ptr<Engine> open_with_memory(const std::string& path, uint64_t memory_bytes) {
  EngineOptions options;
  options.path = path;
  options.memory_bytes = memory_bytes;
  Result<std::unique_ptr<Engine>> engine = Engine::open(options);
  EXPECT_TRUE(engine.is_ok()) << text_of(engine.status());
  return engine.is_ok() ? std::move(*engine) : nullptr;
}

GenerationStatistics statistics_of(const Engine& engine, GenerationId generation) {
  return engine.statistics(generation).value();
}

TEST(IndexDiskReads, AreCountedForTheirGenerationOnly) {
  TemporaryDirectory directory;
  const auto vectors = clustered_vectors(1, 12000, 1024, 50);
  auto engine = open_with_memory(directory.path(), 8 << 20);
  for (const GenerationId generation : {kLarge, kSmall}) {
    ASSERT_OK(create(*engine, generation, Metric::kCosine, Codec::kBit, true));
    ASSERT_OK(insert(*engine, generation, generation == kLarge ? vectors : clustered_vectors(2, 300, 64, 5)));
    ASSERT_OK(engine->finish_build(generation, nullptr, {}));
  }
  engine.reset();
  engine = open_with_memory(directory.path(), 8 << 20);
  EXPECT_EQ(statistics_of(*engine, kLarge).disk_reads, 0u);
  EXPECT_EQ(statistics_of(*engine, kSmall).disk_reads, 0u);
  EXPECT_GT(statistics_of(*engine, kLarge).bytes, 20u << 20);

  EXPECT_EQ(recall_of(*engine, kLarge, Metric::kCosine, vectors, {vectors[3], vectors[11999]}, 10, 1.0f), 1.0);
  engine->wait_for_maintenance();  // it looks after a generation that is used first, and that is counted, too
  const GenerationStatistics exact = statistics_of(*engine, kLarge);
  EXPECT_GT(exact.disk_reads, 50u);
  EXPECT_GT(exact.disk_read_bytes, 10u << 20);
  EXPECT_EQ(statistics_of(*engine, kSmall).disk_reads, 0u);

  const auto small = clustered_vectors(2, 300, 64, 5);
  const auto search_small = [&] {
    return recall_of(*engine, kSmall, Metric::kCosine, small, {small[5], small[77]}, 10, 0.95f);
  };
  EXPECT_EQ(search_small(), 1.0);
  engine->wait_for_maintenance();
  const GenerationStatistics cold = statistics_of(*engine, kSmall);
  EXPECT_GT(cold.disk_reads, 0u);
  EXPECT_EQ(search_small(), 1.0);
  EXPECT_EQ(statistics_of(*engine, kSmall).disk_reads, cold.disk_reads);  // now from the cache
  EXPECT_EQ(statistics_of(*engine, kSmall).disk_read_bytes, cold.disk_read_bytes);
  EXPECT_EQ(statistics_of(*engine, kLarge).disk_reads, exact.disk_reads);

  // A sweep on several threads: all of them count.
  ASSERT_OK(engine->measure_recall(kLarge, 10, 20, 0.95f, {}).status());
  EXPECT_GT(statistics_of(*engine, kLarge).disk_read_bytes, exact.disk_read_bytes + (20u << 20));

  // Writes of a small share go on, and what they read is counted, too.
  ASSERT_OK(insert(*engine, kLarge, clustered_vectors(3, 200, 1024, 50), 20001, 10));
  EXPECT_EQ(statistics_of(*engine, kLarge).vectors, 12200u);
  EXPECT_EQ(problems_of(*engine, kLarge), std::vector<std::string>());
}

TEST(IndexDiskReads, OfAHelperAreTheCallers) {
  const DiskReads before = disk_reads_of_this_thread();
  add_to_disk_reads_of_this_thread({3, 4096});
  const auto counter = std::make_shared<DiskReadCounter>();
  {
    DiskReadScope scope;
    scope.charge_to(counter);
    add_to_disk_reads_of_this_thread({2, 512});
  }
  {
    const DiskReadScope of_nobody;
    add_to_disk_reads_of_this_thread({1, 1});
  }
  EXPECT_EQ(counter->total().blocks, 2u);
  EXPECT_EQ(counter->total().bytes, 512u);
  EXPECT_EQ(disk_reads_of_this_thread().blocks, before.blocks + 6);
}

}  // namespace
}  // namespace pg_semantic::index::testing
