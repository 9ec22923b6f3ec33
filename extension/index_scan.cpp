// Returns rows nearest first, as many as are asked for.
//
// The executor does not say how many rows it wants, so the scan asks the worker
// for a few more than the index's last scan returned and, each time they run out,
// for several times as many, without those it has returned: all work together
// stays within a small multiple of the last search.  The last one holds every row, those without a
// direction (distance NaN) and those that are NULL at its end, as a sort has them.
//
// The worker's rows may include ones this snapshot may not see; the executor
// checks that in the heap.  It cannot happen that a row's TID names another,
// visible row: VACUUM would have to remove it first, which our snapshot prevents.
#include "extension/index_scan.h"

extern "C" {
#include "common/hashfn.h"
}

#include <algorithm>
#include <cmath>
#include <limits>

#include "extension/index_client.h"
#include "extension/index_functions.h"
#include "extension/index_metapage.h"
#include "extension/index_query.h"
#include "extension/index_rows.h"
#include "extension/index_transaction.h"

namespace {

uint32 hash_row(uint64 row) {
  return static_cast<uint32>(pg_semantic::index::RowId{row} * 0x9E3779B97F4A7C15ULL >> 32);
}

}  // namespace

// A set of row ids, from PostgreSQL's own hash table template.
extern "C" {
typedef struct ReturnedRow {
  uint64 row;
  char status;
} ReturnedRow;
#define Min(x, y) ((x) < (y) ? (x) : (y))  // what extension/server.h took back
#define Max(x, y) ((x) > (y) ? (x) : (y))
#define SH_PREFIX returned_rows
#define SH_ELEMENT_TYPE ReturnedRow
#define SH_KEY_TYPE uint64
#define SH_KEY row
#define SH_HASH_KEY(table, key) hash_row(key)
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"
#undef Min
#undef Max
}

namespace pg_semantic {
namespace {

// A first request: at least, unless more were returned last time, and at most.
constexpr uint32_t kLeastRows = 16;
constexpr uint32_t kMostFirstRows = 256;
constexpr uint32_t kRecallRows = 10;        // what semantic.recall is about; who wants more rows wants these as surely
constexpr uint32_t kRowsForRecallTen = 40;  // a request for up to so many is for the first ten
constexpr uint32_t kGrowth = 8;

struct ScanState {
  MemoryContext context;       // of the scan
  MemoryContext hits_context;  // of the search under way
  IndexMetapage metapage;
  bool started;
  bool rechecks_distances;
  IndexQuery query;
  ScanHits hits;
  uint32_t next;  // of hits
  uint32_t k;     // of the search under way
  returned_rows_hash* returned;
  bool meets_hidden_rows;  // some of its rows may be kept from the role, by row security for example
  bool left_distance;      // of the row returned last, to be forgotten under left_key
  ScannedKey left_key;
  MemoryContextCallback forget;
};

ScanState* state_of(IndexScanDesc scan) { return static_cast<ScanState*>(scan->opaque); }

// Of the vectors; 0 while there are none.
uint32 vector_dimensions(IndexScanDesc scan, const ScanState* state) {
  const IndexNotes* known = notes_of(scan->indexRelation);
  if (known != nullptr && known->dimensions != 0) return known->dimensions;
  const uint32 dimensions = index_statistics(scan->indexRelation, state->metapage.generation).dimensions;
  if (IndexNotes* notes = notes_of(scan->indexRelation)) notes->dimensions = dimensions;
  return dimensions;
}

// Takes the query out of the ORDER BY argument; a NULL argument leaves it empty.
void read_query(IndexScanDesc scan, ScanState* state) {
  ScanKey key = &scan->orderByData[0];
  state->query = {};
  if (key->sk_flags & SK_ISNULL) return;
  state->query = read_index_query(scan->indexRelation, state->metapage, key->sk_argument, key->sk_subtype);
  if (state->query.text != nullptr) return;
  const uint32 dimensions = vector_dimensions(scan, state);
  if (dimensions != 0 && state->query.vector.size() != dimensions) {
    ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
                    errmsg("different vector dimensions %u and %zu", dimensions, state->query.vector.size())));
  }
}

// The executor takes the distances for lower bounds, which must ascend.
void bound_distances(ScanState* state) {
  if (!state->rechecks_distances) return;
  double least = std::numeric_limits<double>::infinity();
  for (uint32_t i = state->hits.count; i-- > 0;) {
    index::SearchHit& hit = state->hits.hits[i];
    if (std::isnan(hit.distance)) continue;
    least = std::min(least, least_distance(hit));
    hit.distance = least;
  }
}

void search(IndexScanDesc scan, ScanState* state) {
  MemoryContextReset(state->hits_context);
  MemoryContext before = MemoryContextSwitchTo(state->hits_context);
  std::span<const float> vector = state->query.vector;
  float zero = 0;
  uint32 dimensions = state->metapage.dimensions;
  if (vector.empty()) {
    // Distance NULL for every row: any order is right, the zero vector's will do.
    if (dimensions == 0) dimensions = index_statistics(scan->indexRelation, state->metapage.generation).dimensions;
    auto* zeros = dimensions == 0 ? &zero : static_cast<float*>(palloc0(dimensions * sizeof(float)));
    vector = {zeros, std::max<size_t>(dimensions, 1)};
    state->k = PG_UINT32_MAX;
  }
  state->hits = search_index(scan->indexRelation, state->metapage.generation, vector, state->k,
                             state->k <= kRowsForRecallTen ? kRecallRows : state->k);
  state->next = 0;
  bound_distances(state);
  MemoryContextSwitchTo(before);
}

// A LIMIT's rows, one more that tells the executor that no nearer one comes, and some that a filter or
// the snapshot may take away.
uint32_t first_rows(Relation index) {
  const IndexNotes* notes = notes_of(index);
  const uint32_t returned = notes != nullptr ? notes->returned_rows : 0;
  return std::clamp(returned + returned / 4 + 2, kLeastRows, kMostFirstRows);
}

void note_returned_rows(IndexScanDesc scan, const ScanState* state) {
  if (state->returned == nullptr) return;
  if (IndexNotes* notes = notes_of(scan->indexRelation)) notes->returned_rows = state->returned->members;
}

void forget_last_row(void* argument) {
  auto* state = static_cast<ScanState*>(argument);
  if (state->left_distance) forget_scanned_distance(state->left_key);
  state->left_distance = false;
}

void start(IndexScanDesc scan, ScanState* state) {
  if (scan->numberOfOrderBys != 1) {
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("a semantic index is scanned in order of a distance only")));
  }
  if (!IsMVCCSnapshot(scan->xs_snapshot)) {
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a semantic index is scanned with an MVCC snapshot only")));
  }
  MemoryContext before = MemoryContextSwitchTo(state->context);
  state->metapage = *read_metapage(scan->indexRelation);
  state->started = true;
  state->rechecks_distances = rechecks_distances(scan->indexRelation, state->metapage);
  state->meets_hidden_rows =
      state->metapage.embeds_text != 0 && !may_read_every_row(scan->indexRelation->rd_index->indrelid);
  if (state->meets_hidden_rows) {
    // However the scan ends.
    state->forget = {forget_last_row, state, nullptr};
    MemoryContextRegisterResetCallback(state->context, &state->forget);
  }
  if (state->metapage.generation == 0) {
    state->hits = {nullptr, 0, true};
  } else {
    send_pending_rows(state->metapage.generation);
    read_query(scan, state);
    state->k = first_rows(scan->indexRelation);
    state->returned = returned_rows_create(state->context, state->k * 2, nullptr);
    search(scan, state);
  }
  MemoryContextSwitchTo(before);
  pgstat_count_index_scan(scan->indexRelation);
}

void return_hit(IndexScanDesc scan, ScanState* state, const index::SearchHit& hit) {
  set_item_pointer(&scan->xs_heaptid, hit.row);
  scan->xs_recheck = false;
  const bool null = hit.kind == index::RowKind::kNull || state->query.vector.empty();
  scan->xs_recheckorderby = state->rechecks_distances && !null;
  scan->xs_orderbynulls[0] = null;
  scan->xs_orderbyvals[0] = null ? Datum(0) : Float8GetDatum(hit.distance);
  if (hit.kind == index::RowKind::kNull) return;
  const bool left = remember_row_distance(state->query, hit.hash, hit.distance, &state->left_key);
  state->left_distance = left && state->meets_hidden_rows;
}

}  // namespace

IndexScanDesc begin_scan(Relation index, int keys, int order_bys) {
  IndexScanDesc scan = RelationGetIndexScan(index, keys, order_bys);
  auto* state = static_cast<ScanState*>(palloc0(sizeof(ScanState)));
  state->context = AllocSetContextCreate(CurrentMemoryContext, "pg_semantic scan", ALLOCSET_DEFAULT_SIZES);
  state->hits_context = AllocSetContextCreate(CurrentMemoryContext, "pg_semantic scan hits", ALLOCSET_DEFAULT_SIZES);
  scan->opaque = state;
  if (order_bys > 0) {
    scan->xs_orderbyvals = static_cast<Datum*>(palloc0(sizeof(Datum) * static_cast<size_t>(order_bys)));
    scan->xs_orderbynulls = static_cast<bool*>(palloc0(sizeof(bool) * static_cast<size_t>(order_bys)));
  }
  return scan;
}

void restart_scan(IndexScanDesc scan, ScanKey keys, int key_count, ScanKey order_bys, int order_by_count) {
  ScanState* state = state_of(scan);
  if (keys != nullptr && scan->numberOfKeys > 0) {
    memmove(scan->keyData, keys, static_cast<size_t>(scan->numberOfKeys) * sizeof(ScanKeyData));
  }
  if (order_bys != nullptr && scan->numberOfOrderBys > 0) {
    memmove(scan->orderByData, order_bys, static_cast<size_t>(scan->numberOfOrderBys) * sizeof(ScanKeyData));
  }
  note_returned_rows(scan, state);
  MemoryContextReset(state->context);
  MemoryContextReset(state->hits_context);
  state->started = false;
  state->returned = nullptr;
  state->hits = {};
  state->next = 0;
}

bool next_tuple(IndexScanDesc scan, ScanDirection direction) {
  ScanState* state = state_of(scan);
  forget_last_row(state);
  if (!state->started) start(scan, state);
  for (;;) {
    while (state->next < state->hits.count) {
      const index::SearchHit& hit = state->hits.hits[state->next++];
      bool found = false;
      returned_rows_insert(state->returned, hit.row, &found);
      if (found) continue;
      return_hit(scan, state, hit);
      return true;
    }
    if (state->hits.exhausted) return false;
    CHECK_FOR_INTERRUPTS();
    const uint64 larger = static_cast<uint64>(state->k) * kGrowth;
    state->k = static_cast<uint32_t>(std::min<uint64>(larger, PG_UINT32_MAX));
    search(scan, state);
  }
}

void end_scan(IndexScanDesc scan) {
  ScanState* state = state_of(scan);
  note_returned_rows(scan, state);
  MemoryContextDelete(state->context);
  MemoryContextDelete(state->hits_context);
  pfree(state);
}

}  // namespace pg_semantic
