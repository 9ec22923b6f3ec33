// Pinned blocks (index/block_pins.h): what a search finds there is what the database has.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "index/block_pins.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

rocksdb::PinnableSlice slice_of(const std::string& text) {
  rocksdb::PinnableSlice slice;
  slice.PinSelf(text);
  return slice;
}

TEST(IndexPins, FindsWhatWasPinnedAndKeepsToItsBudget) {
  PinBudget budget;
  budget.limit = 1000;
  {
    BlockPins pins;
    EXPECT_EQ(pins.find(3, 0), nullptr);
    for (size_t list = 0; list < 5000; ++list) {
      const std::string text = std::to_string(list) + std::string(95, '.');
      EXPECT_EQ(pins.pin(list, 1, slice_of(text), &budget)->value.ToString(), text);
      const auto found = pins.find(list, 1);
      if (found) {
        EXPECT_EQ(found->value.ToString(), text);
      }
      EXPECT_EQ(pins.find(list, 0), nullptr);
      EXPECT_LE(budget.used, 1000U + 2 * 100);  // one over the limit is let in, and the one that is held here
    }
    EXPECT_GT(budget.used, 800U);
    EXPECT_EQ(BlockPins(pins).find(4999, 1), nullptr);  // a copy has none
    EXPECT_NE(pins.pin(7, 100, slice_of("far behind"), &budget), nullptr);
    EXPECT_EQ(pins.find(7, 100), nullptr);
  }
  EXPECT_EQ(budget.used, 0U);
}

std::vector<RowId> nearest_rows(Engine& engine, const Vector& query) {
  SearchRequest request;
  request.generation = 1;
  request.query = query;
  request.k = 5;
  request.recall = 0.99f;
  Result<SearchResult> result = engine.search(request, {});
  EXPECT_TRUE(result.is_ok()) << text_of(result.status());
  std::vector<RowId> rows;
  if (result.is_ok()) {
    for (const SearchHit& hit : result->hits) rows.push_back(hit.row);
  }
  return rows;
}

TEST(IndexPins, SearchesSeeEveryChange) {
  TemporaryDirectory directory;
  Tuning tuning;
  tuning.exact_vectors = 100;
  const std::unique_ptr<Engine> engine = open_or_fail(directory.path(), tuning);
  ASSERT_TRUE(engine);
  const std::vector<Vector> vectors = clustered_vectors(8, 4000, 32, 20);
  ASSERT_OK(create(*engine, 1, Metric::kCosine, Codec::kBit, true));
  ASSERT_OK(insert(*engine, 1, vectors));
  ASSERT_OK(engine->finish_build(1, nullptr, {}));
  std::atomic<bool> done{false};
  std::thread other([&] {
    for (size_t i = 0; !done; ++i) EXPECT_EQ(nearest_rows(*engine, vectors[i % vectors.size()]).size(), 5U);
  });
  for (RowId row = 1; row <= 60; ++row) {
    const Vector& query = vectors[row - 1];
    EXPECT_EQ(nearest_rows(*engine, query).front(), row);
    EXPECT_EQ(nearest_rows(*engine, query).front(), row);  // from the pins
    ASSERT_OK(engine->apply(encode_delete(1, {&row, 1}), false));
    for (const RowId found : nearest_rows(*engine, query)) EXPECT_NE(found, row);
    ASSERT_OK(insert(*engine, 1, {query}, 100000 + row));
    EXPECT_EQ(nearest_rows(*engine, query).front(), 100000 + row);
  }
  done = true;
  other.join();
}

}  // namespace
}  // namespace pg_semantic::index::testing
