// The engine and PostgreSQL's log: marks, changes that the log has lost, indexes
// that are behind, and builds that the log asks for.
#include <gtest/gtest.h>

#include "index/log_records.h"
#include "index/storage.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kFirst = 7, kSecond = 8;
constexpr size_t kDimensions = 8;

Vector vector_of(uint64_t seed) {
  std::mt19937_64 random(seed);
  return random_vector(random, kDimensions);
}

// Rows of which each has the hash and the vector of `content`.
std::vector<std::byte> insert_of(GenerationId generation, const std::vector<RowId>& rows, uint64_t content) {
  const Vector vector = vector_of(content);
  std::vector<RowChange> changes;
  for (const RowId row : rows) changes.push_back({row, RowKind::kVector, hash_of(content), vector});
  return encode_insert(generation, changes);
}

std::vector<std::byte> create_of(GenerationId generation, bool building = false) {
  GenerationOptions options;
  options.building = building;
  return encode_create(generation, options);
}

class IndexLog : public ::testing::Test {
 protected:
  void SetUp() override { reopen(); }
  // Like a process that was killed: nothing is noted when the engine goes away.
  void reopen() {
    engine_.reset();
    engine_ = open_or_fail(directory_.path());
    ASSERT_TRUE(engine_);
  }
  Status apply(const std::vector<std::byte>& change, LogPosition position) {
    return engine_->apply(change, position, false);
  }
  std::map<RowId, ContentHash> rows_of(GenerationId generation) { return rows_of(*engine_, generation); }
  static std::map<RowId, ContentHash> rows_of(const Engine& engine, GenerationId generation) {
    std::map<RowId, ContentHash> rows;
    Result<std::vector<ListedRow>> listed = engine.list_rows(generation, 0, 1000000);
    if (!listed) return rows;
    for (const ListedRow& row : *listed) rows[row.row] = row.hash;
    return rows;
  }
  bool is_behind(GenerationId generation) {
    Result<GenerationStatistics> statistics = engine_->statistics(generation);
    return statistics && statistics->behind;
  }
  bool exists(GenerationId generation) { return engine_->statistics(generation).is_ok(); }
  Result<SearchResult> search(GenerationId generation, uint64_t content, uint32_t k = 5) const {
    const Vector query = vector_of(content);
    SearchRequest request;
    request.generation = generation;
    request.query = query;
    request.k = k;
    return engine_->search(request, {});
  }
  size_t logged_changes() {
    engine_.reset();
    size_t count = 0;
    {
      auto storage = open_storage();
      EXPECT_TRUE(storage.is_ok());
      auto keys = (*storage)->iterate(Family::kDefault, nullptr, Reading::kRange);
      for (keys->SeekToFirst(); keys->Valid(); keys->Next()) count += is_logged_key(view(keys->key())) ? 1 : 0;
    }
    reopen();
    return count;
  }

  // While the engine is closed.
  Result<std::unique_ptr<Storage>> open_storage() const {
    EngineOptions options;
    options.path = directory_.path();
    return Storage::open(options);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(IndexLog, MarksAreFoundAgainAndChangesEndCompleteness) {
  EXPECT_EQ(engine_->found_mark(), (Mark{0, 0, true}));
  EXPECT_EQ(engine_->found_position(), 0u);
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{0, 0, true}));  // nothing was applied

  ASSERT_OK(apply(create_of(kFirst), 10));
  EXPECT_EQ(engine_->found_mark(), (Mark{0, 0, true}));  // as it was found
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{0, 0, false}));
  EXPECT_EQ(engine_->found_position(), 10u);

  ASSERT_OK(engine_->set_mark({10, 25, true, 99}, true));
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{10, 25, true, 99}));
  EXPECT_EQ(engine_->found_position(), 10u);

  ASSERT_OK(apply(insert_of(kFirst, {1}, 1), 0));  // not logged, a change all the same
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{10, 25, false}));

  ASSERT_OK(apply(insert_of(kFirst, {1}, 1), 40));
  ASSERT_OK(apply(insert_of(kFirst, {2}, 1), 30));
  ASSERT_OK(engine_->set_mark({30, 25, false}, false));
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{30, 25, false}));
  EXPECT_EQ(engine_->found_position(), 40u);
}

TEST_F(IndexLog, CollectedChangesEndCompletenessToo) {
  ASSERT_OK(apply(create_of(kFirst, true), 10));
  ASSERT_OK(engine_->set_mark({10, 0, true}, true));
  ASSERT_OK(apply(insert_of(kFirst, {1}, 1), 20));
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{10, 0, false}));
  EXPECT_EQ(engine_->found_position(), 20u);
  ASSERT_OK(engine_->set_mark({20, 0, true}, true));
  ASSERT_OK(engine_->request_finish(kFirst, 30));
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{20, 0, false}));
  EXPECT_EQ(engine_->found_position(), 30u);
}

TEST_F(IndexLog, MarksRemoveTheRecordsTheyCover) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  for (LogPosition position = 20; position <= 60; position += 10)
    ASSERT_OK(apply(insert_of(kFirst, {position}, position), position));
  EXPECT_EQ(logged_changes(), 6u);
  ASSERT_OK(engine_->set_mark({40, 0, false}, false));
  EXPECT_EQ(logged_changes(), 2u);
  ASSERT_OK(engine_->set_mark({55, 0, false}, false));
  ASSERT_OK(engine_->set_mark({55, 0, false}, false));
  EXPECT_EQ(logged_changes(), 1u);
  ASSERT_OK(apply(insert_of(kFirst, {3}, 3), 50));  // a mark covers it already
  EXPECT_EQ(logged_changes(), 1u);
  ASSERT_OK(engine_->set_mark({60, 0, false}, false));
  EXPECT_EQ(logged_changes(), 0u);
}

TEST_F(IndexLog, InsertsThatTheLogLostAreUndone) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2}, 1), 20));
  ASSERT_OK(apply(insert_of(kFirst, {3, 4}, 2), 30));
  ASSERT_OK(apply(insert_of(kFirst, {5}, 3), 40));
  reopen();
  ASSERT_OK(engine_->end_recovery(20));
  EXPECT_EQ(rows_of(kFirst), (std::map<RowId, ContentHash>{{1, hash_of(1)}, {2, hash_of(1)}}));
  EXPECT_FALSE(is_behind(kFirst));
  EXPECT_EQ(problems_of(*engine_, kFirst), std::vector<std::string>());
  EXPECT_EQ(logged_changes(), 0u);
  EXPECT_EQ(engine_->found_mark(), (Mark{20, 20, true}));
  EXPECT_EQ(engine_->found_position(), 20u);
}

TEST_F(IndexLog, InsertionsMadeTogetherAreUndoneOneByOne) {
  for (const bool building : {false, true}) {
    const GenerationId generation = building ? kSecond : kFirst;
    ASSERT_OK(apply(create_of(generation, building), 10));
    const auto first = insert_of(generation, {1, 2}, 1), second = insert_of(generation, {3}, 2),
               third = insert_of(generation, {4, 5}, 3);
    ASSERT_OK(engine_->apply_insertions(std::vector<LoggedInsertion>{{third, 40}, {first, 20}, {second, 30}}));
  }
  reopen();
  EXPECT_EQ(engine_->found_position(), 40u);
  ASSERT_OK(engine_->end_recovery(30));
  ASSERT_OK(engine_->finish_build(kSecond, nullptr, {}));
  for (const GenerationId generation : {kFirst, kSecond}) {
    EXPECT_EQ(rows_of(generation), (std::map<RowId, ContentHash>{{1, hash_of(1)}, {2, hash_of(1)}, {3, hash_of(2)}}));
    EXPECT_FALSE(is_behind(generation));
    EXPECT_EQ(problems_of(*engine_, generation), std::vector<std::string>());
  }
}

TEST_F(IndexLog, OneOfThemMayReplaceARow) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1}, 1), 20));
  const auto replaces = insert_of(kFirst, {1}, 2), adds = insert_of(kFirst, {2}, 3);
  ASSERT_OK(engine_->apply_insertions(std::vector<LoggedInsertion>{{replaces, 30}, {adds, 40}}));
  EXPECT_EQ(rows_of(kFirst), (std::map<RowId, ContentHash>{{1, hash_of(2)}, {2, hash_of(3)}}));
  ASSERT_OK(engine_->end_recovery(30));
  EXPECT_EQ(rows_of(kFirst), (std::map<RowId, ContentHash>{{1, hash_of(2)}}));
  EXPECT_FALSE(is_behind(kFirst)) << "what replaced the row was not lost";
}

TEST_F(IndexLog, OnlyInsertionsIntoOneIndexAreMadeTogether) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(create_of(kSecond), 11));
  const RowId gone[] = {1};
  const auto good = insert_of(kFirst, {1}, 1), other = insert_of(kSecond, {1}, 1),
             deletion = encode_delete(kFirst, gone);
  const auto gone_generation = insert_of(99, {1}, 1);
  ASSERT_OK(engine_->apply_insertions({}));
  for (const auto& bad : {other, deletion, create_of(kFirst), std::vector<std::byte>(3)}) {
    const std::vector<LoggedInsertion> insertions = {{good, 20}, {bad, 30}};
    EXPECT_EQ(engine_->apply_insertions(insertions).code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(engine_->apply_insertions(std::vector<LoggedInsertion>{{deletion, 20}}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->apply_insertions(std::vector<LoggedInsertion>{{gone_generation, 20}}).code(),
            StatusCode::kNotFound);
  const Vector long_vector(77, 1.0f);
  const RowChange wide[] = {{2, RowKind::kVector, hash_of(2), long_vector}};
  const auto wider = encode_insert(kFirst, wide);
  EXPECT_EQ(engine_->apply_insertions(std::vector<LoggedInsertion>{{good, 20}, {wider, 30}}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(rows_of(kFirst).empty()) << "all or none";
}

TEST_F(IndexLog, OneGenerationIsDeclaredBehind) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(create_of(kSecond), 11));
  ASSERT_OK(engine_->declare_behind(kSecond));
  EXPECT_EQ(engine_->declare_behind(99).code(), StatusCode::kNotFound);
  reopen();
  EXPECT_FALSE(is_behind(kFirst));
  EXPECT_TRUE(is_behind(kSecond));
}

TEST_F(IndexLog, AReplacedRowIsGoneAndTheIndexBehind) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2}, 1), 20));
  ASSERT_OK(apply(insert_of(kFirst, {2, 3}, 2), 30));
  ASSERT_OK(engine_->end_recovery(20));
  EXPECT_EQ(rows_of(kFirst), (std::map<RowId, ContentHash>{{1, hash_of(1)}}));
  EXPECT_TRUE(is_behind(kFirst));
}

TEST_F(IndexLog, AChangeAppliedTwiceIsUndoneAsIfOnce) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1}, 1), 20));
  ASSERT_OK(apply(insert_of(kFirst, {1}, 1), 20));
  ASSERT_OK(engine_->end_recovery(15));
  EXPECT_TRUE(rows_of(kFirst).empty());
  EXPECT_FALSE(is_behind(kFirst));
}

TEST_F(IndexLog, DeletesThatTheLogLostLeaveTheIndexBehind) {
  const RowId gone[] = {1};
  for (const GenerationId generation : {kFirst, kSecond}) {
    ASSERT_OK(apply(create_of(generation), 10));
    ASSERT_OK(apply(insert_of(generation, {1, 2}, 1), 20 + generation));
  }
  ASSERT_OK(apply(encode_delete(kFirst, gone), 30));
  ASSERT_OK(engine_->end_recovery(29));
  EXPECT_TRUE(is_behind(kFirst));
  EXPECT_FALSE(is_behind(kSecond));
}

TEST_F(IndexLog, CreatedAndDroppedGenerationsBeyondTheEnd) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1}, 1), 20));
  ASSERT_OK(apply(create_of(kSecond), 30));
  ASSERT_OK(apply(insert_of(kSecond, {1}, 1), 40));
  ASSERT_OK(apply(create_of(kFirst), 45));  // it is there: nothing to undo
  ASSERT_OK(apply(encode_drop(kFirst), 50));
  reopen();
  ASSERT_OK(engine_->end_recovery(25));
  EXPECT_FALSE(exists(kSecond));
  EXPECT_FALSE(exists(kFirst));  // gone for good
  EXPECT_EQ(engine_->generations().size(), 0u);
}

TEST_F(IndexLog, WhatABuildCollectedBeyondTheEndIsUndone) {
  const RowId gone[] = {1};
  ASSERT_OK(apply(create_of(kFirst, true), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2}, 1), 20));
  ASSERT_OK(apply(insert_of(kFirst, {3}, 2), 30));
  ASSERT_OK(apply(encode_delete(kFirst, gone), 35));
  ASSERT_OK(apply(create_of(kSecond, true), 40));
  ASSERT_OK(apply(insert_of(kSecond, {3}, 2), 50));
  ASSERT_OK(engine_->request_finish(kSecond, 60));
  reopen();
  ASSERT_OK(engine_->end_recovery(25));
  EXPECT_FALSE(exists(kSecond));
  ASSERT_OK(engine_->finish_build(kFirst, nullptr, {}));
  EXPECT_EQ(rows_of(kFirst), (std::map<RowId, ContentHash>{{1, hash_of(1)}, {2, hash_of(1)}}));
  EXPECT_FALSE(is_behind(kFirst));
}

// A power loss may leave more of a spool than of RocksDB's log; nothing would tell that it is to be undone.
TEST_F(IndexLog, WhatOnlyTheSpoolKnowsIsCutOff) {
  ASSERT_OK(apply(create_of(kFirst, true), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2}, 1), 20));
  ASSERT_OK(engine_->set_mark({20, 0, false}, true));
  ASSERT_OK(apply(insert_of(kFirst, {3}, 2), 30));
  ASSERT_OK(apply(insert_of(kFirst, {4}, 3), 40));
  engine_.reset();
  {
    auto storage = open_storage();
    ASSERT_TRUE(storage.is_ok());
    rocksdb::WriteBatch batch;
    batch.Delete((*storage)->family(Family::kDefault), logged_key(40, kFirst));
    ASSERT_OK((*storage)->write(&batch));
  }
  reopen();
  ASSERT_OK(engine_->finish_build(kFirst, nullptr, {}));
  EXPECT_EQ(rows_of(kFirst).size(), 3u);
  EXPECT_FALSE(rows_of(kFirst).contains(4));
}

TEST_F(IndexLog, AMarkBeyondTheEndLeavesAllBehind) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(create_of(kSecond), 20));
  ASSERT_OK(engine_->set_mark({50, 50, false}, true));
  ASSERT_OK(engine_->end_recovery(60));
  EXPECT_FALSE(is_behind(kFirst));
  ASSERT_OK(engine_->set_mark({70, 70, false}, true));
  reopen();
  ASSERT_OK(engine_->end_recovery(60));
  EXPECT_TRUE(is_behind(kFirst));
  EXPECT_TRUE(is_behind(kSecond));
  reopen();
  EXPECT_EQ(engine_->found_mark(), (Mark{60, 60, true}));
}

TEST_F(IndexLog, WhatIsBehindIsNotSearched) {
  ASSERT_OK(apply(create_of(kFirst), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2, 3}, 1), 20));
  ASSERT_OK(engine_->declare_behind());
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(search(kFirst, 1).status().code(), StatusCode::kBehind);
    EXPECT_EQ(search(kFirst, 1).status().message(), "semantic index is behind its table");
    const Vector query = vector_of(1);
    SearchRequest request;
    request.generation = kFirst;
    request.query = query;
    const RowId row[] = {1};
    EXPECT_EQ(engine_->search_batch({{request}}, {}).status().code(), StatusCode::kBehind);
    EXPECT_EQ(engine_->score_rows(kFirst, query, row, {}).status().code(), StatusCode::kBehind);
    EXPECT_EQ(engine_->measure_recall(kFirst, 1, 1, 1, {}).status().code(), StatusCode::kBehind);
    EXPECT_EQ(problems_of(*engine_, kFirst), std::vector<std::string>());
    EXPECT_TRUE(is_behind(kFirst));
    ASSERT_OK(apply(insert_of(kFirst, {4u + static_cast<RowId>(round)}, 1), 30));
    reopen();
  }
  EXPECT_EQ(rows_of(kFirst).size(), 5u);
  EXPECT_EQ(engine_->declare_repaired(kSecond).code(), StatusCode::kNotFound);
  ASSERT_OK(engine_->declare_repaired(kFirst));
  EXPECT_TRUE(search(kFirst, 1).is_ok());
  reopen();
  EXPECT_TRUE(search(kFirst, 1).is_ok());
}

TEST_F(IndexLog, BehindOutlastsABuild) {
  ASSERT_OK(apply(create_of(kFirst, true), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2, 3}, 1), 20));
  ASSERT_OK(engine_->declare_behind());
  ASSERT_OK(engine_->finish_build(kFirst, nullptr, {}));
  EXPECT_EQ(search(kFirst, 1).status().code(), StatusCode::kBehind);
  reopen();
  EXPECT_TRUE(is_behind(kFirst));
}

// Two generations of the same rows; one is built by the log, the other by a statement.
TEST_F(IndexLog, ABuildThatTheLogAsksForGivesWhatABuildGives) {
  for (const GenerationId generation : {kFirst, kSecond}) {
    ASSERT_OK(apply(create_of(generation, true), 10));
    ASSERT_OK(insert(*engine_, generation, clustered_vectors(5, 4000, kDimensions, 20)));
  }
  ASSERT_OK(engine_->request_finish(99, 15));  // no such generation
  ASSERT_OK(engine_->request_finish(kFirst, 20));
  EXPECT_EQ(search(kFirst, 1).status().code(), StatusCode::kNotReady);
  EXPECT_EQ(search(kFirst, 1).status().message(), "semantic index is being built");
  EXPECT_TRUE(engine_->statistics(kFirst)->options.building);
  reopen();  // while it is built, most likely
  ASSERT_OK(engine_->finish_build(kSecond, nullptr, {}));
  for (const GenerationId generation : {kFirst, kSecond})
    ASSERT_OK(insert(*engine_, generation, clustered_vectors(6, 100, kDimensions, 20), 5000));
  engine_->wait_for_maintenance();
  EXPECT_FALSE(engine_->statistics(kFirst)->options.building);
  EXPECT_EQ(rows_of(kFirst), rows_of(kSecond));
  EXPECT_EQ(rows_of(kFirst).size(), 4100u);
  EXPECT_EQ(problems_of(*engine_, kFirst), std::vector<std::string>());
  for (uint64_t content = 0; content < 20; ++content) {
    Result<SearchResult> by_log = search(kFirst, content, 10), by_statement = search(kSecond, content, 10);
    ASSERT_TRUE(by_log.is_ok() && by_statement.is_ok());
    EXPECT_EQ(by_log->hits.front().row, by_statement->hits.front().row);
  }
  ASSERT_OK(engine_->request_finish(kFirst, 30));  // it is built
  EXPECT_TRUE(search(kFirst, 1).is_ok());
}

TEST_F(IndexLog, ABuildHalfWayIsTakenUpAgain) {
  ASSERT_OK(apply(create_of(kFirst, true), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2, 3}, 1), 20));
  engine_.reset();
  {
    // What request_finish leaves when the process ends at once.
    auto storage = open_storage();
    ASSERT_TRUE(storage.is_ok());
    rocksdb::PinnableSlice value;
    ASSERT_TRUE((*storage)->get(Family::kGenerations, generation_key(kFirst), nullptr, &value).is_ok());
    Result<Catalog> catalog = decode_catalog(view(value));
    ASSERT_TRUE(catalog.is_ok());
    catalog->finishing = true;
    rocksdb::WriteBatch batch;
    batch.Put((*storage)->family(Family::kGenerations), generation_key(kFirst), encode_catalog(*catalog));
    ASSERT_OK((*storage)->write(&batch));
  }
  reopen();
  ASSERT_OK(apply(insert_of(kFirst, {3, 4}, 2), 40));
  engine_->wait_for_maintenance();
  EXPECT_TRUE(search(kFirst, 1).is_ok());
  EXPECT_EQ(rows_of(kFirst),
            (std::map<RowId, ContentHash>{{1, hash_of(1)}, {2, hash_of(1)}, {3, hash_of(2)}, {4, hash_of(2)}}));
  EXPECT_FALSE(std::filesystem::exists(directory_.path() + "/collected-7"));
}

TEST_F(IndexLog, FinishBuildServesABuildThatTheLogAskedFor) {
  ASSERT_OK(apply(create_of(kFirst, true), 10));
  ASSERT_OK(insert(*engine_, kFirst, clustered_vectors(5, 1000, kDimensions, 20)));
  ASSERT_OK(engine_->request_finish(kFirst, 20));
  ASSERT_OK(engine_->finish_build(kFirst, nullptr, {}));
  EXPECT_TRUE(search(kFirst, 1).is_ok());
  EXPECT_EQ(rows_of(kFirst).size(), 1000u);
}

// The batch that ends a build is written, and the process ends before what came meanwhile is in the lists.
TEST_F(IndexLog, ABuildCatchesUpAfterARestart) {
  ASSERT_OK(apply(create_of(kFirst, true), 10));
  ASSERT_OK(apply(insert_of(kFirst, {1, 2}, 1), 20));
  const std::string spool = directory_.path() + "/collected-7";
  const auto built = std::filesystem::file_size(spool);
  ASSERT_OK(apply(insert_of(kFirst, {2, 3}, 2), 30));
  std::filesystem::copy_file(spool, spool + ".kept");
  ASSERT_OK(engine_->finish_build(kFirst, nullptr, {}));
  const RowId gone[] = {2, 3};
  ASSERT_OK(apply(encode_delete(kFirst, gone), 40));
  engine_.reset();
  // A spool that a power loss brought back is no longer wanted.
  std::filesystem::copy_file(spool + ".kept", spool);
  reopen();
  EXPECT_EQ(rows_of(kFirst).size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(spool));
  engine_.reset();
  std::filesystem::rename(spool + ".kept", spool);
  {
    auto storage = open_storage();
    ASSERT_TRUE(storage.is_ok());
    rocksdb::WriteBatch batch;
    batch.Put((*storage)->family(Family::kDefault), catch_up_key(kFirst), encode_catch_up(built));
    ASSERT_OK((*storage)->write(&batch));
  }
  reopen();
  EXPECT_EQ(rows_of(kFirst), (std::map<RowId, ContentHash>{{1, hash_of(1)}, {2, hash_of(2)}, {3, hash_of(2)}}));
  EXPECT_FALSE(std::filesystem::exists(spool));
  EXPECT_EQ(problems_of(*engine_, kFirst), std::vector<std::string>());
  reopen();
  EXPECT_EQ(rows_of(kFirst).size(), 3u);
}

TEST(IndexLogRecords, AreReadBack) {
  const Mark mark = {1ull << 40, 7, true, 1ull << 63};
  ASSERT_TRUE(decode_mark(encode_mark(mark)).is_ok());
  EXPECT_EQ(*decode_mark(encode_mark(mark)), mark);
  const RowId rows[] = {5, 1ull << 40};
  Result<LoggedChange> change = decode_logged(logged_key(9, 3), encode_logged(LoggedKind::kReplace, rows));
  ASSERT_TRUE(change.is_ok());
  EXPECT_EQ(change->position, 9u);
  EXPECT_EQ(change->generation, 3u);
  EXPECT_EQ(change->kind, LoggedKind::kReplace);
  EXPECT_EQ(change->rows, (std::vector<RowId>{5, 1ull << 40}));
  EXPECT_LT(logged_key(255, UINT64_MAX), logged_key(256, 0));
  EXPECT_LT(logged_key(UINT64_MAX, UINT64_MAX), logged_end_key());
  EXPECT_EQ(*decode_catch_up(encode_catch_up(77)), 77u);
}

TEST(IndexLogRecords, RefuseOtherSizesAndValues) {
  const std::string mark = encode_mark({1, 2, true}), key = logged_key(1, 2);
  for (size_t size = 0; size <= mark.size() + 3; ++size) {
    std::string value = mark;
    value.resize(size, '\0');
    EXPECT_EQ(decode_mark(value).is_ok(), size == mark.size()) << size;
  }
  std::string wrong = mark;
  wrong[16] = 2;
  EXPECT_FALSE(decode_mark(wrong).is_ok());
  EXPECT_TRUE(decode_mark(encode_mark({1, 2, true, 3})).is_ok());
  EXPECT_FALSE(decode_mark(encode_mark({1, 2, false, 3})).is_ok());
  for (size_t size = 0; size < 40; ++size) {
    const std::string value(size, '\2');
    EXPECT_EQ(decode_logged(key, value).is_ok(), size > 0 && (size - 1) % 8 == 0) << size;
    EXPECT_EQ(decode_catch_up(value).is_ok(), size == 8);
    EXPECT_FALSE(decode_logged(std::string(size, 'l'), encode_logged(LoggedKind::kDrop, {})).is_ok());
  }
  for (int kind = 0; kind < 256; ++kind) {
    const std::string alone(1, static_cast<char>(kind));
    EXPECT_EQ(decode_logged(key, alone).is_ok(), kind >= 1 && kind <= 6) << kind;
    const bool has_rows = kind == 2 || kind == 3 || kind == 6;
    EXPECT_EQ(decode_logged(key, alone + std::string(8, '\1')).is_ok(), has_rows) << kind;
  }
}

TEST(IndexLogRecords, CatalogFlags) {
  Catalog catalog;
  catalog.options.building = catalog.finishing = catalog.behind = true;
  const std::string value = encode_catalog(catalog);
  EXPECT_EQ(value[18], 2);
  EXPECT_EQ(value[19], 1);
  ASSERT_TRUE(decode_catalog(value).is_ok());
  EXPECT_TRUE(decode_catalog(value)->finishing && decode_catalog(value)->behind);
  for (const size_t at : {18u, 19u}) {
    for (int flag = 0; flag < 256; ++flag) {
      std::string other = value;
      other[at] = static_cast<char>(flag);
      Result<Catalog> decoded = decode_catalog(other);
      ASSERT_EQ(decoded.is_ok(), flag <= (at == 18 ? 2 : 1)) << at << " " << flag;
      if (decoded) {
        EXPECT_EQ(encode_catalog(*decoded), other);
      }
    }
  }
}

// Random bytes: an answer, never a crash (the sanitizers look on).
TEST(IndexLogRecords, RandomBytesAreReadOrRefused) {
  std::mt19937_64 random(4);
  size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string key = random() % 2 == 0 ? logged_key(random(), random()) : std::string(random() % 30, 'l');
    std::string value(random() % 50, '\0');
    for (char& byte : value) byte = static_cast<char>(random() % (random() % 4 == 0 ? 256 : 4));
    const Result<LoggedChange> change = decode_logged(key, value);
    if (change) {
      EXPECT_EQ(encode_logged(change->kind, change->rows), value);
    }
    const Result<Mark> mark = decode_mark(value);
    if (mark) {
      EXPECT_EQ(encode_mark(*mark), value);
    }
    const Result<Catalog> catalog = decode_catalog(value);
    if (catalog) {
      EXPECT_EQ(encode_catalog(*catalog), value);
    }
    accepted += change.is_ok() || mark.is_ok() ? 1 : 0;
  }
  EXPECT_GT(accepted, 100u);
}

}  // namespace
}  // namespace pg_semantic::index::testing
