// Requests from a backend to the index worker.
//
// Every function raises an ERROR (never a C++ exception) when the worker cannot
// be reached or refuses; waits can be cancelled unless said otherwise.  A request
// that a dying worker left unanswered is sent again to the next one: every
// request is idempotent.
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

// Applies a change (index::encode_…).  Not cancelled half way: when this
// returns or raises, the change is applied or will never be.
void apply_index_change(std::span<const std::byte> change, bool sync);
void sync_index_changes();

// One search's rows, allocated in the current memory context.
struct ScanHits {
  index::SearchHit* hits;
  uint32_t count;
  bool exhausted;
};
// semantic.recall of the first `recall_rows`.
ScanHits search_index(index::GenerationId generation, std::span<const float> query, uint32_t k, uint32_t recall_rows);

// Distance, kind and hash of `count` rows in strictly ascending order into `hits` (room for `count`), in their order.
// Rows that the generation does not hold are left out; returns how many are there.
uint64_t score_index_rows(index::GenerationId generation, std::span<const float> query, const index::RowId* rows,
                          uint64_t count, index::SearchHit* hits);

// Rows after `after` in ascending order into `rows` (room for `limit`); returns how many.
uint32_t list_index_rows(index::GenerationId generation, index::RowId after, index::ListedRow* rows, uint32_t limit);

// Reports the phases as CREATE INDEX progress while it waits.  The worker builds within maintenance_work_mem.
void finish_index_build(index::GenerationId generation);

StatisticsReply index_statistics(index::GenerationId generation);
// False: the worker's store has no such generation (its directory was lost).
bool find_index_statistics(index::GenerationId generation, StatisticsReply* statistics);
float measure_index_recall(index::GenerationId generation, uint32_t k, uint32_t samples);

// Generations that exist for an index of a database; palloc'd.
const index::GenerationId* list_index_generations(Oid database, Oid index, uint32_t* count);

// The problems found, one a line; palloc'd.
char* check_index_storage(index::GenerationId generation);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_CLIENT_H
