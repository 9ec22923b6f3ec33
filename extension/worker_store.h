// Where the worker's store lies in the data directory, and which one is used.
//
//   pg_semantic/pgsql_tmp.index      the store; base backups and pg_rewind leave out what begins with pgsql_tmp,
//                                    as they must, since files copied while RocksDB writes do not fit each other
//   pg_semantic/copy.<redo>          a consistent copy (hard links) for them, made by each checkpoint
//   pg_stat/pg_semantic.closed       which close in order was the last, as the store says itself: an older copy of the
//                                    store, put back by hand, says otherwise
//   pg_semantic/pgsql_tmp.backup     where the backup began that the store was taken from
//
// A server that starts from a backup takes the newest copy in it; replay brings that up to date.  So does one
// whose store is damaged or missing.
#ifndef PG_SEMANTIC_EXTENSION_WORKER_STORE_H
#define PG_SEMANTIC_EXTENSION_WORKER_STORE_H

#include "extension/server.h"

#include <memory>

#include "extension/worker_aside.h"
#include "extension/worker_protocol.h"

namespace pg_semantic {

// Opens the store.  Damaged ones are put aside, not removed.  `compacts`: see EngineOptions.
// `recovery`: redo: before it nothing is replayed; a store that does not hold all that was logged before it is
// declared behind.  `is_first`: no worker has served since the server started, so that all is replayed for this store.
// FATAL when none can be opened.
std::unique_ptr<index::Engine> open_store(const WorkerSettings& settings, const ReplayState& recovery, bool is_first,
                                          bool compacts, Aside& aside);

// A new index::Mark::closing, kept for the next open_store().  0: it could not be written, which is logged.
uint64_t note_closing();

// Whether there is so much room that nobody needs to wait until a change is written.
bool store_has_room();

// Whether a store that could not be written can be: tries, once a second at most.
bool store_may_be_opened();

// Puts the store aside, which is closed and damaged, and removes its copies, which share its files.
void give_store_up();

// Makes the copy that belongs to the checkpoint with this redo position, and removes those that no backup can
// be reading.  Failure is logged.
void copy_store(index::Engine* engine, Aside& aside, uint64_t redo);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_WORKER_STORE_H
