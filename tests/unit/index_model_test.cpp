// Random inserts, replacements, deletes, searches, builds and reopenings against
// a std::map that is searched exactly.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>

#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

struct ModelRow {
  RowKind kind = RowKind::kVector;
  uint64_t hash = 0;
  Vector vector;
};
using Model = std::map<RowId, ModelRow>;

// Small limits, so that a few hundred rows split, merge, calibrate and use the
// graph.
Tuning small_tuning() {
  Tuning tuning;
  tuning.list_limit = 24;
  tuning.list_floor = 4;
  tuning.built_list_entries = 12;
  tuning.neighbour_lists = 4;
  tuning.graph_lists = 20;
  tuning.distances_per_walk = 4;  // also for many lists of few
  tuning.exact_vectors = 100;
  tuning.calibration_samples = 20;
  return tuning;
}

class ModelTest {
 public:
  ModelTest(uint64_t seed, Metric metric, Codec codec) : random_(seed), metric_(metric), codec_(codec) {}

  void run(int steps) {
    reopen();
    const bool building = random_() % 2 == 0;
    ASSERT_OK(create(*engine_, kGeneration, metric_, codec_, building));
    for (int step = 0; building && step < 20; ++step) {
      if (random_() % 3 > 0) {
        insert_some();
      } else {
        delete_some();
      }
      if (step % 7 == 6) reopen();
    }
    if (building) ASSERT_OK(engine_->finish_build(kGeneration, nullptr, {}));
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      const uint64_t dice = random_() % 100;
      if (dice < 45) {
        insert_some();
      } else if (dice < 65) {
        delete_some();
      } else if (dice < 92) {
        search_all_ways();
      } else if (dice < 95) {
        ASSERT_OK(engine_->finish_build(kGeneration, nullptr, {}));
      } else if (dice < 98) {
        compare_rows();
      } else {
        reopen();
      }
    }
    engine_->wait_for_maintenance();
    compare_rows();
    search_all_ways();
  }

 private:
  static constexpr GenerationId kGeneration = 42;
  static constexpr size_t kDimensions = 6;
  static constexpr RowId kRows = 900;

  void reopen() {
    engine_.reset();
    engine_ = open_or_fail(directory_.path(), small_tuning());
    ASSERT_TRUE(engine_);
  }

  void insert_some() {
    std::vector<RowChange> changes;
    std::vector<ModelRow> rows(1 + random_() % 60);
    for (ModelRow& row : rows) {
      const uint64_t dice = random_() % 20;
      row.kind = dice == 0 ? RowKind::kNull : dice == 1 ? RowKind::kNoDirection : RowKind::kVector;
      row.hash = random_();
      if (row.kind == RowKind::kVector) {
        row.vector = random_vector(random_, kDimensions);
        if (dice == 2) row.vector.assign(kDimensions, 1.0f);  // many equal vectors
      }
      changes.push_back({1 + random_() % kRows, row.kind, hash_of(row.hash), row.vector});
    }
    if (random_() % 2 == 0) {
      ASSERT_OK(engine_->apply(encode_insert(kGeneration, changes), random_() % 10 == 0));
    } else {
      insert_together(changes);
    }
    for (size_t i = 0; i < rows.size(); ++i) model_[changes[i].row] = rows[i];
  }

  // As several changes.
  void insert_together(std::span<const RowChange> rows) {
    std::vector<std::vector<std::byte>> changes;
    while (!rows.empty()) {
      const size_t count = 1 + random_() % std::min<size_t>(rows.size(), 8);
      changes.push_back(encode_insert(kGeneration, rows.first(count)));
      rows = rows.subspan(count);
    }
    std::vector<LoggedInsertion> insertions;
    for (const auto& change : changes) insertions.push_back({change});
    ASSERT_OK(engine_->apply_insertions(insertions));
  }

  void delete_some() {
    std::vector<RowId> gone(random_() % 80);
    const bool range = random_() % 5 == 0;
    const RowId first = 1 + random_() % kRows;
    for (size_t i = 0; i < gone.size(); ++i) gone[i] = range ? first + i : 1 + random_() % kRows;
    ASSERT_OK(engine_->apply(encode_delete(kGeneration, gone), false));
    for (const RowId row : gone) model_.erase(row);
  }

  void search_all_ways() {
    const Vector query = random_vector(random_, kDimensions);
    compare_search(query, 1 + static_cast<uint32_t>(random_() % 40), 1.0f);
    compare_search(query, 5000, 0.9f);
    compare_search(query, 10, 0.8f);
  }

  void compare_search(const Vector& query, uint32_t k, float recall) {
    std::vector<std::pair<double, RowId>> truth;
    for (const auto& [row, content] : model_) {
      if (content.kind == RowKind::kVector) truth.emplace_back(exact_distance(metric_, content.vector, query), row);
    }
    std::sort(truth.begin(), truth.end());
    SearchRequest request;
    request.generation = kGeneration;
    request.query = query;
    request.k = k;
    request.recall = recall;
    Result<SearchResult> result = engine_->search(request, {});
    ASSERT_TRUE(result.is_ok()) << text_of(result.status());
    ASSERT_EQ(result->hits.size(), std::min<size_t>(k, model_.size()));
    EXPECT_TRUE(!result->exhausted || result->hits.size() == model_.size());
    EXPECT_TRUE(k < model_.size() || result->exhausted);
    const bool exact = recall == 1.0f || k >= model_.size();
    double error = 0;  // distances in the result's order differ by no more than one of them may
    for (const SearchHit& hit : result->hits) error = std::max(error, hit.error);
    std::map<RowId, int> seen;
    for (size_t i = 0; i < result->hits.size(); ++i) {
      const SearchHit& hit = result->hits[i];
      ASSERT_EQ(++seen[hit.row], 1) << "row " << hit.row << " twice";
      const auto at = model_.find(hit.row);
      ASSERT_NE(at, model_.end());
      EXPECT_EQ(hit.kind, at->second.kind);
      EXPECT_EQ(hit.hash, hash_of(at->second.hash));
      if (i < truth.size() && exact) {
        EXPECT_NEAR(hit.distance, truth[i].first, 2 * error + 1e-9);
      }
      if (hit.kind == RowKind::kVector) {
        EXPECT_NEAR(hit.distance, exact_distance(metric_, at->second.vector, query), hit.error + 1e-9);
      }
    }
  }

  void compare_rows() {
    EXPECT_EQ(problems_of(*engine_, kGeneration), std::vector<std::string>());
    Result<std::vector<ListedRow>> rows = engine_->list_rows(kGeneration, 0, 100000);
    ASSERT_TRUE(rows.is_ok());
    ASSERT_EQ(rows->size(), model_.size());
    auto expected = model_.begin();
    for (const ListedRow& row : *rows) {
      EXPECT_EQ(row.row, expected->first);
      EXPECT_EQ(row.kind, expected->second.kind);
      EXPECT_EQ(row.hash, hash_of(expected->second.hash));
      ++expected;
    }
    Result<GenerationStatistics> statistics = engine_->statistics(kGeneration);
    ASSERT_TRUE(statistics.is_ok());
    EXPECT_EQ(statistics->rows, model_.size());
  }

  std::mt19937_64 random_;
  Metric metric_;
  Codec codec_;
  TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
  Model model_;
};

TEST(IndexModel, CosineSq8) { ModelTest(1, Metric::kCosine, Codec::kSq8).run(400); }
TEST(IndexModel, CosineBit) { ModelTest(6, Metric::kCosine, Codec::kBit).run(400); }
TEST(IndexModel, DistanceBit) { ModelTest(7, Metric::kL2, Codec::kBit).run(400); }
TEST(IndexModel, InnerProductBit) { ModelTest(8, Metric::kInnerProduct, Codec::kBit).run(400); }
TEST(IndexModel, CosineF32) { ModelTest(2, Metric::kCosine, Codec::kF32).run(250); }
TEST(IndexModel, DistanceF16) { ModelTest(3, Metric::kL2, Codec::kF16).run(250); }
TEST(IndexModel, DistanceSq8) { ModelTest(4, Metric::kL2, Codec::kSq8).run(400); }
TEST(IndexModel, InnerProductSq8) { ModelTest(5, Metric::kInnerProduct, Codec::kSq8).run(250); }

}  // namespace
}  // namespace pg_semantic::index::testing
