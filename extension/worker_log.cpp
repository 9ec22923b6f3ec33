#include "extension/worker_log.h"

extern "C" {
#include "access/xlogrecovery.h"
#include "postmaster/interrupt.h"
}

#include <chrono>

#include "extension/log_records.h"
#include "extension/worker_store.h"

namespace pg_semantic {
namespace {

constexpr std::chrono::seconds kLongestWait(1);

// Where the last record ends that has a place in the log by now.
uint64_t end_of_records() {
  const uint64_t insert = GetXLogInsertRecPtr();
  const uint64_t in_page = insert % XLOG_BLCKSZ;
  return in_page <= SizeOfXLogLongPHD ? insert - in_page : insert;  // a page's header belongs to no record
}

}  // namespace

bool LogKeeper::wait_for_changes() {
  int count = 0;
  VirtualTransactionId* appliers = GetVirtualXIDsDelayingChkpt(&count, DELAY_CHKPT_START);
  while (count > 0 && HaveVirtualXIDsDelayingChkpt(appliers, count, DELAY_CHKPT_START) && may_wait()) {
    pg_usleep(1000);
  }
  pfree(appliers);
  // By this thread's aside, too: those that take requests may all be at long ones.
  const auto stopping = [] { return ShutdownRequestPending != 0; };
  return aside_([&] { return posted_.settle(0, stopping); }).is_ok() && may_wait();
}

bool LogKeeper::may_wait() const {
  aside_.end_if_broken();
  return !ShutdownRequestPending && PostmasterIsAlive();
}

// The log on the disk may end within a record, which is not replayed: a mark beyond the records that are would seem to
// be of another log.
uint64_t LogKeeper::log_position() {
  if (RecoveryInProgress()) return GetXLogReplayRecPtr(nullptr);
  if (next_end_ == 0) {
    next_end_ = end_of_records();
    XLogFlush(next_end_);
  }
  if (GetFlushRecPtr(nullptr) >= next_end_) {
    flushed_end_ = next_end_;
    next_end_ = end_of_records();
  }
  return flushed_end_;
}

void LogKeeper::hold_checkpoints() {
  if (!holds_checkpoints_) {
    InitProcessPhase2();  // into the process array
    holds_checkpoints_ = true;
    MyProc->lxid = FirstNormalTransactionId;
  }
  MyProc->delayChkptFlags |= DELAY_CHKPT_COMPLETE;
}

// Those that wait, or none.  A checkpoint begins to wait when it has written everything else, long after its redo
// position can be seen here, and under this lock: whoever waits by now has a redo position that is seen by now.
void LogKeeper::release_checkpoint() {
  if (!holds_checkpoints_) return;
  LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
  if (GetRedoRecPtr() == redo_ && ++MyProc->lxid == InvalidLocalTransactionId) ++MyProc->lxid;
  LWLockRelease(ProcArrayLock);
}

void LogKeeper::note_failed_replay() {
  if (shared_->replay_failed.load() == 0) return;
  shared_->replay_failed.store(0);
  if (!aside_([this] { return engine_->declare_behind(); }).is_ok()) shared_->replay_failed.store(1);
}

bool LogKeeper::mark(const index::Mark& mark, bool sync) {
  const uint64_t changes = changes_->load();
  const bool durable = (sync || changes != synced_changes_) && enableFsync;
  const Status status = aside_([&] { return engine_->set_mark(mark, durable); });
  if (!status.is_ok()) {
    if (!failing_ || sync) {
      ereport(LOG, (errmsg("could not write the semantic index store: %s", status.message().c_str()),
                    status.detail().empty() ? 0 : errdetail("%s", status.detail().c_str())));
    }
    failing_ = true;
    return false;
  }
  failing_ = false;
  position_ = mark.position;
  synced_changes_ = changes;
  return true;
}

bool LogKeeper::mark_now(bool checkpoint) {
  const uint64_t redo = GetRedoRecPtr();
  const uint64_t position = log_position();
  if (holds_checkpoints_ && !wait_for_changes()) return false;
  return mark({.position = position, .checkpoint = redo}, checkpoint);
}

void LogKeeper::log_checkpoint(bool complete) {
  const CheckpointRecord record = {redo_, complete ? 1u : 0u, 0};
  // Unimportant: or a server without work would write a checkpoint for it.
  write_log_record(LogRecord::kCheckpoint, &record, sizeof(record), XLOG_MARK_UNIMPORTANT);
}

bool LogKeeper::has_generations() {
  return aside_([this] { return !engine_->generations().empty(); });
}

bool LogKeeper::copy(uint64_t redo) {
  if (!has_generations()) return false;
  copy_store(engine_, aside_, redo);
  return true;
}

void LogKeeper::keep_replayed_checkpoint() {
  if (shared_->checkpoint_replayed.load() == 0) return;
  const ReplayedCheckpoint checkpoint = shared_->checkpoint;
  // The store may have been marked farther than replay is by now.
  const bool marked = checkpoint.position <= engine_->found_mark().position;
  if (shared_->replay_failed.load() == 0 && !marked &&
      mark({checkpoint.position, checkpoint.redo, checkpoint.complete != 0}, true)) {
    copy(checkpoint.redo);
  }
  shared_->checkpoint_replayed.store(0);
}

void LogKeeper::tick() {
  if (!RecoveryInProgress() && !holds_checkpoints_) hold_checkpoints();
  // While the store does not know what it lacks, it must not seem to hold everything.
  note_failed_replay();
  keep_replayed_checkpoint();
  if (shared_->replay_failed.load() == 0) {
    keep_up();
  } else {
    redo_ = GetRedoRecPtr();
  }
  release_checkpoint();
}

void LogKeeper::keep_up() {
  const uint64_t redo = GetRedoRecPtr();
  const bool checkpoint = redo != redo_;
  const bool recovering = RecoveryInProgress();
  // The mark that the end of recovery has left holds until there is something new.
  if (recovering && shared_->recovery_ended.load() != 0) return;
  const uint64_t position = log_position();
  if (recovering && position <= engine_->found_mark().position) return;
  if (!checkpoint && position == position_ && changes_->load() == synced_changes_) return;
  const bool marked = mark_now(checkpoint);
  if (!checkpoint) return;
  redo_ = redo;
  // A checkpoint does not wait for a full disk: should a crash follow, the store is behind.
  if (holds_checkpoints_ && marked && copy(redo)) log_checkpoint(false);
}

void LogKeeper::let_checkpoints_go() {
  // No lock is waited for: who has it may be dead.  Whoever has logged a change and waits for it to be applied ends,
  // too, and whoever posts one from now on finds no worker.
  shared_->worker_number.store(-1);
  const auto deadline = std::chrono::steady_clock::now() + kLongestWait;
  const auto too_late = [&] { return std::chrono::steady_clock::now() > deadline; };
  const bool settled = aside_([&] { return posted_.settle(0, too_late); }).is_ok();
  // Not GetFlushRecPtr(): it may lie within a record.
  if (settled && shared_->replay_failed.load() == 0 && position_ != 0) mark({position_, GetRedoRecPtr(), false}, true);
  MyProc->delayChkptFlags = 0;
}

void LogKeeper::finish(bool settled) {
  if (shared_->replay_failed.load() != 0 || !settled) return;
  // Whoever has logged a change that is not applied logs it again when he finds another worker, or fails.
  const uint64_t redo = GetRedoRecPtr();
  const uint64_t position = log_position();
  // Without the note there is none that an older copy could be taken for.
  const bool marked =
      mark({.position = position, .checkpoint = redo, .complete = true, .closing = note_closing()}, true);
  if (marked && holds_checkpoints_ && has_generations()) log_checkpoint(true);
}

}  // namespace pg_semantic
