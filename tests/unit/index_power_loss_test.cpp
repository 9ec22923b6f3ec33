// The power fails at random moments, in the middle of writes too.  What the
// mark covers is there afterwards, and replaying the log from the mark on gives
// exactly what the log says: the store is compared with a model of it.
#include <gtest/gtest.h>

#include "tests/unit/forgetful_files.h"
#include "tests/unit/index_test_support.h"

namespace pg_semantic::index::testing {
namespace {

constexpr size_t kDimensions = 4;

struct Record {
  enum class Kind { kCreate, kInsert, kDelete, kDrop, kFinish };
  Kind kind = Kind::kInsert;
  LogPosition position = 0;
  GenerationId generation = 0;
  std::vector<RowId> rows;
  uint64_t content = 0;  // of an insert; names its vector
  bool building = false;
};

using Rows = std::map<RowId, ContentHash>;

struct ModelGeneration {
  bool building = false;
  Rows rows;
};
using Model = std::map<GenerationId, ModelGeneration>;

void apply_to(Model& model, const Record& record) {
  if (record.kind == Record::Kind::kCreate) model.try_emplace(record.generation, ModelGeneration{record.building, {}});
  const auto at = model.find(record.generation);
  if (at == model.end()) return;
  for (const RowId row : record.rows) {
    if (record.kind == Record::Kind::kInsert) at->second.rows[row] = hash_of(record.content);
    if (record.kind == Record::Kind::kDelete) at->second.rows.erase(row);
  }
  if (record.kind == Record::Kind::kFinish) at->second.building = false;
  if (record.kind == Record::Kind::kDrop) model.erase(at);
}

std::vector<std::byte> change_of(const Record& record) {
  if (record.kind == Record::Kind::kDelete) return encode_delete(record.generation, record.rows);
  if (record.kind == Record::Kind::kDrop) return encode_drop(record.generation);
  if (record.kind == Record::Kind::kCreate) {
    GenerationOptions options;
    options.metric = Metric::kL2;
    options.building = record.building;
    return encode_create(record.generation, options);
  }
  std::mt19937_64 random(record.content);
  const Vector vector = random_vector(random, kDimensions);
  std::vector<RowChange> rows;
  for (const RowId row : record.rows) rows.push_back({row, RowKind::kVector, hash_of(record.content), vector});
  return encode_insert(record.generation, rows);
}

class Machine {
 public:
  explicit Machine(uint64_t seed) : random_(seed), env_(files_) {
    files_->use(directory_.path() + "/store", directory_.path() + "/left", seed);
    tuning_.list_limit = 8;
    tuning_.list_floor = 2;
    tuning_.built_list_entries = 6;
    tuning_.env = &env_;
  }

  void run(int rounds) {
    for (round_ = 0; round_ < rounds && !::testing::Test::HasFatalFailure(); ++round_) {
      SCOPED_TRACE("round " + std::to_string(round_));
      recover();
      if (::testing::Test::HasFatalFailure()) return;
      if (random_() % 2 == 0) files_->fail_after(static_cast<int64_t>(random_() % 300));
      for (int step = 0; step < 25; ++step) {
        const Status status = take_step();
        ASSERT_TRUE(status.is_ok()) << text_of(status);
        if (files_->has_failed()) break;
      }
      lose_power();
    }
  }
  [[nodiscard]] int builds() const { return builds_; }
  [[nodiscard]] int undone() const { return undone_; }
  [[nodiscard]] int repaired() const { return repaired_; }
  [[nodiscard]] int replayed() const { return replayed_; }

 private:
  size_t any(size_t limit) { return random_() % limit; }

  void lose_power() {
    engine_.reset();
    files_->forget();
  }

  bool open() {
    EngineOptions options;
    options.path = directory_.path() + "/store";
    options.memory_bytes = 8 << 20;
    Result<std::unique_ptr<Engine>> engine = open_engine(options, tuning_);
    EXPECT_TRUE(engine.is_ok()) << text_of(engine.status());
    if (engine) engine_ = std::move(*engine);
    return engine.is_ok();
  }

  [[nodiscard]] Model model_at(LogPosition position) const {
    Model model;
    for (const Record& record : log_) {
      if (record.position <= position) apply_to(model, record);
    }
    return model;
  }
  [[nodiscard]] LogPosition end() const { return std::max(recovered_, log_.empty() ? 0 : log_.back().position); }

  Status apply(const Record& record) {
    if (record.kind == Record::Kind::kFinish) return engine_->request_finish(record.generation, record.position);
    return engine_->apply(change_of(record), record.position, any(8) == 0);
  }

  // Into the log, and then to the engine, perhaps later.
  Status log_and_apply(Record record, bool later = false) {
    record.position = end() + 1 + any(20);
    log_.push_back(record);
    if (!later) return apply(record);
    pending_.push_back(record);
    return Status::ok();
  }
  Status apply_pending() {
    while (!pending_.empty()) {
      const Record record = pending_.back();
      pending_.pop_back();
      PG_SEMANTIC_RETURN_IF_ERROR(any(2) == 0 ? apply(record) : apply_with_pending(record));
    }
    return Status::ok();
  }
  // Insertions, together.
  Status apply_with_pending(const Record& first) {
    std::vector<std::vector<std::byte>> changes = {change_of(first)};
    std::vector<LogPosition> positions = {first.position};
    std::erase_if(pending_, [&](const Record& record) {
      const bool goes = record.generation == first.generation;
      if (goes) {
        changes.push_back(change_of(record));
        positions.push_back(record.position);
      }
      return goes;
    });
    std::vector<LoggedInsertion> insertions;
    for (size_t i = 0; i < changes.size(); ++i) insertions.push_back({changes[i], positions[i]});
    return engine_->apply_insertions(insertions);
  }

  Status take_step() {
    Model model = model_at(end());
    Record record;
    const size_t choice = any(100);
    if (choice < 12) return set_mark();
    if (model.empty() || (choice < 20 && model.size() < 4)) {
      record.kind = Record::Kind::kCreate;
      record.generation = ++last_generation_;
      record.building = any(2) == 0;
      return log_and_apply(record);
    }
    const auto chosen = std::next(model.begin(), static_cast<std::ptrdiff_t>(any(model.size())));
    record.generation = chosen->first;
    if (choice < 24 || (choice < 34 && chosen->second.building)) {
      PG_SEMANTIC_RETURN_IF_ERROR(apply_pending());
      if (choice < 22) {
        record.kind = Record::Kind::kDrop;
        return log_and_apply(record);
      }
      record.kind = Record::Kind::kFinish;
      ++builds_;
      if (any(2) == 0) PG_SEMANTIC_RETURN_IF_ERROR(engine_->finish_build(record.generation, nullptr, {}));
      return log_and_apply(record);
    }
    if (choice < 45 && !chosen->second.rows.empty()) {
      PG_SEMANTIC_RETURN_IF_ERROR(apply_pending());
      record.kind = Record::Kind::kDelete;
      for (const auto& [row, hash] : chosen->second.rows) {
        if (any(4) == 0) record.rows.push_back(row);
      }
      return record.rows.empty() ? Status::ok() : log_and_apply(record);
    }
    record.content = ++last_content_;
    const bool later = any(5) == 0;
    // Rows that wait to be applied are nobody else's.
    for (size_t i = 0; i <= any(6); ++i) record.rows.push_back(later ? 1000 + 10 * record.content + i : 1 + any(60));
    return log_and_apply(record, later);
  }

  Status set_mark() {
    if (any(2) == 0) PG_SEMANTIC_RETURN_IF_ERROR(apply_pending());
    Mark mark;
    mark.position = end();
    for (const Record& record : pending_) mark.position = std::min(mark.position, record.position - 1);
    mark.position = std::max(mark.position, mark_.position);
    mark.complete = pending_.empty() && any(4) == 0;
    const bool sync = any(2) == 0;
    PG_SEMANTIC_RETURN_IF_ERROR(engine_->set_mark(mark, sync));
    mark_ = mark;
    if (sync && !files_->has_failed()) synced_mark_ = mark.position;
    return Status::ok();
  }

  Rows rows_of(GenerationId generation) {
    Rows rows;
    Result<std::vector<ListedRow>> listed = engine_->list_rows(generation, 0, 1000000);
    EXPECT_TRUE(listed.is_ok()) << text_of(listed.status());
    if (listed) {
      for (const ListedRow& row : *listed) rows[row.row] = row.hash;
    }
    return rows;
  }

  // Before anything is replayed.
  void check_what_the_mark_covers(LogPosition mark) {
    std::set<GenerationId> dropped;
    std::set<std::pair<GenerationId, RowId>> touched;
    for (const Record& record : log_) {
      if (record.position <= mark) continue;
      if (record.kind == Record::Kind::kDrop) dropped.insert(record.generation);
      for (const RowId row : record.rows) touched.emplace(record.generation, row);
    }
    for (const auto& [id, generation] : model_at(mark)) {
      if (dropped.contains(id)) continue;
      Result<GenerationStatistics> statistics = engine_->statistics(id);
      ASSERT_TRUE(statistics.is_ok()) << text_of(statistics.status());
      if (statistics->options.building) continue;
      Rows there = rows_of(id), expected = generation.rows;
      const auto is_touched = [&, generation_id = id](const auto& row) {
        return touched.contains({generation_id, row.first});
      };
      std::erase_if(there, is_touched);
      std::erase_if(expected, is_touched);
      ASSERT_EQ(there, expected) << "generation " << id << ", mark " << mark;
    }
  }

  // From the log alone, as after the start of a server; again if the power
  // fails meanwhile.
  void recover() {
    pending_.clear();
    bool chosen = false;
    LogPosition log_end = 0;
    for (int attempt = 0;; ++attempt) {
      if (attempt < 3 && any(4) == 0) files_->fail_after(static_cast<int64_t>(any(400)));
      if (open()) {
        const Mark found = engine_->found_mark();
        ASSERT_GE(engine_->found_position(), found.position);
        if (!chosen) {
          ASSERT_GE(found.position, synced_mark_);
          ASSERT_LE(engine_->found_position(), end());
          check_what_the_mark_covers(found.position);
          if (::testing::Test::HasFatalFailure()) return;
          chosen = true;
          const bool lost_too_much = any(15) == 0;
          const LogPosition least = std::max(found.position, flushed_);
          log_end = lost_too_much && found.position > 0 ? any(found.position) : least + any(end() - least + 1);
          if (any(3) == 0 && !lost_too_much) log_end = end();
          note_dropped(log_end);
          recovered_ = log_end;
          std::erase_if(log_, [&](const Record& record) { return record.position > log_end; });
        }
        if (replay(found.position, log_end)) break;
      }
      lose_power();
    }
    files_->fail_after(INT64_MAX);
    synced_mark_ = recovered_ = flushed_ = log_end;
    mark_ = {log_end, log_end, true};
    compare(log_end);
  }

  void note_dropped(LogPosition log_end) {
    dropped_beyond_.clear();
    for (const Record& record : log_) {
      if (record.position <= log_end) continue;
      if (record.kind == Record::Kind::kDrop) dropped_beyond_.insert(record.generation);
      ++undone_;
    }
  }

  bool replay(LogPosition from, LogPosition log_end) {
    for (const Record& record : log_) {
      if (record.position <= from || record.position > log_end) continue;
      ++replayed_;
      const Status applied = apply(record);
      if (applied.is_ok() || applied.code() == StatusCode::kNotFound) continue;
      ADD_FAILURE() << text_of(applied);
      return false;
    }
    const Status ended = engine_->end_recovery(log_end);
    EXPECT_TRUE(ended.is_ok()) << text_of(ended);
    engine_->wait_for_maintenance();
    return !files_->has_failed();
  }

  // What recovery has made of the store with the model of what is left of the
  // log.
  void compare(LogPosition log_end) {
    const Model model = model_at(log_end);
    std::set<GenerationId> there;
    bool all_behind = true;
    for (const GenerationStatistics& one : engine_->generations()) all_behind = all_behind && one.behind;
    for (const GenerationStatistics& one : engine_->generations()) {
      SCOPED_TRACE("generation " + std::to_string(one.generation) + ", log ends at " + std::to_string(log_end));
      there.insert(one.generation);
      ASSERT_EQ(problems_of(*engine_, one.generation), std::vector<std::string>());
      const auto expected = model.find(one.generation);
      if (one.behind) {
        repair(one, expected == model.end() ? nullptr : &expected->second);
      } else {
        ASSERT_NE(expected, model.end());
        ASSERT_TRUE(expected->second.building || !one.options.building);
        if (one.options.building) continue;
        ASSERT_EQ(rows_of(one.generation), expected->second.rows);
      }
    }
    for (const auto& [id, generation] : model) {
      if (there.contains(id)) continue;
      ASSERT_TRUE(dropped_beyond_.contains(id)) << "generation " << id;
      drop(id);
    }
  }

  void drop(GenerationId id) {
    Record record;
    record.kind = Record::Kind::kDrop;
    record.generation = id;
    ASSERT_OK(log_and_apply(record));
  }

  // As the extension does it from the table.
  void repair(const GenerationStatistics& one, const ModelGeneration* expected) {
    ++repaired_;
    if (expected == nullptr || expected->building || one.options.building) return drop(one.generation);
    Record deletion;
    deletion.kind = Record::Kind::kDelete;
    deletion.generation = one.generation;
    const Rows there = rows_of(one.generation);
    for (const auto& [row, hash] : there) {
      if (!expected->rows.contains(row)) deletion.rows.push_back(row);
    }
    if (!deletion.rows.empty()) ASSERT_OK(log_and_apply(deletion));
    for (const auto& [row, hash] : expected->rows) {
      const auto at = there.find(row);
      if (at != there.end() && at->second == hash) continue;
      Record insertion;
      insertion.generation = one.generation;
      insertion.rows = {row};
      std::memcpy(&insertion.content, hash.data(), sizeof insertion.content);
      ASSERT_OK(log_and_apply(insertion));
    }
    flushed_ = end();  // the log's records of the repair, before it is said to be done
    ASSERT_OK(engine_->declare_repaired(one.generation));
    ASSERT_EQ(rows_of(one.generation), expected->rows);
  }

  TemporaryDirectory directory_;
  std::mt19937_64 random_;
  std::shared_ptr<ForgetfulFiles> files_ = std::make_shared<ForgetfulFiles>();
  ForgetfulEnvironment env_;
  Tuning tuning_;
  std::unique_ptr<Engine> engine_;
  std::vector<Record> log_;
  std::vector<Record> pending_;  // in the log, not applied yet
  std::set<GenerationId> dropped_beyond_;
  GenerationId last_generation_ = 0;
  uint64_t last_content_ = 0;
  Mark mark_;
  LogPosition synced_mark_ = 0;
  LogPosition flushed_ = 0;    // the log does not end before
  LogPosition recovered_ = 0;  // where the log ended at the last recovery
  int round_ = 0, builds_ = 0, undone_ = 0, repaired_ = 0, replayed_ = 0;
};

// What a build collected is there as long as the generation is.
TEST(IndexPowerLoss, AForgottenDropTakesNothingAlong) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    TemporaryDirectory directory;
    const std::string store = directory.path() + "/store";
    const auto files = std::make_shared<ForgetfulFiles>();
    files->use(store, directory.path() + "/left", seed);
    ForgetfulEnvironment environment(files);
    Tuning tuning;
    tuning.env = &environment;
    auto engine = open_or_fail(store, tuning);
    ASSERT_TRUE(engine);
    ASSERT_OK(create(*engine, 1, Metric::kL2, Codec::kBit, true));
    ASSERT_OK(insert(*engine, 1, clustered_vectors(1, 50, kDimensions, 3)));
    ASSERT_OK(engine->set_mark({}, true));
    files->fail_after(static_cast<int64_t>(seed % 3));
    ASSERT_OK(engine->apply(encode_drop(1), false));
    engine.reset();
    files->forget();
    engine = open_or_fail(store, tuning);
    ASSERT_TRUE(engine);
    if (!engine->statistics(1).is_ok()) continue;
    ASSERT_OK(engine->finish_build(1, nullptr, {}));
    EXPECT_EQ(engine->statistics(1)->rows, 50u) << seed;
  }
}

TEST(IndexPowerLoss, TheLogGivesBackWhatWasLost) {
  int builds = 0, undone = 0, repaired = 0, replayed = 0;
  for (uint64_t seed = 1; seed <= 5 && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Machine machine(seed);
    machine.run(30);
    builds += machine.builds();
    undone += machine.undone();
    repaired += machine.repaired();
    replayed += machine.replayed();
  }
  if (HasFatalFailure()) return;
  EXPECT_GT(builds, 30);
  EXPECT_GT(undone, 200);
  EXPECT_GT(repaired, 20);
  EXPECT_GT(replayed, 200);
}

}  // namespace
}  // namespace pg_semantic::index::testing
