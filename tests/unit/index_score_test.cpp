// Engine::score_rows: distances of given rows, against long double arithmetic.
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

}  // namespace
}  // namespace pg_semantic::index::testing
