// Engine::search_batch: the results of single searches, in every bit, from fewer reads.
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <thread>

#include "index/storage.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kGeneration = 77;

Tuning batch_tuning() {
  Tuning tuning = small_lists();
  tuning.exact_vectors = 100;
  tuning.list_floor = 8;
  tuning.calibration_samples = 200;
  return tuning;
}

void expect_equal(const SearchResult& one, const SearchResult& other) {
  EXPECT_EQ(one.exhausted, other.exhausted);
  ASSERT_EQ(one.hits.size(), other.hits.size());
  for (size_t i = 0; i < one.hits.size(); ++i) {
    const SearchHit &a = one.hits[i], &b = other.hits[i];
    EXPECT_EQ(a.row, b.row);
    EXPECT_EQ(std::bit_cast<uint64_t>(a.distance), std::bit_cast<uint64_t>(b.distance));
    EXPECT_EQ(std::bit_cast<uint64_t>(a.error), std::bit_cast<uint64_t>(b.error));
    EXPECT_EQ(a.kind, b.kind);
    EXPECT_EQ(a.hash, b.hash);
  }
}

// The batch's results are those of its requests alone; returns them.
std::vector<SearchResult> expect_batch_equals_singles(const Engine& engine,
                                                      const std::vector<SearchRequest>& requests) {
  Result<std::vector<SearchResult>> batch = engine.search_batch(requests, {});
  EXPECT_TRUE(batch.is_ok()) << text_of(batch.status());
  if (!batch) return {};
  EXPECT_EQ(batch->size(), requests.size());
  for (size_t i = 0; i < std::min(batch->size(), requests.size()); ++i) {
    Result<SearchResult> alone = engine.search(requests[i], {});
    EXPECT_TRUE(alone.is_ok()) << text_of(alone.status());
    if (!alone) return {};
    SCOPED_TRACE("request " + std::to_string(i) + ", k " + std::to_string(requests[i].k) + ", recall " +
                 std::to_string(requests[i].recall));
    expect_equal(*alone, (*batch)[i]);
  }
  return std::move(*batch);
}

// Queries in turn, with everything else that a request may say mixed.
std::vector<SearchRequest> mixed_requests(const std::vector<Vector>& queries, size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto one_of = [&random](const auto&... values) {
    const std::common_type_t<std::decay_t<decltype(values)>...> all[] = {values...};
    return all[random() % std::size(all)];
  };
  std::vector<SearchRequest> requests(count);
  for (size_t i = 0; i < count; ++i) {
    requests[i].generation = kGeneration;
    requests[i].query = queries[i % queries.size()];
    requests[i].k = one_of(1u, 3u, 10u, 10u, 10u, 40u, 200u, 0u, 700u, 5000u);
    requests[i].recall = one_of(0.5f, 0.8f, 0.9f, 0.95f, 0.95f, 0.99f, 0.999f, 1.0f);
    requests[i].recall_rows = one_of(1u, 10u, 200u);
    requests[i].max_candidates = one_of(0u, 0u, 0u, 2u, 50u, 2000u);
  }
  return requests;
}

class IndexBatch : public ::testing::Test {
 protected:
  void open(const Tuning& tuning) {
    engine_ = open_or_fail(directory_.path(), tuning);
    ASSERT_TRUE(engine_);
  }
  void build(const std::vector<Vector>& vectors, Metric metric = Metric::kCosine, Codec codec = Codec::kBit) {
    ASSERT_OK(create(*engine_, kGeneration, metric, codec, true));
    ASSERT_OK(insert(*engine_, kGeneration, vectors));
    ASSERT_OK(engine_->finish_build(kGeneration, nullptr, {}));
  }
  // Rows without a vector, dead entries, appended tails.
  void change_rows(size_t dimensions) {
    std::vector<RowChange> rows;
    for (RowId row = 9001; row < 9040; ++row)
      rows.push_back({row, row % 3 == 0 ? RowKind::kNoDirection : RowKind::kNull, hash_of(row), {}});
    ASSERT_OK(engine_->apply(encode_insert(kGeneration, rows), false));
    std::vector<RowId> gone;
    for (RowId row = 5; row < 2000; row += 11) gone.push_back(row);
    ASSERT_OK(engine_->apply(encode_delete(kGeneration, gone), false));
    ASSERT_OK(insert(*engine_, kGeneration, clustered_vectors(6, 150, dimensions, 12), 20001, 20));
    engine_->wait_for_maintenance();
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(IndexBatch, EqualsSingleSearchesInEveryCodecAndMetric) {
  open(batch_tuning());
  size_t dimensions = 7;
  for (const Codec codec : {Codec::kBit, Codec::kSq8, Codec::kF16, Codec::kF32}) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2, Metric::kInnerProduct}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(codec)) + " " + std::to_string(static_cast<int>(metric)));
      dimensions += 9;
      build(clustered_vectors(5, 2500, dimensions, 12), metric, codec);
      change_rows(dimensions);
      std::vector<Vector> queries = clustered_vectors(7, 40, dimensions, 12);
      queries[3] = Vector(dimensions, 0.0f);  // under cosine it has no direction
      queries[4] = queries[5];
      const std::vector<SearchRequest> requests = mixed_requests(queries, 120, dimensions);
      const std::vector<SearchResult> results = expect_batch_equals_singles(*engine_, requests);
      ASSERT_EQ(results.size(), requests.size());
      // In other company and another order it is the same.
      const std::vector<SearchRequest> some(requests.rbegin(), requests.rbegin() + 30);
      Result<std::vector<SearchResult>> again = engine_->search_batch(some, {});
      ASSERT_TRUE(again.is_ok()) << text_of(again.status());
      for (size_t i = 0; i < some.size(); ++i) expect_equal((*again)[i], results[results.size() - 1 - i]);
      ASSERT_OK(engine_->apply(encode_drop(kGeneration), false));
    }
  }
}

TEST_F(IndexBatch, EqualsSingleSearchesThroughTheGraphAndInGenerationsThatAreReadWhole) {
  Tuning tuning = batch_tuning();
  for (const bool whole : {false, true}) {
    tuning.graph_lists = 10;
    tuning.distances_per_walk = 4;  // also for many lists of few
    tuning.exact_vectors = whole ? 100000 : 100;
    open(tuning);
    build(clustered_vectors(5, 2500, 32, 12));
    change_rows(32);
    expect_batch_equals_singles(*engine_, mixed_requests(clustered_vectors(7, 50, 32, 12), 100, 1));
    ASSERT_OK(engine_->apply(encode_drop(kGeneration), false));
    engine_.reset();
  }
}

TEST_F(IndexBatch, OfManyRowsIsRunInPortions) {
  open(batch_tuning());
  build(clustered_vectors(5, 3000, 8, 12));
  engine_->wait_for_maintenance();
  const std::vector<Vector> queries = clustered_vectors(7, 300, 8, 12);
  std::vector<SearchRequest> requests;  // with results of about 40 MB
  for (size_t i = 0; i < queries.size(); ++i)
    requests.push_back({.generation = kGeneration, .query = queries[i], .k = i % 3 == 0 ? 5 : 4000u});
  expect_batch_equals_singles(*engine_, requests);
}

TEST_F(IndexBatch, OfNothingAndOfNoRows) {
  open({});
  EXPECT_TRUE(engine_->search_batch({}, {}).value().empty());
  const Vector query = {1, 2, 3}, narrow = {1, 2};
  std::vector<SearchRequest> requests(3, {.generation = kGeneration, .query = query});
  EXPECT_EQ(engine_->search_batch(requests, {}).status().code(), StatusCode::kNotFound);
  ASSERT_OK(create(*engine_, kGeneration));
  requests[1].query = narrow;  // no row has said how wide they are
  for (const SearchResult& result : expect_batch_equals_singles(*engine_, requests)) {
    EXPECT_TRUE(result.hits.empty());
    EXPECT_TRUE(result.exhausted);
  }
  const RowChange null{9, RowKind::kNull, hash_of(9), {}};
  ASSERT_OK(engine_->apply(encode_insert(kGeneration, {&null, 1}), false));
  for (const SearchResult& result : expect_batch_equals_singles(*engine_, requests)) EXPECT_EQ(result.hits.size(), 1u);
  ASSERT_OK(engine_->apply(encode_drop(kGeneration), false));
  EXPECT_EQ(engine_->search_batch(requests, {}).status().code(), StatusCode::kNotFound);
}

TEST_F(IndexBatch, EndsWithTheErrorOfARequest) {
  open(batch_tuning());
  build(clustered_vectors(5, 600, 3, 4));
  const Vector good = {1, 2, 3}, narrow = {1, 2}, infinite = {1, INFINITY, 3};
  for (const Vector& bad : {narrow, infinite}) {
    std::vector<SearchRequest> requests(5, {.generation = kGeneration, .query = good});
    requests[3].query = bad;
    const Status alone = engine_->search(requests[3], {}).status();
    const Status batch = engine_->search_batch(requests, {}).status();
    EXPECT_EQ(batch.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(text_of(batch), text_of(alone));
  }
  std::vector<SearchRequest> requests(2, {.generation = kGeneration, .query = good});
  requests[1].generation = kGeneration + 1;
  const Status status = engine_->search_batch(requests, {}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.detail(), "There are generations 77 and 78.");
}

TEST_F(IndexBatch, FailsWhereASearchOfItWouldMeetADamagedBlock) {
  open(batch_tuning());
  const std::vector<Vector> vectors = clustered_vectors(5, 2000, 8, 12);
  build(vectors);
  engine_.reset();
  {
    auto storage = Storage::open({.path = directory_.path()});
    ASSERT_TRUE(storage.is_ok()) << text_of(storage.status());
    auto blocks = (*storage)->iterate(Family::kCodes, nullptr, Reading::kRange);
    blocks->Seek(generation_key(kGeneration));
    ASSERT_TRUE(blocks->Valid());
    rocksdb::WriteBatch batch;
    ASSERT_TRUE(batch.Delete((*storage)->family(Family::kCodes), blocks->key()).ok());
    ASSERT_OK((*storage)->write(&batch));
  }
  open(batch_tuning());
  std::vector<SearchRequest> requests;
  for (size_t i = 0; i < 100; ++i) requests.push_back({.generation = kGeneration, .query = vectors[i], .k = 1});
  std::vector<SearchRequest> sound;
  Status damaged;
  for (const SearchRequest& request : requests) {
    const Status status = engine_->search(request, {}).status();
    if (status.is_ok())
      sound.push_back(request);
    else
      damaged = status;
  }
  ASSERT_LT(sound.size(), requests.size());
  ASSERT_FALSE(sound.empty());
  EXPECT_EQ(text_of(engine_->search_batch(requests, {}).status()), text_of(damaged));
  expect_batch_equals_singles(*engine_, sound);
}

TEST_F(IndexBatch, StopsWhereverItIsInterrupted) {
  open(batch_tuning());
  build(clustered_vectors(5, 2000, 8, 12));
  change_rows(8);
  const std::vector<Vector> queries = clustered_vectors(7, 20, 8, 12);
  const std::vector<SearchRequest> requests = mixed_requests(queries, 20, 3);
  size_t polls = 0;
  ASSERT_OK(engine_->search_batch(requests, [&] { return ++polls == 0; }).status());
  ASSERT_GT(polls, 100u);
  for (size_t last = 0; last < polls; last += 1 + last / 10) {
    size_t asked = 0;
    EXPECT_EQ(engine_->search_batch(requests, [&] { return asked++ == last; }).status().code(), StatusCode::kCancelled);
    EXPECT_EQ(asked, last + 1);
  }
}

// All searches of a batch see the same rows, whatever is written meanwhile.
TEST_F(IndexBatch, IsOfOneView) {
  open(batch_tuning());
  const std::vector<Vector> vectors = clustered_vectors(5, 1500, 8, 12);
  build(vectors);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (RowId row = 10001; !done; ++row) ASSERT_OK(insert(*engine_, kGeneration, {vectors[4]}, row));
  });
  for (int round = 0; round < 30; ++round) {
    const std::vector<SearchRequest> requests(
        8, {.generation = kGeneration, .query = vectors[4], .k = round % 2 == 0 ? 5000u : 200u});
    Result<std::vector<SearchResult>> results = engine_->search_batch(requests, {});
    EXPECT_TRUE(results.is_ok());
    for (size_t i = 1; results.is_ok() && i < results->size(); ++i) expect_equal((*results)[0], (*results)[i]);
  }
  done = true;
  writer.join();
}

TEST_F(IndexBatch, ReadsABlockOnceForMany) {
  {
    open({});
    build(clustered_vectors(1, 6000, 1024, 50, 4.0f));
    engine_->wait_for_maintenance();
    engine_.reset();
  }
  const std::vector<Vector> queries = clustered_vectors(9, 64, 1024, 50, 4.0f);
  const auto reads_of = [&](float recall, uint32_t max_candidates, size_t at_once) {
    EngineOptions options;
    options.path = directory_.path();
    options.memory_bytes = 8 << 20;  // holds little
    Result<std::unique_ptr<Engine>> engine = Engine::open(options);
    EXPECT_TRUE(engine.is_ok());
    std::vector<SearchRequest> requests(queries.size());
    for (size_t i = 0; i < queries.size(); ++i) {
      requests[i].generation = kGeneration;
      requests[i].query = queries[i];
      requests[i].recall = recall;
      requests[i].max_candidates = max_candidates;
    }
    (void)(*engine)->search_batch({requests.data(), 1}, {});
    (*engine)->wait_for_maintenance();  // it looks after a generation that is used first
    const uint64_t before = (*engine)->statistics(kGeneration).value().disk_reads;
    for (size_t i = 0; i < requests.size(); i += at_once)
      EXPECT_TRUE((*engine)->search_batch({requests.data() + i, at_once}, {}).is_ok());
    return (*engine)->statistics(kGeneration).value().disk_reads - before;
  };
  const uint64_t alone = reads_of(0.99f, 0, 1), together = reads_of(0.99f, 0, queries.size());
  EXPECT_GT(together, 0u);
  EXPECT_LT(4 * together, alone);
  const uint64_t exact_alone = reads_of(1, 0, 1), exact_together = reads_of(1, 0, queries.size());
  EXPECT_LT(30 * exact_together, exact_alone);
  const uint64_t capped_alone = reads_of(0.99f, 100, 1), capped_together = reads_of(0.99f, 100, queries.size());
  EXPECT_LT(4 * capped_together, capped_alone);
}

}  // namespace
}  // namespace pg_semantic::index::testing
