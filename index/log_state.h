// Where the directory stands in PostgreSQL's log: the mark, and which changes have a
// record because no mark covers them yet.
//
// Invariants: a change that has begun ends a mark's `complete` before it writes
// anything; a record of a change is in the batch that makes it or was written before.
// RocksDB's log is written in order, so a mark that survives a crash was written
// after everything that it covers.
//
// Thread safety: every function may be called from any thread; load() first.
#ifndef PG_SEMANTIC_INDEX_LOG_STATE_H
#define PG_SEMANTIC_INDEX_LOG_STATE_H

#include <mutex>
#include <shared_mutex>
#include <span>
#include <vector>

#include "index/log_records.h"
#include "index/storage.h"

namespace pg_semantic::index {

class LogState {
 public:
  // A directory without a mark is new, or it was written before there were marks.
  Status load(const Storage& storage, bool is_new);
  [[nodiscard]] Mark found_mark() const { return found_mark_; }
  [[nodiscard]] LogPosition found_position() const { return found_position_; }

  // For as long as changes are made: no mark becomes complete.
  using Changing = std::shared_lock<std::shared_mutex>;
  // `positions`: of the changes, which are to be noted with them.  Those that need not be become 0.
  Result<Changing> begin_changes(const Storage& storage, std::span<LogPosition> positions);

  // Writes the mark and removes the records that it covers, all of them if it ends a recovery.
  Status store(const Storage& storage, const Mark& mark, bool ends_recovery);

 private:
  Mark found_mark_;
  LogPosition found_position_ = 0;
  std::shared_mutex changing_;  // shared by changes; taken before mutex_
  std::mutex mutex_;
  // Under mutex_:
  Mark mark_;
  bool is_stored_ = false;  // the directory has a mark
  // Records lie between these two; least > greatest: there are none.
  LogPosition least_ = UINT64_MAX, greatest_ = 0;
};

// Those beyond a position, the last first.
Result<std::vector<LoggedChange>> logged_changes_after(const Storage& storage, LogPosition position);

// Adds the record of a change to the batch that makes it, if it is to be noted.
Status note_change(const Storage& storage, rocksdb::WriteBatch* batch, LogPosition position, GenerationId generation,
                   LoggedKind kind, std::span<const RowId> rows = {});

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_LOG_STATE_H
