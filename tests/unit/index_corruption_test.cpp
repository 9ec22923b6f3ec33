// Values on disk that are not what FORMAT.md says: an error or a line of
// check(), never a crash.
#include <gtest/gtest.h>

#include "index/storage.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kGeneration = 1;

class IndexCorruption : public ::testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    Tuning tuning;
    tuning.exact_vectors = 100;
    const auto engine = open_or_fail(directory_.path(), tuning);
    ASSERT_OK(create(*engine, kGeneration, Metric::kL2, Codec::kBit, true));
    ASSERT_OK(insert(*engine, kGeneration, vectors_));
    ASSERT_OK(engine->finish_build(kGeneration, nullptr, {}));
    ASSERT_OK(create(*engine, kGeneration + 1));
    ASSERT_OK(insert(*engine, kGeneration + 1, {{1, 2}, {3, 4}}));
  }

  // Changes the value of the n-th key of the generation; false: there is none.
  bool damage(Family family, size_t n, const std::function<void(std::string*)>& change) {
    EngineOptions options;
    options.path = directory_.path();
    auto storage = Storage::open(options);
    EXPECT_TRUE(storage.is_ok());
    auto keys = (*storage)->iterate(family, nullptr, Reading::kRange);
    const std::string prefix = generation_key(kGeneration);
    for (keys->Seek(prefix); keys->Valid() && keys->key().starts_with(prefix); keys->Next()) {
      if (n-- > 0) continue;
      std::string value = keys->value().ToString();
      change(&value);
      rocksdb::WriteBatch batch;
      if (value.empty()) {
        EXPECT_TRUE(batch.Delete((*storage)->family(family), keys->key()).ok());
      } else {
        EXPECT_TRUE(batch.Put((*storage)->family(family), keys->key(), value).ok());
      }
      EXPECT_TRUE((*storage)->write(&batch).is_ok());
      return true;
    }
    return false;
  }

  // Does everything; any Status will do.  Says whether damage was noticed.
  bool use() {
    Tuning tuning;
    tuning.exact_vectors = 100;
    const auto engine = open_or_fail(directory_.path(), tuning);
    if (!engine) return true;
    const bool noticed = !problems_of(*engine, kGeneration).empty();
    for (const uint32_t k : {1u, 10u, 5000u}) {
      for (const float recall : {0.8f, 1.0f}) {
        SearchRequest request;
        request.generation = kGeneration;
        request.query = vectors_[17];
        request.k = k;
        request.recall = recall;
        (void)engine->search(request, {});
      }
    }
    (void)engine->measure_recall(kGeneration, 10, 20, 0.9f, {});
    (void)engine->list_rows(kGeneration, 0, 100000);
    (void)engine->generations();
    (void)insert(*engine, kGeneration, clustered_vectors(3, 100, 10, 4), 1950);
    const RowId gone[] = {1, 2, 3, 500, 1999};
    (void)engine->apply(encode_delete(kGeneration, gone), false);
    // The neighbour is none the worse.
    EXPECT_EQ(problems_of(*engine, kGeneration + 1), std::vector<std::string>());
    return noticed;
  }

  TemporaryDirectory directory_;
  const std::vector<Vector> vectors_ = clustered_vectors(1, 2000, 10, 8);
};

TEST_P(IndexCorruption, IsNoticedAndSurvived) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()));
  const std::vector<std::function<void(std::string*)>> changes = {
      [](std::string* value) { value->pop_back(); },
      [](std::string* value) { value->push_back('x'); },
      [](std::string* value) { value->assign(1, '\xff'); },
      [](std::string* value) { value->assign(value->size(), '\xff'); },
      [](std::string* value) { value->clear(); },  // the key goes
  };
  size_t noticed = 0;
  for (const auto& change : changes) {
    ASSERT_TRUE(damage(GetParam(), 0, change)) << "nothing to damage";
    noticed += use() ? 1 : 0;
    // A sound index for the next damage.
    const auto engine = open_or_fail(directory_.path());
    ASSERT_OK(engine->apply(encode_drop(kGeneration), false));
    ASSERT_OK(create(*engine, kGeneration, Metric::kL2, Codec::kBit, true));
    ASSERT_OK(insert(*engine, kGeneration, vectors_));
    ASSERT_OK(engine->finish_build(kGeneration, nullptr, {}));
  }
  EXPECT_EQ(noticed, changes.size());
  for (int i = 0; i < 5; ++i) {
    damage(GetParam(), random() % 3,
           [&](std::string* value) { (*value)[random() % value->size()] ^= static_cast<char>(1u << (random() % 8)); });
    use();
  }
}

INSTANTIATE_TEST_SUITE_P(Families, IndexCorruption,
                         ::testing::Values(Family::kGenerations, Family::kLists, Family::kCounts, Family::kCodes,
                                           Family::kVectors, Family::kRows),
                         [](const auto& info) { return "Family" + std::to_string(static_cast<int>(info.param)); });

}  // namespace
}  // namespace pg_semantic::index::testing
