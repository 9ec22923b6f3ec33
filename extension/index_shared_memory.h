// The index's part of PostgreSQL's shared memory.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_SHARED_MEMORY_H
#define PG_SEMANTIC_EXTENSION_INDEX_SHARED_MEMORY_H

#include "extension/server.h"

extern "C" {
#include "storage/condition_variable.h"
}

#include "extension/worker_protocol.h"

namespace pg_semantic {

struct IndexSharedMemory {
  std::atomic<int32_t> worker_number;  // index of the worker's PGPROC; -1: no worker is ready
  std::atomic<uint32_t> workers;       // how many have become ready: tells one from the next
  ConditionVariable slot_freed;
  ConditionVariable worker_ready;

  // How many generations were made anew under their numbers by repairs.
  std::atomic<uint32_t> generations_made_anew;

  slock_t garbage_lock;
  uint32_t garbage_head;   // next to take; under garbage_lock
  uint32_t garbage_count;  // under garbage_lock
  GarbageItem garbage[kGarbageCapacity];

  // As the last checkpoint before the start says; then written by the startup process, where it replays anything.
  ReplayState recovery;
  std::atomic<uint32_t> recovery_begun;  // 1: it does
  slock_t recovery_lock;
  uint64_t recovery_end;  // where replay ended, for the worker to know; 0: it need not.  Under recovery_lock, as the
                          // worker's getting ready
  std::atomic<uint32_t> recovery_ended;  // 1: nothing will be replayed any more
  std::atomic<uint32_t>
      replay_failed;  // 1: something could not be applied; the worker clears it when the store says so

  ReplayedCheckpoint checkpoint;              // valid while checkpoint_replayed is 1
  std::atomic<uint32_t> checkpoint_replayed;  // set by the startup process, which waits for the worker to clear it

  // On a standby scans wait until replay is here: the store is as it was then, or later.  Set when the worker is ready.
  std::atomic<uint64_t> store_position;

  int64_t worker_started;  // a TimestampTz, of the worker alone; 0: none was yet

  // Seconds for which the next worker does not let its store be compacted; 0: it does at once.
  std::atomic<uint32_t> compaction_pause;

  alignas(64) Doorbell doorbell;
  RequestSlot slots[kSlotCount];
  PostedChanges posted;
};

// nullptr unless the library was preloaded.
IndexSharedMemory* index_shared_memory();

// Wakes the worker's main thread, if there is one.
void wake_worker();

// Adds an item for the worker; false when the ring stayed full for seconds.
bool add_garbage(const GarbageItem& item);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_SHARED_MEMORY_H
