// A process that is killed while it applies changes: what it acknowledged as
// durable is there afterwards, and the index is sound.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <thread>

#include "tests/unit/index_test_support.h"

extern char** environ;

namespace pg_semantic::index::testing {
namespace {

constexpr GenerationId kGrowing = 1, kBuilding = 2;
constexpr size_t kDimensions = 16, kBatch = 20;
constexpr int kOutput = 100;  // the writer's end of the pipe
constexpr const char* kDirectoryVariable = "PG_SEMANTIC_INDEX_CRASH_DIRECTORY";

Tuning crash_tuning() {
  Tuning tuning;
  tuning.list_limit = 40;
  tuning.list_floor = 5;
  return tuning;
}

// Row `row` always has this vector, so that the parent knows it.
Vector vector_of(RowId row) {
  std::mt19937_64 random(row);
  return random_vector(random, kDimensions);
}

std::vector<std::byte> batch_from(GenerationId generation, RowId first, const std::vector<Vector>& vectors) {
  std::vector<RowChange> rows;
  for (size_t i = 0; i < vectors.size(); ++i)
    rows.push_back({first + i, RowKind::kVector, hash_of(first + i), vectors[i]});
  return encode_insert(generation, rows);
}

// The child: inserts batches, deletes the first row of each, and writes the
// number of every batch that is durable to kOutput.
int write_until_killed(const std::string& path) {
  const auto engine = open_or_fail(path, crash_tuning());
  if (!engine) return 1;
  if (!create(*engine, kGrowing).is_ok() || !create(*engine, kBuilding, Metric::kL2, Codec::kF16, true).is_ok())
    return 1;
  RowId first = engine->statistics(kGrowing).value().rows * 2 + 1;  // past every row of earlier runs
  first = first / kBatch * kBatch + kBatch + 1;
  std::thread builder([&] {
    while (engine->finish_build(kBuilding, nullptr, {}).code() != StatusCode::kNotFound) {
      if (!engine->apply(encode_drop(kBuilding), false).is_ok()) return;
      if (!create(*engine, kBuilding, Metric::kL2, Codec::kF16, true).is_ok()) return;
      (void)insert(*engine, kBuilding, clustered_vectors(1, 2000, kDimensions, 9));
    }
  });
  for (;; first += kBatch) {
    std::vector<Vector> vectors;
    for (size_t i = 0; i < kBatch; ++i) vectors.push_back(vector_of(first + i));
    const RowId gone[] = {first};
    if (!engine->apply(batch_from(kGrowing, first, vectors), false).is_ok()) return 1;
    if (!engine->apply(encode_delete(kGrowing, gone), true).is_ok()) return 1;
    if (::write(kOutput, &first, sizeof first) != sizeof first) return 1;
  }
}

class Child {
 public:
  explicit Child(const std::string& directory) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    output_ = ends[0];
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], kOutput);
    const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
    std::string name = program, filter = "--gtest_filter=IndexCrash.WriterProcess", brief = "--gtest_brief=1";
    std::string variable = std::string(kDirectoryVariable) + "=" + directory;
    std::vector<char*> environment = {variable.data()};
    for (char** entry = environ; *entry != nullptr; ++entry) {
      // The child runs its one test, whichever shard of the tests this process runs.
      if (!std::string_view(*entry).starts_with("GTEST_")) environment.push_back(*entry);
    }
    environment.push_back(nullptr);
    std::array<char*, 4> arguments = {name.data(), filter.data(), brief.data(), nullptr};
    if (::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments.data(), environment.data()) != 0) pid_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
  }
  ~Child() { ::close(output_); }

  // Kills it after so many acknowledged batches; returns all it acknowledged.
  std::vector<RowId> kill_after(size_t batches, std::chrono::microseconds delay) {
    std::vector<RowId> acknowledged;
    RowId first = 0;
    bool killed = pid_ < 0;
    while (::read(output_, &first, sizeof first) == sizeof first) {
      acknowledged.push_back(first);
      if (acknowledged.size() == batches && !killed) {
        std::this_thread::sleep_for(delay);
        killed = ::kill(pid_, SIGKILL) == 0;
      }
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the writer ended on its own";
    return acknowledged;
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

// Does nothing unless it is run by the test below.
TEST(IndexCrash, WriterProcess) {
  const char* directory = std::getenv(kDirectoryVariable);
  if (directory != nullptr) _exit(write_until_killed(directory));
}

TEST(IndexCrash, AcknowledgedChangesSurviveAKill) {
  TemporaryDirectory directory;
  std::mt19937_64 random(31);
  std::vector<RowId> acknowledged;
  for (int round = 0; round < 8; ++round) {
    Child child(directory.path());
    const auto more = child.kill_after(3 + random() % 40, std::chrono::microseconds(random() % 20000));
    ASSERT_GE(more.size(), 3u);
    acknowledged.insert(acknowledged.end(), more.begin(), more.end());

    const auto engine = open_or_fail(directory.path(), crash_tuning());
    ASSERT_TRUE(engine);
    EXPECT_EQ(problems_of(*engine, kGrowing), std::vector<std::string>());
    for (const GenerationStatistics& one : engine->generations())
      EXPECT_EQ(problems_of(*engine, one.generation), std::vector<std::string>());
    Result<std::vector<ListedRow>> rows = engine->list_rows(kGrowing, 0, 10000000);
    ASSERT_TRUE(rows.is_ok());
    std::map<RowId, ContentHash> listed;
    for (const ListedRow& row : *rows) listed[row.row] = row.hash;
    for (const RowId first : acknowledged) {
      EXPECT_FALSE(listed.contains(first)) << "deleted row " << first;
      for (RowId row = first + 1; row < first + kBatch; ++row) {
        ASSERT_TRUE(listed.contains(row)) << row;
        EXPECT_EQ(listed[row], hash_of(row));
      }
    }
    const Vector query = vector_of(acknowledged.back() + 3);
    SearchRequest request;
    request.generation = kGrowing;
    request.query = query;
    request.k = 1;
    Result<SearchResult> result = engine->search(request, {});
    ASSERT_TRUE(result.is_ok());
    EXPECT_EQ(result->hits.at(0).row, acknowledged.back() + 3);
  }
}

}  // namespace
}  // namespace pg_semantic::index::testing
