// Requests from a backend to the index worker.
//
// Every function raises an ERROR (never a C++ exception) when the worker cannot
// be reached or refuses (index_requests.h), unless its comment says otherwise.
//
// Those that read an index and are given its Relation repair it first when it is behind its table or its
// data is lost (index_repair.h), and wait while it is being built.  On a standby they wait until replay is where the
// store is.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_CLIENT_H
#define PG_SEMANTIC_EXTENSION_INDEX_CLIENT_H

#include <span>
#include <string>
#include <vector>

#include "extension/server.h"
#include "extension/worker_protocol.h"

namespace pg_semantic {

// ERROR 55000 with a HINT when the library was not preloaded.
void require_index_worker();

// Waits until the worker is there: ERROR 55000 after half a minute.
void await_index_worker();

// The same; tells one worker from the next.
uint32_t await_numbered_worker();
// Whether it is the one that is ready now.
bool is_still_ready(uint32_t worker);

// Applies a change (index::encode_…) that is logged at `position` (0: is not logged).  When this raises, the change may
// be applied, now or later (see await_abandoned_changes()).  Changes are made by make_index_change() (index_log.h).
void apply_index_change(std::span<const std::byte> change, XLogRecPtr position);
// Waits until no change whose sender has given up, before the call, is being applied any more.  Before that the places
// of dead rows must not go to other rows.
void await_abandoned_changes();
void sync_index_changes();

// What the startup process asks for in replay: refusals are returned, and only a worker that cannot be
// reached is an ERROR.
StatusCode replay_index_change(std::span<const std::byte> change, XLogRecPtr position);
StatusCode request_index_finish(index::GenerationId generation, XLogRecPtr position);
StatusCode end_index_recovery(XLogRecPtr end);

// One search's rows, allocated in the current memory context.
struct ScanHits {
  index::SearchHit* hits;
  uint32_t count;
  bool exhausted;
};
// semantic.recall of the first `recall_rows`.
ScanHits search_index(Relation index, index::GenerationId generation, std::span<const float> query, uint32_t k,
                      uint32_t recall_rows);

// Distance, kind and hash of `count` rows in strictly ascending order into `hits` (room for `count`), in their order.
// Rows that the generation does not hold are left out; returns how many are there.
uint64_t score_index_rows(Relation index, index::GenerationId generation, std::span<const float> query,
                          const index::RowId* rows, uint64_t count, index::SearchHit* hits);

// Rows after `after` in ascending order into `rows` (room for `limit`); returns how many.
uint32_t list_index_rows(index::GenerationId generation, index::RowId after, index::ListedRow* rows, uint32_t limit);

// The same for those who can do without them: false when they cannot be listed, whatever the reason.
bool find_index_rows(index::GenerationId generation, index::RowId after, index::ListedRow* rows, uint32_t limit,
                     uint32_t* count);

// Rows and their vectors, allocated in the current memory context.
struct IndexVectors {
  const index::ListedRow* rows;  // in the order that was asked for
  uint32_t count;
  uint32_t dimensions;
  const float* vectors;  // [rows of kVector, dimensions]
};
// Those of at most kMostVectorRows rows that are there; false when they cannot be read, whatever the reason.
bool find_index_vectors(index::GenerationId generation, std::span<const index::RowId> rows, IndexVectors* found);

// Reports the phases as CREATE INDEX progress while it waits.  The worker builds within maintenance_work_mem.
void finish_index_build(index::GenerationId generation);

StatisticsReply index_statistics(Relation index, index::GenerationId generation);
// False: the worker's store has no such generation (its directory was lost).
bool find_index_statistics(index::GenerationId generation, StatisticsReply* statistics);
// For the planner, which must not fail: whether a scan would find that it has to repair the generation first.  False as
// well where no worker is ready within a second of the statement's beginning; one that is is waited for, as by a scan.
bool needs_repair_by_now(index::GenerationId generation);
// How many posted changes the worker has given up for good, declaring their indexes behind.
uint32 count_given_up_changes();
// The generation holds what its table holds.  False: not if more have been given up than there were before the table
// was read.
bool declare_index_repaired(index::GenerationId generation, uint32 given_up);
float measure_index_recall(Relation index, index::GenerationId generation, uint32_t k, uint32_t samples);

// Generations that exist for an index of a database; palloc'd.
const index::GenerationId* list_index_generations(Oid database, Oid index, uint32_t* count);

// All generations of the store; palloc'd.
const GenerationOwner* list_generation_owners(uint32_t* count);

// Reads all that the store has of it: false when something cannot be read or does not fit the rest.
bool index_is_readable(index::GenerationId generation);

// The problems found, one a line; palloc'd.
char* check_index_storage(index::GenerationId generation);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_CLIENT_H
