// How lists lie in blocks, what is collected for a build, and scoring of rows by
// their numbers.
#include <gtest/gtest.h>

#include <algorithm>

#include "index/records.h"
#include "index/spool.h"
#include "index/storage.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

TEST(IndexBlockSizes, AppendsKeepFewTails) {
  constexpr uint32_t kFull = 100;
  std::mt19937_64 random(1);
  for (const uint32_t most : {1u, 7u, 150u}) {
    BlockSizes sizes;
    uint64_t entries = 0, rewritten = 0;
    for (int i = 0; i < 5000; ++i) {
      const uint64_t appended = 1 + random() % most;
      uint64_t together = appended;
      while (sizes.takes_up_tail(together)) {
        together += sizes.of_block(sizes.blocks() - 1, kFull);
        sizes.remove_tail();
      }
      rewritten += together - appended;
      sizes.append(together, kFull);
      entries += appended;
      ASSERT_EQ(sizes.entries(kFull), entries);
      ASSERT_LE(sizes.tail_count, BlockSizes::kMostTails);
      for (uint32_t block = 0; block < sizes.blocks(); ++block) {
        ASSERT_GT(sizes.of_block(block, kFull), 0u);
        ASSERT_LE(sizes.of_block(block, kFull), kFull);
      }
    }
    // Each about once for every doubling on the way to a full block.
    EXPECT_LE(rewritten, 7 * entries);
  }
}

TEST(IndexBlockSizes, ListRecordsRoundTripAndAreChecked) {
  const CodecLayout layout(Codec::kBit, Metric::kL2, 16);
  ListRecord list;
  list.dead = 5;
  list.sizes.full = 3;
  list.sizes.append(300, layout.entries_per_block());
  list.sizes.append(20, layout.entries_per_block());
  const std::string bytes = encode_list(list);
  const Result<ListRecord> decoded = decode_list(bytes, layout);
  ASSERT_TRUE(decoded.is_ok());
  EXPECT_EQ(encode_list(*decoded), bytes);
  EXPECT_EQ(decoded->sizes.blocks(), 5u);
  for (size_t length = 0; length < bytes.size(); ++length) {
    // Whole tails may be missing: then there are fewer entries.
    const bool whole = length >= 8 && length % 4 == 0;
    EXPECT_EQ(decode_list(bytes.substr(0, length), layout).is_ok(), whole) << length;
  }
  const auto with_tail = [&](uint32_t tail) {
    std::string value = bytes;
    value.append(reinterpret_cast<const char*>(&tail), sizeof tail);
    return decode_list(value, layout).is_ok();
  };
  EXPECT_TRUE(with_tail(1));
  EXPECT_FALSE(with_tail(0));
  EXPECT_FALSE(with_tail(layout.entries_per_block()));
  EXPECT_FALSE(decode_list(bytes + std::string(4 * 7, '\1'), layout).is_ok());  // nine tails
  ListRecord all_dead = list;
  all_dead.dead = static_cast<uint32_t>(list.sizes.entries(layout.entries_per_block())) + 1;
  EXPECT_FALSE(decode_list(encode_list(all_dead), layout).is_ok());
  ListRecord huge = list;
  huge.sizes.full = UINT32_MAX;
  EXPECT_FALSE(decode_list(encode_list(huge), layout).is_ok());
}

std::vector<std::byte> bytes_of(const std::string& text) {
  std::vector<std::byte> bytes(text.size());
  std::transform(text.begin(), text.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

std::vector<std::string> contents(const Spool& spool, size_t from = 0) {
  std::vector<std::string> result;
  const auto mapping = spool.map();
  EXPECT_TRUE(mapping.is_ok());
  EXPECT_TRUE((*mapping)
                  ->for_each(from,
                             [&](std::span<const std::byte> change) {
                               result.emplace_back(reinterpret_cast<const char*>(change.data()), change.size());
                               return Status::ok();
                             })
                  .is_ok());
  return result;
}

TEST(IndexSpool, AnIncompleteEndIsCutOff) {
  TemporaryDirectory directory;
  const std::vector<std::string> changes = {"first", "", "the third one", std::string(100000, 'x')};
  size_t before_last = 0;
  {
    auto spool = Spool::open(directory.path(), 7);
    ASSERT_TRUE(spool.is_ok());
    for (const std::string& change : changes) {
      before_last = (*spool)->size();
      ASSERT_OK((*spool)->append(bytes_of(change)));
    }
    EXPECT_EQ(contents(**spool), changes);
    EXPECT_EQ(contents(**spool, before_last), (std::vector<std::string>{changes.back()}));
  }
  const std::string path = directory.path() + "/collected-7";
  const auto whole = std::filesystem::file_size(path);
  for (const size_t missing : {size_t{1}, whole - before_last - 3}) {
    std::filesystem::resize_file(path, whole - missing);
    auto spool = Spool::open(directory.path(), 7);
    ASSERT_TRUE(spool.is_ok());
    EXPECT_EQ((*spool)->size(), before_last);
    EXPECT_EQ(contents(**spool), std::vector<std::string>(changes.begin(), changes.end() - 1));
    ASSERT_OK((*spool)->append(bytes_of(changes.back())));
    EXPECT_EQ(contents(**spool), changes);
  }
  Spool::remove_orphans(directory.path(), [](GenerationId generation) { return generation == 7; });
  EXPECT_TRUE(std::filesystem::exists(path));
  Spool::remove_orphans(directory.path(), [](GenerationId) { return false; });
  EXPECT_FALSE(std::filesystem::exists(path));
}

// A directory of another format is told from a damaged one, whatever it differs in.
TEST(IndexFormat, AnotherOneIsRefusedByName) {
  for (const bool families : {false, true}) {
    TemporaryDirectory directory;
    ASSERT_TRUE(open_or_fail(directory.path()));
    if (families) {
      std::vector<std::string> names;
      ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, directory.path(), &names).ok());
      std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
      for (const std::string& name : names) descriptors.emplace_back(name, rocksdb::ColumnFamilyOptions());
      std::vector<rocksdb::ColumnFamilyHandle*> handles;
      rocksdb::DB* db = nullptr;
      ASSERT_TRUE(rocksdb::DB::Open({}, directory.path(), descriptors, &handles, &db).ok());
      const std::unique_ptr<rocksdb::DB> owned(db);
      rocksdb::ColumnFamilyHandle* other = nullptr;
      ASSERT_TRUE(db->CreateColumnFamily({}, "locations", &other).ok());
      handles.push_back(other);
      for (rocksdb::ColumnFamilyHandle* handle : handles) ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
    } else {
      EngineOptions options;
      options.path = directory.path();
      auto storage = Storage::open(options);
      ASSERT_TRUE(storage.is_ok());
      rocksdb::WriteBatch batch;
      ASSERT_TRUE(batch.Put((*storage)->family(Family::kDefault), "format", encode_u32(kFormatVersion - 1)).ok());
      ASSERT_OK((*storage)->write(&batch));
    }
    EngineOptions options;
    options.path = directory.path();
    const Status refused = Engine::open(options).status();
    EXPECT_EQ(refused.code(), StatusCode::kUnsupported) << text_of(refused);
  }
}

// Rows in any order, twice, and ones that are not there.
TEST(IndexScoreRows, GivesTheDistancesOfASearch) {
  Tuning tuning;
  tuning.list_limit = 24;
  for (const Codec codec : {Codec::kF32, Codec::kBit}) {
    TemporaryDirectory directory;
    const auto engine = open_or_fail(directory.path(), tuning);
    const auto vectors = clustered_vectors(31, 500, 12, 6);
    ASSERT_OK(create(*engine, 1, Metric::kCosine, codec));
    ASSERT_OK(insert(*engine, 1, vectors));
    const RowChange null{900, RowKind::kNull, hash_of(900), {}};
    ASSERT_OK(engine->apply(encode_insert(1, {&null, 1}), false));
    engine->wait_for_maintenance();
    const Vector query = clustered_vectors(32, 1, 12, 6).front();
    const std::vector<RowId> wanted = {17, 3, 900, 499, 777, 3, 1, 500};
    const auto scored = engine->score_rows(1, query, wanted, {});
    ASSERT_TRUE(scored.is_ok()) << text_of(scored.status());
    ASSERT_EQ(scored->size(), 7u);
    SearchRequest request{.generation = 1, .query = query, .k = 1000};
    const auto all = engine->search(request, {});
    size_t next = 0;
    for (const RowId row : wanted) {
      if (row == 777) continue;
      const SearchHit& hit = (*scored)[next++];
      EXPECT_EQ(hit.row, row);
      EXPECT_EQ(hit.hash, hash_of(row));
      const auto same =
          std::find_if(all->hits.begin(), all->hits.end(), [&](const auto& other) { return other.row == row; });
      ASSERT_NE(same, all->hits.end());
      EXPECT_EQ(hit.kind, same->kind);
      if (hit.kind == RowKind::kVector) {
        EXPECT_EQ(hit.distance, same->distance);
        EXPECT_NEAR(hit.distance, exact_distance(Metric::kCosine, vectors[row - 1], query), hit.error + 1e-9);
      }
    }
    const Vector narrow(3);
    EXPECT_EQ(engine->score_rows(1, narrow, wanted, {}).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(engine->score_rows(1, query, wanted, [] { return true; }).status().code(), StatusCode::kCancelled);
  }
}

}  // namespace
}  // namespace pg_semantic::index::testing
