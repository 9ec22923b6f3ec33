// Engine::score_rows: distances of given rows, against long double arithmetic.  Engine::read_vectors: their vectors.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kGeneration = 0x1234;

class IndexScore : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = open_or_fail(directory_.path());
    ASSERT_TRUE(engine_);
  }
  std::vector<SearchHit> score_or_fail(const Vector& query, const std::vector<RowId>& rows) {
    Result<std::vector<SearchHit>> hits = engine_->score_rows(kGeneration, query, rows, {});
    EXPECT_TRUE(hits.is_ok()) << text_of(hits.status());
    return hits.is_ok() ? std::move(*hits) : std::vector<SearchHit>();
  }
  StatusCode score_code(const Vector& query, const std::vector<RowId>& rows, GenerationId generation = kGeneration) {
    return engine_->score_rows(generation, query, rows, {}).status().code();
  }
  StoredVectors read_or_fail(const std::vector<RowId>& rows) {
    Result<StoredVectors> stored = engine_->read_vectors(kGeneration, rows, {});
    EXPECT_TRUE(stored.is_ok()) << text_of(stored.status());
    return stored.is_ok() ? std::move(*stored) : StoredVectors();
  }
  Status insert_one(RowId row, RowKind kind, const Vector& vector) {
    const RowChange change{row, kind, hash_of(row), vector};
    return engine_->apply(encode_insert(kGeneration, {&change, 1}), false);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(IndexScore, DistancesOfGivenRowsInEveryMetricAndState) {
  const std::vector<Vector> vectors = clustered_vectors(3, 3000, 12, 10);
  const Vector query = vectors[17];
  std::vector<RowId> rows;  // every seventh, and some that are not there
  for (RowId row = 1; row <= 3500; row += 7) rows.push_back(row);
  for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
    ASSERT_OK(create(*engine_, kGeneration, metric, Codec::kSq8, true));
    ASSERT_OK(insert(*engine_, kGeneration, vectors));
    EXPECT_EQ(score_code(query, rows), StatusCode::kBehind);  // until it is built
    ASSERT_OK(engine_->finish_build(kGeneration, nullptr, {}));
    const std::vector<SearchHit> hits = score_or_fail(query, rows);
    ASSERT_EQ(hits.size(), 429U);  // 1, 8, … 2997
    for (size_t i = 0; i < hits.size(); ++i) {
      EXPECT_EQ(hits[i].row, rows[i]);
      EXPECT_EQ(hits[i].kind, RowKind::kVector);
      EXPECT_EQ(hits[i].hash, hash_of(rows[i]));
      const double expected = exact_distance(metric, vectors[rows[i] - 1], query);
      EXPECT_NEAR(hits[i].distance, expected, hits[i].error + 1e-9);
      EXPECT_LT(hits[i].error, 0.01);
    }
    ASSERT_OK(engine_->apply(encode_drop(kGeneration), false));
  }
}

TEST_F(IndexScore, KindsReplacementsAndDeletedRows) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert_one(2, RowKind::kVector, {1, 0}));
  ASSERT_OK(insert_one(3, RowKind::kNull, {}));
  ASSERT_OK(insert_one(4, RowKind::kNoDirection, {}));
  ASSERT_OK(insert_one(5, RowKind::kVector, {1, 0}));
  ASSERT_OK(insert_one(5, RowKind::kVector, {0, 1}));
  ASSERT_OK(insert_one(6, RowKind::kVector, {1, 1}));
  const RowId gone = 6;
  ASSERT_OK(engine_->apply(encode_delete(kGeneration, {&gone, 1}), false));
  const std::vector<SearchHit> hits = score_or_fail({1, 0}, {1, 2, 3, 4, 5, 6, 7});
  ASSERT_EQ(hits.size(), 4U);
  EXPECT_EQ(hits[0].row, 2U);
  EXPECT_NEAR(hits[0].distance, 0, 1e-12);
  EXPECT_EQ(hits[1].kind, RowKind::kNull);
  EXPECT_EQ(hits[2].kind, RowKind::kNoDirection);
  EXPECT_EQ(hits[3].row, 5U);
  EXPECT_NEAR(hits[3].distance, 1, 1e-12);
  EXPECT_TRUE(score_or_fail({1, 0}, {}).empty());
}

TEST_F(IndexScore, AnswersInTheOrderThatWasAskedFor) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert_one(1, RowKind::kVector, {1, 0}));
  ASSERT_OK(insert_one(2, RowKind::kVector, {0, 1}));
  const std::vector<SearchHit> hits = score_or_fail({1, 0}, {2, 3, 1, 2});
  ASSERT_EQ(hits.size(), 3U);
  EXPECT_EQ(hits[0].row, 2U);
  EXPECT_NEAR(hits[0].distance, 1, 1e-12);
  EXPECT_EQ(hits[1].row, 1U);
  EXPECT_NEAR(hits[1].distance, 0, 1e-12);
  EXPECT_EQ(hits[2].row, 2U);
  EXPECT_NEAR(hits[2].distance, 1, 1e-12);
}

TEST_F(IndexScore, RefusesWhatSearchRefuses) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert_one(1, RowKind::kVector, {1, 0}));
  EXPECT_EQ(score_code({1, 0, 0}, {1}), StatusCode::kInvalidArgument);
  EXPECT_EQ(score_code({1, NAN}, {1}), StatusCode::kInvalidArgument);
  EXPECT_EQ(score_code({1, 0}, {1}, 999), StatusCode::kNotFound);
  const Vector query = {1, 0};
  const std::vector<RowId> rows = {1};
  EXPECT_EQ(engine_->score_rows(kGeneration, query, rows, [] { return true; }).status().code(), StatusCode::kCancelled);
}

// Every codec and metric: what was read, inserted again, is stored as it was.
TEST_F(IndexScore, StoredVectorsAreStoredAgainAsTheyAre) {
  constexpr GenerationId kAgain = 0x5678;
  const std::vector<Vector> vectors = clustered_vectors(5, 2500, 24, 10);
  const Vector query = clustered_vectors(6, 1, 24, 10).front();
  std::vector<RowId> rows;
  for (RowId row = 1; row <= vectors.size(); ++row) rows.push_back(row);
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kSq8, Codec::kBit}) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
      ASSERT_OK(create(*engine_, kGeneration, metric, codec, true));
      ASSERT_OK(insert(*engine_, kGeneration, vectors));
      EXPECT_TRUE(read_or_fail(rows).rows.empty());  // until it is built
      ASSERT_OK(engine_->finish_build(kGeneration, nullptr, {}));
      const StoredVectors stored = read_or_fail(rows);
      ASSERT_EQ(stored.rows.size(), rows.size());
      ASSERT_EQ(stored.dimensions, 24U);
      ASSERT_EQ(stored.vectors.size(), rows.size() * 24);
      std::vector<RowChange> changes;
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(stored.rows[i].row, rows[i]);
        EXPECT_EQ(stored.rows[i].hash, hash_of(rows[i]));
        const std::span<const float> vector = std::span(stored.vectors).subspan(i * 24, 24);
        for (size_t d = 0; d < 24; ++d) ASSERT_NEAR(vector[d], vectors[i][d], codec == Codec::kF32 ? 0 : 5e-3);
        changes.push_back({rows[i], RowKind::kVector, stored.rows[i].hash, vector});
      }
      ASSERT_OK(create(*engine_, kAgain, metric, codec, true));
      ASSERT_OK(engine_->apply(encode_insert(kAgain, changes), false));
      ASSERT_OK(engine_->finish_build(kAgain, nullptr, {}));
      const std::vector<SearchHit> before = score_or_fail(query, rows);
      Result<std::vector<SearchHit>> after = engine_->score_rows(kAgain, query, rows, {});
      ASSERT_TRUE(after.is_ok());
      ASSERT_EQ(after->size(), before.size());
      for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ((*after)[i].distance, before[i].distance);
      EXPECT_TRUE(problems_of(*engine_, kAgain).empty());
      for (const GenerationId generation : {kGeneration, kAgain})
        ASSERT_OK(engine_->apply(encode_drop(generation), false));
    }
  }
}

TEST_F(IndexScore, ReadsVectorsInTheOrderThatWasAskedFor) {
  ASSERT_OK(create(*engine_, kGeneration, Metric::kL2, Codec::kF32));
  EXPECT_TRUE(read_or_fail({1, 2}).rows.empty());
  ASSERT_OK(insert_one(1, RowKind::kVector, {3, 4}));
  ASSERT_OK(insert_one(2, RowKind::kNull, {}));
  ASSERT_OK(insert_one(3, RowKind::kVector, {0, 7}));
  const StoredVectors stored = read_or_fail({3, 9, 2, 1, 3});
  ASSERT_EQ(stored.rows.size(), 4U);
  EXPECT_EQ(stored.rows[0].row, 3U);
  EXPECT_EQ(stored.rows[1].kind, RowKind::kNull);
  EXPECT_EQ(stored.rows[2].row, 1U);
  EXPECT_EQ(stored.vectors, (std::vector<float>{0, 7, 3, 4, 0, 7}));
}

TEST_F(IndexScore, ReadsVectorsOfAGenerationThatIsBehind) {
  ASSERT_OK(create(*engine_, kGeneration));
  ASSERT_OK(insert_one(1, RowKind::kVector, {1, 0}));
  ASSERT_OK(engine_->declare_behind());
  EXPECT_EQ(score_code({1, 0}, {1}), StatusCode::kBehind);
  EXPECT_EQ(read_or_fail({1}).rows.size(), 1U);
  const std::vector<RowId> rows = {1};
  EXPECT_EQ(engine_->read_vectors(999, rows, {}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(engine_->read_vectors(kGeneration, rows, [] { return true; }).status().code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace pg_semantic::index::testing
