// semantic_index_check: does the index hold what the table holds?
//
// In order: what the worker's store says of itself; whether every row the
// snapshot sees is in the index with the content it has now; whether every
// other entry names a row that is (or was, until VACUUM) in the table and is not
// visible.  VACUUM is kept out by the lock; reads and writes go on.
#include "extension/server.h"

#include <cstring>

#include "extension/function_support.h"
#include "extension/index_client.h"
#include "extension/index_entries.h"
#include "extension/index_functions.h"
#include "extension/index_metapage.h"
#include "extension/index_options.h"
#include "extension/index_rows.h"
#include "extension/index_transaction.h"
#include "extension/owners_frame.h"

namespace pg_semantic {
namespace {

struct CheckState {
  ReturnSetInfo* rows;
  IndexMetapage metapage;
  IndexEntries entries;
  MemoryContext row_context;
};

void put_problem(ReturnSetInfo* rows, const char* problem, const index::RowId* row) {
  ItemPointerData tid;
  Datum values[2] = {CStringGetTextDatum(problem), Datum(0)};
  bool nulls[2] = {false, row == nullptr};
  if (row != nullptr) {
    set_item_pointer(&tid, *row);
    values[1] = PointerGetDatum(&tid);
  }
  add_row(rows, values, nulls);
}

void put_storage_problems(CheckState* check) {
  char* rest = check_index_storage(check->metapage.generation);
  while (*rest != '\0') {
    char* end = std::strchr(rest, '\n');
    if (end != nullptr) *end = '\0';
    put_problem(check->rows, rest, nullptr);
    if (end == nullptr) break;
    rest = end + 1;
  }
}

void check_visible_row(Relation index, ItemPointer tid, Datum* values, bool* is_null, bool alive, void* argument) {
  auto* check = static_cast<CheckState*>(argument);
  CHECK_FOR_INTERRUPTS();
  const index::RowId row = row_id(tid);
  const index::ListedRow* found = match_entry(&check->entries, row);
  if (found == nullptr) {
    put_problem(check->rows, "row is missing from the index", &row);
    return;
  }
  MemoryContext before = MemoryContextSwitchTo(check->row_context);
  const IndexedContent content = read_content(index, check->metapage, values[0], is_null[0], 0);
  const bool same = agrees(*found, content);
  MemoryContextSwitchTo(before);
  MemoryContextReset(check->row_context);
  if (!same) put_problem(check->rows, "index entry was made from other content than the row's", &row);
}

void check_visible_rows(CheckState* check, Relation heap, Relation index, Snapshot snapshot) {
  IndexInfo* info = BuildIndexInfo(index);
  info->ii_Concurrent = true;  // the scan uses our snapshot
  info->ii_Unique = false;
  info->ii_ExclusionOps = nullptr;
  TableScanDesc scan = table_beginscan_strat(heap, snapshot, 0, nullptr, true, true);
  table_index_build_scan(heap, index, info, true, false, check_visible_row, check, scan);
}

// What is wrong with an entry whose row the scan did not meet; nullptr: nothing.
const char* problem_of_unmet(Relation heap, Snapshot snapshot, BlockNumber blocks, ItemPointer tid) {
  if (ItemPointerGetBlockNumber(tid) >= blocks) return "index entry points beyond the end of the table";
  Buffer buffer = ReadBuffer(heap, ItemPointerGetBlockNumber(tid));
  LockBuffer(buffer, BUFFER_LOCK_SHARE);
  Page page = BufferGetPage(buffer);
  const char* problem = nullptr;
  if (ItemPointerGetOffsetNumber(tid) > PageGetMaxOffsetNumber(page)) {
    problem = "index entry points to a row that does not exist";
  } else {
    ItemId item = PageGetItemId(page, ItemPointerGetOffsetNumber(tid));
    if (!ItemIdIsUsed(item)) problem = "index entry points to a row that does not exist";
  }
  UnlockReleaseBuffer(buffer);
  if (problem != nullptr) return problem;
  ItemPointerData copy = *tid;
  bool all_dead = false;
  if (table_index_fetch_tuple_check(heap, &copy, snapshot, &all_dead)) {
    return "index entry points to a row that the index should not hold";
  }
  return nullptr;
}

void check_unmet_entries(CheckState* check, Relation heap, Snapshot snapshot) {
  const BlockNumber blocks = RelationGetNumberOfBlocks(heap);
  for (size_t i = 0; i < check->entries.count; ++i) {
    if (check->entries.matched[i]) continue;
    CHECK_FOR_INTERRUPTS();
    ItemPointerData tid;
    const index::RowId row = check->entries.rows[i].row;
    set_item_pointer(&tid, row);
    const char* problem = problem_of_unmet(heap, snapshot, blocks, &tid);
    if (problem != nullptr) put_problem(check->rows, problem, &row);
  }
}

void check_index(CheckState* check, Relation heap, Relation index) {
  check->metapage = *read_metapage(index);
  StatisticsReply statistics;
  if (check->metapage.generation != 0 && !find_index_statistics(check->metapage.generation, &statistics)) {
    put_problem(check->rows, "the index worker's store has no data of this index", nullptr);
    return;
  }
  if (check->metapage.generation != 0 && statistics.behind != 0) {
    put_problem(check->rows, "the index is behind its table", nullptr);
  }
  if (check->metapage.generation != 0) {
    send_pending_rows(check->metapage.generation);
    put_storage_problems(check);
  }
  Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
  if (check->metapage.generation != 0) check->entries = list_index_entries(check->metapage.generation);
  check->row_context = AllocSetContextCreate(CurrentMemoryContext, "pg_semantic check row", ALLOCSET_DEFAULT_SIZES);
  check_visible_rows(check, heap, index, snapshot);
  check_unmet_entries(check, heap, snapshot);
  UnregisterSnapshot(snapshot);
}

}  // namespace
}  // namespace pg_semantic

PG_SEMANTIC_FUNCTION(pg_semantic_index_check) {
  using namespace pg_semantic;
  ReturnSetInfo* rows = begin_rows(fcinfo);
  require_index_worker();
  const Oid index_oid = PG_GETARG_OID(0);
  const Oid table_oid = is_semantic_index(index_oid) ? IndexGetRelation(index_oid, true) : InvalidOid;
  // Before anything is locked: who may not read the table does not hold up its VACUUM either.
  if (OidIsValid(table_oid)) require_every_row(table_oid);
  // The table first, as everybody locks them.  A standby allows no lock that would keep replayed removals out.
  const LOCKMODE lock = RecoveryInProgress() ? AccessShareLock : ShareUpdateExclusiveLock;
  Relation heap = OidIsValid(table_oid) ? try_relation_open(table_oid, lock) : nullptr;
  Relation index = open_semantic_index(index_oid, AccessShareLock);
  if (heap == nullptr || table_oid != index->rd_index->indrelid) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                    errmsg("the table of index \"%s\" is gone", RelationGetRelationName(index))));
  }
  if (RELATION_IS_OTHER_TEMP(index)) {
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("cannot check a temporary index of another session")));
  }
  CheckState check = {};
  check.rows = rows;
  const OwnersFrame caller = become_owner(heap);
  check_index(&check, heap, index);
  become_caller(caller);
  relation_close(index, AccessShareLock);
  relation_close(heap, lock);
  PG_RETURN_VOID();
}
