// The store beside PostgreSQL's log: how far it is known to hold what the log says.
//
// On the worker's main thread.  A few times a second the store is marked with the position that the log had on the disk
// when all changes before it were applied.  A checkpoint of the primary is not completed before the
// store has what was logged before its redo position: the worker is in the process array with DELAY_CHKPT_COMPLETE,
// under a local transaction number that changes while that is so.  Then the worker logs that it is, before the
// checkpoint's own record; whoever replays that does the same, so that a standby's restart points and backups find it
// done.
#ifndef PG_SEMANTIC_EXTENSION_WORKER_LOG_H
#define PG_SEMANTIC_EXTENSION_WORKER_LOG_H

#include "extension/server.h"

#include <atomic>

#include "extension/index_shared_memory.h"
#include "extension/worker_aside.h"
#include "extension/worker_posted.h"

namespace pg_semantic {

class LogKeeper {
 public:
  // `changes` counts what the request threads have applied.
  LogKeeper(IndexSharedMemory* shared, index::Engine* engine, PostedApplier* posted, Aside* aside,
            const std::atomic<uint64_t>* changes, uint64_t redo)
      : shared_(shared), engine_(engine), posted_(*posted), aside_(*aside), changes_(changes), redo_(redo) {}

  // To be called every kTickMilliseconds.
  void tick();
  // For a process that ends, its postmaster dead, without leaving the process array: a checkpointer would wait for it
  // without end.
  void let_checkpoints_go();
  // The last mark: nothing is applied any more.  `settled`: what was posted is, or there is none.
  void finish(bool settled);

  static constexpr long kTickMilliseconds = 100;

 private:
  // Until whoever has written a change to the log by now has applied or posted it, and what is posted then is applied.
  // False: it is not.
  bool wait_for_changes();
  [[nodiscard]] bool may_wait() const;
  // Of the end of a record that is on the disk, with all before it; in recovery, that is replayed.
  uint64_t log_position();
  void hold_checkpoints();
  void release_checkpoint();
  void note_failed_replay();
  void keep_up();
  // False: it could not be written.
  bool mark(const index::Mark& mark, bool sync);
  // False as well: changes are not applied that it would cover.
  bool mark_now(bool checkpoint);
  void log_checkpoint(bool complete);
  void keep_replayed_checkpoint();
  bool has_generations();
  // False: the store has nothing that a backup would need.
  bool copy(uint64_t redo);

  IndexSharedMemory* shared_;
  index::Engine* engine_;
  PostedApplier& posted_;
  Aside& aside_;
  const std::atomic<uint64_t>* changes_;
  uint64_t redo_;  // of the last checkpoint whose changes the store holds
  uint64_t position_ = 0;
  uint64_t flushed_end_ = 0;  // of a record that is on the disk
  uint64_t next_end_ = 0;     // of one that will be
  uint64_t synced_changes_ = 0;
  bool holds_checkpoints_ = false;
  bool failing_ = false;  // the last mark could not be written
};

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_WORKER_LOG_H
