// Reserves the index's shared memory and registers the index worker.
#include "extension/index_shared_memory.h"

extern "C" {
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "postmaster/interrupt.h"
}

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "encoder/blocked_signals.h"
#include "extension/index_init.h"
#include "extension/index_log.h"
#include "extension/index_options.h"
#include "extension/index_transaction.h"
#include "extension/settings.h"

namespace pg_semantic {
namespace {

IndexSharedMemory* shared_memory = nullptr;
shmem_request_hook_type previous_shmem_request_hook = nullptr;
shmem_startup_hook_type previous_shmem_startup_hook = nullptr;

void request_shared_memory() {
  if (previous_shmem_request_hook != nullptr) previous_shmem_request_hook();
  RequestAddinShmemSpace(MAXALIGN(sizeof(IndexSharedMemory) + alignof(IndexSharedMemory)));
}

// Of the last checkpoint before this start of the server.
uint64 last_redo() {
  bool sound = false;
  ControlFileData* control = get_controlfile(DataDir, &sound);
  const uint64 redo = control->checkPointCopy.redo;
  pfree(control);
  return redo;
}

void start_shared_memory() {
  if (previous_shmem_startup_hook != nullptr) previous_shmem_startup_hook();
  bool found = false;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  void* place = ShmemInitStruct("pg_semantic index", sizeof(IndexSharedMemory) + alignof(IndexSharedMemory), &found);
  size_t space = sizeof(IndexSharedMemory) + alignof(IndexSharedMemory);
  shared_memory =
      static_cast<IndexSharedMemory*>(std::align(alignof(IndexSharedMemory), sizeof(IndexSharedMemory), place, space));
  if (!found) {
    // Value-initialisation in place would put the whole structure on the stack first; the pages are zero already.
    shared_memory->worker_number.store(-1);
    shared_memory->workers.store(0);
    shared_memory->generations_made_anew.store(0);
    ConditionVariableInit(&shared_memory->slot_freed);
    ConditionVariableInit(&shared_memory->worker_ready);
    SpinLockInit(&shared_memory->garbage_lock);
    SpinLockInit(&shared_memory->recovery_lock);
    shared_memory->recovery = {last_redo(), 0};
    shared_memory->recovery_begun.store(0);
    shared_memory->recovery_end = 0;
    shared_memory->recovery_ended.store(0);
    shared_memory->replay_failed.store(0);
    shared_memory->checkpoint_replayed.store(0);
    shared_memory->store_position.store(0);
    shared_memory->compaction_pause.store(0);
    shared_memory->worker_started = 0;
    shared_memory->garbage_head = 0;
    shared_memory->garbage_count = 0;
    shared_memory->doorbell.rings.store(0);
    shared_memory->doorbell.sleepers.store(0);
    for (RequestSlot& slot : shared_memory->slots) slot.state.store(SlotState::kFree);
    shared_memory->posted.given_up.store(0);
    shared_memory->posted.refused.store(1);  // the worker knows when not
    for (PostedChange& change : shared_memory->posted.changes) change.state.store(PostedState::kFree);
  }
  LWLockRelease(AddinShmemInitLock);
}

// One that ends is followed at once, one that ends again and again once a second.
void wait_for_its_turn() {
  IndexSharedMemory* shared = shared_memory;
  constexpr long kBetweenStartsMilliseconds = 1000;
  const TimestampTz next = shared->worker_started + kBetweenStartsMilliseconds * INT64CONST(1000);
  for (TimestampTz now; (now = GetCurrentTimestamp()) < next;) {
    const long left = TimestampDifferenceMilliseconds(now, next);
    if (ShutdownRequestPending || left > kBetweenStartsMilliseconds) break;  // the clock was put back
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left + 1, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
  }
  if (ShutdownRequestPending) proc_exit(1);
  shared->worker_started = GetCurrentTimestamp();
}

void register_worker() {
  BackgroundWorker worker = {};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
  worker.bgw_start_time = BgWorkerStart_PostmasterStart;
  worker.bgw_restart_time = 0;  // wait_for_its_turn()
  std::snprintf(worker.bgw_name, BGW_MAXLEN, "pg_semantic index worker");
  std::snprintf(worker.bgw_type, BGW_MAXLEN, "pg_semantic index worker");
  std::snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "pg_semantic");
  std::snprintf(worker.bgw_function_name, BGW_MAXLEN, "pg_semantic_worker_launch");
  RegisterBackgroundWorker(&worker);
}

}  // namespace

IndexSharedMemory* index_shared_memory() { return shared_memory; }

void wake_worker() {
  const int32_t number = shared_memory->worker_number.load();
  if (number >= 0) SetLatch(&GetPGProcByNumber(number)->procLatch);
}

bool add_garbage(const GarbageItem& item) {
  if (shared_memory == nullptr) return false;
  for (int attempt = 0; attempt < 5000; ++attempt) {
    bool added = false;
    SpinLockAcquire(&shared_memory->garbage_lock);
    if (shared_memory->garbage_count < kGarbageCapacity) {
      shared_memory->garbage[(shared_memory->garbage_head + shared_memory->garbage_count) % kGarbageCapacity] = item;
      ++shared_memory->garbage_count;
      added = true;
    }
    SpinLockRelease(&shared_memory->garbage_lock);
    wake_worker();
    if (added) return true;
    pg_usleep(1000);
  }
  return false;
}

void initialize_index() {
  define_index_options();
  register_transaction_callbacks();
  if (!process_shared_preload_libraries_in_progress) return;
  previous_shmem_request_hook = shmem_request_hook;
  shmem_request_hook = request_shared_memory;
  previous_shmem_startup_hook = shmem_startup_hook;
  shmem_startup_hook = start_shared_memory;
  register_worker();
  register_resource_manager();
}

}  // namespace pg_semantic

extern "C" {

PGDLLEXPORT void pg_semantic_worker_launch(Datum argument);

// Runs in the worker's process: prepares the environment of the compute
// libraries, then loads the library that links them.
void pg_semantic_worker_launch(Datum argument) {
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  BackgroundWorkerUnblockSignals();
  pg_semantic::wait_for_its_turn();  // whatever fails after this

  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const std::string threads = std::to_string(std::min(cores, 8u));
  setenv("OPENBLAS_NUM_THREADS", threads.c_str(), 1);
  setenv("OMP_NUM_THREADS", threads.c_str(), 1);
  // OpenBLAS 0.3.21 takes processors newer than itself for the oldest it knows.
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    setenv("OPENBLAS_CORETYPE", "Haswell", 0);
  }
  using WorkerMain = void (*)(Datum, pg_semantic::IndexSharedMemory*, const pg_semantic::WorkerSettings*);
  WorkerMain main = nullptr;
  // OpenBLAS and OpenMP start threads when they are loaded.
  {
    const pg_semantic::encoder::BlockedSignals blocked;
    main = reinterpret_cast<WorkerMain>(
        load_external_function("pg_semantic_worker", "pg_semantic_worker_main", true, nullptr));
  }

  const pg_semantic::WorkerSettings settings = {
      static_cast<uint64_t>(pg_semantic::settings.index_memory) << 20,
      std::min(cores, 8u),
  };
  main(argument, pg_semantic::index_shared_memory(), &settings);
}

}  // extern "C"
