// The engine's contract on small data: kinds of rows, order, replacement,
// dropping, errors, malformed changes.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kGeneration = 0xfedcba9876543210;

SearchResult search_or_fail(const Engine& engine, const Vector& query, uint32_t k,
                            GenerationId generation = kGeneration, float recall = 1) {
  SearchRequest request;
  request.generation = generation;
  request.query = query;
  request.k = k;
  request.recall = recall;
  Result<SearchResult> result = engine.search(request, {});
  EXPECT_TRUE(result.is_ok()) << text_of(result.status());
  return result.is_ok() ? std::move(*result) : SearchResult();
}

std::vector<RowId> rows_of(const SearchResult& result) {
  std::vector<RowId> rows;
  for (const SearchHit& hit : result.hits) rows.push_back(hit.row);
  return rows;
}

class IndexEngine : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = open_or_fail(directory_.path());
    ASSERT_TRUE(engine_);
  }
  void reopen() {
    engine_.reset();
    engine_ = open_or_fail(directory_.path());
    ASSERT_TRUE(engine_);
  }
  Status insert_one(RowId row, RowKind kind, const Vector& vector) {
    const RowChange change{row, kind, hash_of(row), vector};
    return engine_->apply(encode_insert(kGeneration, {&change, 1}), false);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(IndexEngine, RowsComeByDistanceThenWithoutDirectionThenNull) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert_one(7, RowKind::kNull, {}));
  ASSERT_OK(insert_one(5, RowKind::kNoDirection, {}));
  ASSERT_OK(insert_one(9, RowKind::kVector, {0, 1}));
  ASSERT_OK(insert_one(8, RowKind::kVector, {1, 0}));
  ASSERT_OK(insert_one(6, RowKind::kVector, {0, 2}));
  ASSERT_OK(insert_one(4, RowKind::kVector, {0, 0}));  // has no direction either
  for (int pass = 0; pass < 2; ++pass) {
    const SearchResult all = search_or_fail(*engine_, {1, 0.5f}, 100);
    EXPECT_EQ(rows_of(all), (std::vector<RowId>{8, 6, 9, 4, 5, 7}));
    EXPECT_TRUE(all.exhausted);
    EXPECT_NEAR(all.hits[0].distance, 1 - 1 / std::sqrt(1.25), all.hits[0].error + 1e-12);
    EXPECT_LE(all.hits[0].error, 1e-4);
    EXPECT_TRUE(std::isnan(all.hits[3].distance));
    EXPECT_EQ(all.hits[3].kind, RowKind::kNoDirection);
    EXPECT_EQ(all.hits[5].kind, RowKind::kNull);
    EXPECT_EQ(all.hits[0].hash, hash_of(8));
    const SearchResult some = search_or_fail(*engine_, {1, 0.5f}, 2);
    EXPECT_EQ(rows_of(some), (std::vector<RowId>{8, 6}));
    EXPECT_FALSE(some.exhausted);
    EXPECT_EQ(problems_of(*engine_, kGeneration), std::vector<std::string>());
    reopen();
  }
}

TEST_F(IndexEngine, QueryWithoutDirectionReturnsEveryRow) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert(*engine_, kGeneration, clustered_vectors(1, 300, 8, 3)));
  const SearchResult all = search_or_fail(*engine_, Vector(8, 0.0f), 1000);
  ASSERT_EQ(all.hits.size(), 300u);
  EXPECT_TRUE(all.exhausted);
  for (size_t i = 0; i < all.hits.size(); ++i) {
    EXPECT_TRUE(std::isnan(all.hits[i].distance));
    EXPECT_EQ(all.hits[i].row, i + 1);
  }
  EXPECT_EQ(search_or_fail(*engine_, Vector(8, 0.0f), 10).hits.size(), 10u);
}

TEST_F(IndexEngine, EveryMetricAndCodecIsExactOnSmallData) {
  GenerationId generation = 100;
  const auto vectors = clustered_vectors(2, 900, 20, 12);
  const auto queries = clustered_vectors(3, 20, 20, 12);
  for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
    for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8, Codec::kBit}) {
      ASSERT_OK(create(*engine_, ++generation, metric, codec));
      ASSERT_OK(insert(*engine_, generation, vectors));
      EXPECT_EQ(recall_of(*engine_, generation, metric, vectors, queries, 10, 0.95f), 1.0);
      EXPECT_EQ(recall_of(*engine_, generation, metric, vectors, queries, 700, 0.95f), 1.0);
      EXPECT_EQ(problems_of(*engine_, generation), std::vector<std::string>());
    }
  }
  EXPECT_EQ(engine_->generations().size(), 12u);
}

TEST_F(IndexEngine, ReplayingChangesTwiceChangesNothing) {
  ASSERT_OK(create(*engine_, kGeneration, Metric::kL2));
  std::vector<std::vector<std::byte>> log;
  const auto vectors = clustered_vectors(4, 2000, 12, 5);
  for (size_t first = 0; first < vectors.size(); first += 250) {
    std::vector<RowChange> rows;
    for (size_t i = first; i < first + 250; ++i) rows.push_back({i + 1, RowKind::kVector, hash_of(i + 1), vectors[i]});
    log.push_back(encode_insert(kGeneration, rows));
    const RowId gone[] = {first + 3, first + 200};
    log.push_back(encode_delete(kGeneration, gone));
  }
  const Vector query = clustered_vectors(5, 1, 12, 5).front();
  for (const auto& change : log) ASSERT_OK(engine_->apply(change, false));
  const SearchResult once = search_or_fail(*engine_, query, 5000);
  for (const auto& change : log) ASSERT_OK(engine_->apply(change, false));
  const SearchResult twice = search_or_fail(*engine_, query, 5000);
  EXPECT_EQ(rows_of(once), rows_of(twice));
  EXPECT_EQ(once.hits.size(), 2000u - 16u);
  EXPECT_EQ(problems_of(*engine_, kGeneration), std::vector<std::string>());
  const auto create_again = encode_create(kGeneration, {.metric = Metric::kL2});
  ASSERT_OK(engine_->apply(create_again, true));
  EXPECT_EQ(search_or_fail(*engine_, query, 5000).hits.size(), once.hits.size());
}

TEST_F(IndexEngine, ReplacingMovesARowAndLastEntryOfABatchHolds) {
  ASSERT_OK(create(*engine_, kGeneration, Metric::kL2));
  const Vector a = {1, 0}, b = {0, 1}, c = {5, 5};
  const RowChange rows[] = {{1, RowKind::kVector, hash_of(1), a},
                            {2, RowKind::kVector, hash_of(2), b},
                            {1, RowKind::kVector, hash_of(11), c}};
  ASSERT_OK(engine_->apply(encode_insert(kGeneration, rows), false));
  EXPECT_EQ(rows_of(search_or_fail(*engine_, {5, 5}, 9)), (std::vector<RowId>{1, 2}));
  EXPECT_EQ(search_or_fail(*engine_, {5, 5}, 9).hits[0].hash, hash_of(11));
  ASSERT_OK(insert_one(1, RowKind::kNull, {}));
  EXPECT_EQ(rows_of(search_or_fail(*engine_, {5, 5}, 9)), (std::vector<RowId>{2, 1}));
  EXPECT_EQ(engine_->statistics(kGeneration).value().vectors, 1u);
  const RowId gone[] = {1, 2, 2, 77};
  ASSERT_OK(engine_->apply(encode_delete(kGeneration, gone), false));
  EXPECT_TRUE(search_or_fail(*engine_, {5, 5}, 9).exhausted);
  EXPECT_TRUE(search_or_fail(*engine_, {5, 5}, 9).hits.empty());
  ASSERT_OK(insert_one(3, RowKind::kVector, c));
  EXPECT_EQ(rows_of(search_or_fail(*engine_, {5, 5}, 9)), std::vector<RowId>{3});
  EXPECT_EQ(problems_of(*engine_, kGeneration), std::vector<std::string>());
}

TEST_F(IndexEngine, ListRowsPagesThroughAllKinds) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(create(*engine_, kGeneration + 1));
  ASSERT_OK(insert(*engine_, kGeneration, clustered_vectors(6, 25, 4, 2), 100));
  ASSERT_OK(insert_one(50, RowKind::kNull, {}));
  ASSERT_OK(insert_one(UINT64_MAX, RowKind::kNoDirection, {}));
  std::vector<RowId> seen;
  for (RowId after = 0;;) {
    Result<std::vector<ListedRow>> page = engine_->list_rows(kGeneration, after, 10);
    ASSERT_TRUE(page.is_ok());
    for (const ListedRow& row : *page) seen.push_back(row.row);
    if (page->size() < 10) break;
    after = page->back().row;
  }
  ASSERT_EQ(seen.size(), 27u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.front(), 50u);
  EXPECT_EQ(seen.back(), UINT64_MAX);
  EXPECT_TRUE(engine_->list_rows(kGeneration, UINT64_MAX, 10).value().empty());
}

TEST_F(IndexEngine, DroppedGenerationsAreGoneAndOthersStay) {
  for (const GenerationId generation : {GenerationId{1}, GenerationId{2}, UINT64_MAX}) {
    ASSERT_OK(create(*engine_, generation));
    ASSERT_OK(insert(*engine_, generation, clustered_vectors(generation, 1500, 8, 3)));
  }
  ASSERT_OK(engine_->apply(encode_drop(1), true));
  ASSERT_OK(engine_->apply(encode_drop(1), true));
  ASSERT_OK(engine_->apply(encode_drop(UINT64_MAX), true));
  engine_->wait_for_maintenance();
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(engine_->statistics(1).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(engine_->statistics(UINT64_MAX).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(engine_->statistics(2).value().vectors, 1500u);
    EXPECT_EQ(problems_of(*engine_, 2), std::vector<std::string>());
    reopen();
  }
  EXPECT_EQ(insert(*engine_, 1, {{1, 2, 3, 4, 5, 6, 7, 8}}).code(), StatusCode::kNotFound);
  ASSERT_OK(create(*engine_, 1));
  EXPECT_EQ(engine_->statistics(1).value().rows, 0u);
  EXPECT_EQ(engine_->generations().size(), 2u);
}

TEST_F(IndexEngine, ErrorsSayWhatWasFound) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert_one(1, RowKind::kVector, {1, 2, 3}));
  const Status width = insert_one(2, RowKind::kVector, {1, 2});
  EXPECT_EQ(width.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(width.detail(), "The vector has 2 dimensions, the index 3.");
  EXPECT_EQ(insert_one(2, RowKind::kVector, {1, NAN, 3}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(insert_one(2, RowKind::kVector, {1, INFINITY, 3}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(insert_one(0, RowKind::kVector, {1, 2, 3}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(insert_one(2, RowKind::kVector, Vector(kMaxDimensions + 1, 1.0f)).code(), StatusCode::kInvalidArgument);
  SearchRequest request;
  request.generation = kGeneration;
  const Vector narrow = {1, 2}, bad = {1, 2, NAN};
  request.query = narrow;
  EXPECT_EQ(engine_->search(request, {}).status().code(), StatusCode::kInvalidArgument);
  request.query = bad;
  EXPECT_EQ(engine_->search(request, {}).status().code(), StatusCode::kInvalidArgument);
  request.generation = 5;
  EXPECT_EQ(engine_->search(request, {}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(engine_->statistics(kGeneration).value().rows, 1u);
}

TEST_F(IndexEngine, MalformedChangesAreRefused) {
  ASSERT_OK(create(*engine_, kGeneration, Metric::kL2));
  const auto vectors = clustered_vectors(8, 3, 5, 2);
  std::vector<RowChange> rows;
  for (size_t i = 0; i < 3; ++i) rows.push_back({i + 1, RowKind::kVector, hash_of(i + 1), vectors[i]});
  const RowId gone[] = {1, 2};
  const std::vector<std::vector<std::byte>> changes = {
      encode_create(3, {.dimensions = 4}), encode_insert(kGeneration, rows), encode_delete(kGeneration, gone)};
  std::mt19937_64 random(9);
  for (const auto& change : changes) {
    for (size_t length = 0; length < change.size(); ++length)
      EXPECT_FALSE(engine_->apply(std::span(change).first(length), false).is_ok()) << length;
    auto longer = change;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(engine_->apply(longer, false).is_ok());
    for (int i = 0; i < 3000; ++i) {
      auto broken = change;
      for (int flips = 0; flips < 3; ++flips) broken[random() % broken.size()] ^= std::byte(1u << (random() % 8));
      (void)engine_->apply(broken, false);  // any Status; the generation stays sound
    }
  }
  std::vector<std::byte> noise(4096);
  for (int i = 0; i < 1000; ++i) {
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    (void)engine_->apply(std::span(noise).first(random() % noise.size()), false);
  }
  EXPECT_EQ(problems_of(*engine_, kGeneration), std::vector<std::string>());
}

TEST_F(IndexEngine, HugeAndTinyValuesAreFoundExactly) {
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8, Codec::kBit}) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
      const GenerationId generation = 1000 + static_cast<GenerationId>(codec) * 10 + static_cast<GenerationId>(metric);
      ASSERT_OK(create(*engine_, generation, metric, codec, true));
      std::mt19937_64 random(generation);
      std::vector<Vector> vectors;
      for (const float scale : {1e-40f, 1e-20f, 1.0f, 1e20f, 1e38f}) {
        for (int i = 0; i < 200; ++i) {
          vectors.push_back(random_vector(random, 6));
          for (float& value : vectors.back()) value = std::clamp(value, -3.0f, 3.0f) * scale;
        }
      }
      ASSERT_OK(insert(*engine_, generation, vectors));
      ASSERT_OK(engine_->finish_build(generation, nullptr, {}));
      EXPECT_EQ(problems_of(*engine_, generation), std::vector<std::string>());
      EXPECT_EQ(recall_of(*engine_, generation, metric, vectors, {vectors[250], vectors[450], vectors[900]}, 5, 0.9f),
                1.0);
    }
  }
}

TEST_F(IndexEngine, InterruptedSearchesStop) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert(*engine_, kGeneration, clustered_vectors(10, 5000, 8, 3)));
  const Vector query(8, 1.0f);
  SearchRequest request;
  request.generation = kGeneration;
  request.query = query;
  request.k = 5000;
  const Interrupted yes = [] { return true; };
  EXPECT_EQ(engine_->search(request, yes).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(engine_->check(kGeneration, yes).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(engine_->measure_recall(kGeneration, 10, 10, 0.9f, yes).status().code(), StatusCode::kCancelled);
}

TEST_F(IndexEngine, TwoEnginesLiveInOneProcess) {
  TemporaryDirectory other_directory;
  auto other = open_or_fail(other_directory.path());
  ASSERT_OK(create(*engine_, 1));
  ASSERT_OK(create(*other, 1));
  ASSERT_OK(insert(*engine_, 1, {{1, 0}}));
  ASSERT_OK(insert(*other, 1, {{0, 1, 0}, {0, 0, 1}}));
  EXPECT_EQ(engine_->statistics(1).value().vectors, 1u);
  EXPECT_EQ(other->statistics(1).value().vectors, 2u);
  EXPECT_TRUE(std::isnan(engine_->measure_recall(1, 10, 10, 0.9f, {}).value()));
  EXPECT_EQ(other->measure_recall(1, 10, 10, 0.9f, {}).value(), 1.0f);
  const EngineOptions same{.path = directory_.path()};
  EXPECT_FALSE(Engine::open(same).is_ok());
}

}  // namespace
}  // namespace pg_semantic::index::testing
