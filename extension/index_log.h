// The index's part of PostgreSQL's log: a resource manager whose records are the changes of
// index/FORMAT.md, so that a crash, a standby or a restored backup replays them.
//
// A change is logged, then applied, or posted for the worker to apply (worker_protocol.h), both while DELAY_CHKPT_START
// is set: no checkpoint's redo position passes between the two, and the worker lets a checkpoint complete when it has
// applied what was posted before.  An insert does not wait for the log to reach the disk: should a crash take the end
// of the log away, the store takes back what it had applied beyond it (Engine::end_recovery).  A removal does: the
// commit of the transaction that deleted the row may be in the same end.
//
// Redo sends the records to the worker of the server that replays.  It never raises an error: what cannot be
// applied leaves the store "behind", which is repaired from the tables later (extension/index_repair.h).
//
// Records (info: kind): create, insert, delete, drop: a change's bytes; finish: generation (8 bytes,
// little-endian), whose collected rows are to be made into lists; checkpoint: CheckpointRecord, written by the worker
// between a checkpoint's redo position and its own record.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_LOG_H
#define PG_SEMANTIC_EXTENSION_INDEX_LOG_H

#include "extension/server.h"

#include <span>

#include "extension/log_records.h"
#include "index/engine.h"

namespace pg_semantic {

// What makes an index's changes survive a crash.
enum class Durability : uint8 {
  kLogged,   // the log
  kSynced,   // the relation is new and wal_level minimal: the store is synced before the commit, as its table is
  kNothing,  // unlogged and temporary ones: nothing survives
};
Durability durability_of(Relation index);

// Logs the change, if that is its durability, and applies it.  Errors: as apply_index_change().  When one is raised
// the change may be in the log, but then its transaction or VACUUM fails, and what is applied of it is dead.  Here the
// next VACUUM removes that.  Of what is applied elsewhere it may know nothing, so `opposite` is logged after a change
// that failed: the deletion of inserted rows.
// `may_be_posted`: it is a logged insertion that the worker has no reason to refuse.  Then nobody waits until it is
// applied, where there is room: it is before whoever reads the index.
void make_index_change(LogRecord kind, std::span<const std::byte> change, Durability durability,
                       std::span<const std::byte> opposite = {}, bool may_be_posted = false);

// Logs that a build is done: whoever replays makes the lists from the rows it has collected.
void log_finished_build(index::GenerationId generation);

// At library load, while shared_preload_libraries is being processed.
void register_resource_manager();

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_LOG_H
