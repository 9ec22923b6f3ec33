#include "extension/index_log.h"

extern "C" {
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "postmaster/startup.h"
}

#include <cstring>
#include <optional>

#include "extension/index_client.h"
#include "extension/index_requests.h"
#include "extension/index_shared_memory.h"

namespace pg_semantic {
namespace {

constexpr int kCheckpointMilliseconds = 30000;

// What replay could not do: the store is told that it is behind as soon as it can be told (worker_main.cpp).
void note_failed_replay(const char* why) {
  index_shared_memory()->replay_failed.store(1);
  static bool noted = false;
  if (noted) return;
  noted = true;
  ereport(LOG, (errmsg("could not replay a change of a semantic index: %s", why),
                errdetail("The semantic indexes of this server are behind their tables until they are repaired.")));
}

// Whether replaying came to what it had come to before: a change that the primary's worker refused is refused
// again, and one of a generation that is gone by now is not wanted.
bool is_settled(StatusCode status) {
  return status == StatusCode::kOk || status == StatusCode::kNotFound || status == StatusCode::kInvalidArgument;
}

// Runs `work`, which asks the worker and returns its status.  Raises nothing.
template <typename Work>
void replay(const Work& work) {
  // Who has waited for the worker once in vain does not for every record.
  static bool unreachable = false;
  if (unreachable && index_shared_memory()->worker_number.load() < 0) return note_failed_replay("");
  MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_semantic replay", ALLOCSET_DEFAULT_SIZES);
  MemoryContext before = MemoryContextSwitchTo(context);
  PG_TRY();
  {
    if (!is_settled(work())) note_failed_replay("the index worker refused it");
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(context);
    ErrorData* error = CopyErrorData();
    FlushErrorState();
    unreachable = true;
    note_failed_replay(error->message);
  }
  PG_END_TRY();
  MemoryContextSwitchTo(before);
  MemoryContextDelete(context);
}

index::GenerationId read_generation(const char* data) {
  index::GenerationId generation = 0;
  std::memcpy(&generation, data, sizeof(generation));
  return generation;
}

// Waits until the store is marked and copied.  Without a worker it is not: should the power go soon, it is behind.
void replay_checkpoint(const char* data, uint64 position) {
  IndexSharedMemory* shared = index_shared_memory();
  if (shared->worker_number.load() < 0) return;
  CheckpointRecord record;
  std::memcpy(&record, data, sizeof(record));
  shared->checkpoint = {position, record.redo, record.complete};
  shared->checkpoint_replayed.store(1);
  wake_worker();
  for (int waited = 0; shared->checkpoint_replayed.load() != 0 && waited < kCheckpointMilliseconds; ++waited) {
    HandleStartupProcInterrupts();
    pg_usleep(1000);
  }
}

void redo(XLogReaderState* record) {
  const char* data = XLogRecGetData(record);
  const uint32 length = XLogRecGetDataLen(record);
  const auto kind = static_cast<LogRecord>(XLogRecGetInfo(record) & ~XLR_INFO_MASK);
  const uint64 position = record->EndRecPtr;
  if (kind == LogRecord::kCheckpoint) {
    if (length == sizeof(CheckpointRecord)) replay_checkpoint(data, position);
    return;
  }
  replay([&] {
    if (kind == LogRecord::kFinish) {
      if (length != sizeof(index::GenerationId)) return StatusCode::kCorrupt;
      return request_index_finish(read_generation(data), position);
    }
    return replay_index_change(std::as_bytes(std::span(data, length)), position);
  });
}

const char* identify(uint8 info) {
  switch (static_cast<LogRecord>(info & ~XLR_INFO_MASK)) {
    case LogRecord::kCreate:
      return "CREATE";
    case LogRecord::kInsert:
      return "INSERT";
    case LogRecord::kDelete:
      return "DELETE";
    case LogRecord::kDrop:
      return "DROP";
    case LogRecord::kFinish:
      return "FINISH_BUILD";
    case LogRecord::kCheckpoint:
      return "CHECKPOINT";
  }
  return nullptr;
}

void describe(StringInfo out, XLogReaderState* record) {
  const char* data = XLogRecGetData(record);
  const uint32 length = XLogRecGetDataLen(record);
  const auto kind = static_cast<LogRecord>(XLogRecGetInfo(record) & ~XLR_INFO_MASK);
  if (kind == LogRecord::kFinish) {
    if (length == sizeof(index::GenerationId)) {
      appendStringInfo(out, "generation " UINT64_FORMAT, read_generation(data));
    }
    return;
  }
  if (kind == LogRecord::kCheckpoint) {
    CheckpointRecord checkpoint;
    if (length != sizeof(checkpoint)) return;
    std::memcpy(&checkpoint, data, sizeof(checkpoint));
    appendStringInfo(out, "redo %X/%X", static_cast<uint32>(checkpoint.redo >> 32),
                     static_cast<uint32>(checkpoint.redo));
    return;
  }
  const std::optional<index::ChangeHeader> header = index::read_header(std::as_bytes(std::span(data, length)));
  if (!header) return;
  appendStringInfo(out, "generation " UINT64_FORMAT, header->generation);
  if (kind == LogRecord::kInsert || kind == LogRecord::kDelete) appendStringInfo(out, ", %u rows", header->count);
}

// Where the backup began that this server starts from; 0: it starts from what is its own.
XLogRecPtr backup_start() {
  bool sound = false;
  ControlFileData* control = get_controlfile(DataDir, &sound);
  const XLogRecPtr start = sound ? control->backupStartPoint : InvalidXLogRecPtr;
  pfree(control);
  return start;
}

void begin_recovery() {
  IndexSharedMemory* shared = index_shared_memory();
  shared->recovery.redo = GetRedoRecPtr();
  shared->recovery.backup = backup_start();
  shared->recovery_begun.store(1);
  // After a crash of another process the postmaster would start the worker only when hot standby begins.
  SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE);
}

void end_recovery() {
  IndexSharedMemory* shared = index_shared_memory();
  const XLogRecPtr end = GetXLogReplayRecPtr(nullptr);
  SpinLockAcquire(&shared->recovery_lock);
  shared->recovery_end = end;
  const bool worker_is_ready = shared->worker_number.load() >= 0;
  SpinLockRelease(&shared->recovery_lock);
  // One that starts later sees recovery_end.
  if (worker_is_ready) {
    replay([&] {
      const StatusCode status = end_index_recovery(end);
      if (status == StatusCode::kOk) shared->recovery_end = 0;
      return status;
    });
  }
  shared->recovery_ended.store(1);
}

// What takes back the change that is being made, should it fail; empty: nothing does.
std::span<const std::byte> taking_back;

void log_taking_back() {
  if (taking_back.empty()) return;
  write_log_record(LogRecord::kDelete, taking_back.data(), taking_back.size());
  taking_back = {};
}

void log_taking_back_at_exit(int code, Datum argument) { log_taking_back(); }

// At exit the transaction is aborted after this.
void register_exit_callback() {
  static bool registered = false;
  if (!registered) before_shmem_exit(log_taking_back_at_exit, 0);
  registered = true;
}

}  // namespace

Durability durability_of(Relation index) {
  if (RelationNeedsWAL(index)) return Durability::kLogged;
  return index->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT ? Durability::kSynced : Durability::kNothing;
}

void make_index_change(LogRecord kind, std::span<const std::byte> change, Durability durability,
                       std::span<const std::byte> opposite, bool may_be_posted) {
  require_index_worker();
  if (durability != Durability::kLogged) {
    apply_index_change(change, 0);
    return;
  }
  await_index_worker();  // or there would be a record of what cannot be applied
  register_exit_callback();
  MyProc->delayChkptFlags |= DELAY_CHKPT_START;
  PG_TRY();
  {
    // A worker that stops marks the store as holding what is logged by then.  So what that one may not have applied is
    // logged again for the next.
    for (;;) {
      const uint32_t worker = await_numbered_worker();
      const XLogRecPtr end = write_log_record(kind, change.data(), change.size());
      taking_back = opposite;
      if (kind == LogRecord::kDelete) XLogFlush(end);
      if (may_be_posted && post_change(change, index::read_header(change)->generation, end, worker)) break;
      apply_index_change(change, end);
      if (is_still_ready(worker)) break;
    }
    taking_back = {};
  }
  PG_FINALLY();
  {
    log_taking_back();
    MyProc->delayChkptFlags &= ~DELAY_CHKPT_START;
  }
  PG_END_TRY();
}

void log_finished_build(index::GenerationId generation) {
  write_log_record(LogRecord::kFinish, &generation, sizeof(generation));
}

void register_resource_manager() {
  static RmgrData manager = {};
  manager.rm_name = kResourceManagerName;
  manager.rm_redo = redo;
  manager.rm_desc = describe;
  manager.rm_identify = identify;
  manager.rm_startup = begin_recovery;
  manager.rm_cleanup = end_recovery;
  RegisterCustomRmgr(kResourceManager, &manager);
}

}  // namespace pg_semantic
