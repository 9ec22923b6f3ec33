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
  ConditionVariable slot_freed;
  ConditionVariable worker_ready;

  slock_t garbage_lock;
  uint32_t garbage_head;   // next to take; under garbage_lock
  uint32_t garbage_count;  // under garbage_lock
  GarbageItem garbage[kGarbageCapacity];

  alignas(64) Doorbell doorbell;
  RequestSlot slots[kSlotCount];
};

// nullptr unless the library was preloaded.
IndexSharedMemory* index_shared_memory();

// Wakes the worker's main thread, if there is one.
void wake_worker();

// Adds an item for the worker; false when the ring stayed full for seconds.
bool add_garbage(const GarbageItem& item);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_SHARED_MEMORY_H
