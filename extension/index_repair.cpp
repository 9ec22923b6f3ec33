#include "extension/index_repair.h"

#include <span>
#include <vector>

#include "extension/function_support.h"
#include "extension/guard.h"
#include "extension/index_client.h"
#include "extension/index_copy.h"
#include "extension/index_entries.h"
#include "extension/index_functions.h"
#include "extension/index_log.h"
#include "extension/index_metapage.h"
#include "extension/index_options.h"
#include "extension/index_rows.h"
#include "extension/index_shared_memory.h"
#include "extension/index_transaction.h"
#include "extension/models.h"
#include "extension/owners_frame.h"
#include "extension/settings.h"

namespace pg_semantic {
namespace {

constexpr size_t kRemovedAtOnce = 4096;

struct Repair {
  IndexMetapage metapage;
  IndexEntries entries;
  RowCollector collector;
  int64 removed;
};

void compare_row(Relation index, ItemPointer tid, Datum* values, bool* is_null, bool alive, void* argument) {
  auto* repair = static_cast<Repair*>(argument);
  CHECK_FOR_INTERRUPTS();
  MemoryContext before = MemoryContextSwitchTo(repair->collector.row_context);
  const IndexedContent content = read_content(index, repair->metapage, values[0], is_null[0], 0);
  const index::ListedRow* entry = match_entry(&repair->entries, row_id(tid));
  if (entry == nullptr || !agrees(*entry, content)) collect_row(&repair->collector, tid, content);
  MemoryContextSwitchTo(before);
  MemoryContextReset(repair->collector.row_context);
  send_many_collected(&repair->collector);
}

void compare_table(Repair* repair, Relation heap, Relation index) {
  collect_table(&repair->collector, heap, index, BuildIndexInfo(index), false, compare_row, repair);
}

void begin_repair(Repair* repair, Durability durability) {
  repair->collector.target = {.generation = repair->metapage.generation,
                              .fingerprint = repair->metapage.fingerprint,
                              .dimensions = repair->metapage.dimensions,
                              .durability = durability,
                              .threads = choose_build_threads()};
}

// Whether there is a row in this place of the table now, of whatever transaction.
bool has_row(Relation heap, index::RowId row) {
  ItemPointerData tid;
  set_item_pointer(&tid, row);
  HeapTupleHeaderData header;
  return ItemPointerGetBlockNumber(&tid) < RelationGetNumberOfBlocks(heap) && read_tuple_header(heap, row, &header);
}

// True: one of the places was taken by a row since the table was read, whose entry may have been removed.
bool remove_unmatched(Repair* repair, Relation heap) {
  bool taken = false;
  guarded([&] {
    std::vector<index::RowId> removed;
    for (size_t i = 0; i <= repair->entries.count; ++i) {
      const bool end = i == repair->entries.count;
      if (!end && !repair->entries.matched[i]) removed.push_back(repair->entries.rows[i].row);
      if (removed.empty() || (!end && removed.size() < kRemovedAtOnce)) continue;
      const std::vector<std::byte> change = index::encode_delete(repair->metapage.generation, removed);
      call_server([&] {
        make_index_change(LogRecord::kDelete, change, Durability::kNothing);
        for (const index::RowId row : removed) taken = taken || has_row(heap, row);
      });
      repair->removed += static_cast<int64>(removed.size());
      removed.clear();
    }
  });
  return taken;
}

// Makes the entries of a generation, which may be searched, those of the table.
void compare_both(Repair* repair, Relation heap, Relation index) {
  do {
    repair->entries = list_index_entries(repair->metapage.generation);
    compare_table(repair, heap, index);
  } while (remove_unmatched(repair, heap));
}

void make_generation_anew(Relation index, const IndexMetapage& metapage, Durability durability) {
  const index::GenerationOptions options = generation_options(index, metapage, true);
  guarded([&] {
    const std::vector<std::byte> drop = index::encode_drop(metapage.generation);
    const std::vector<std::byte> create = index::encode_create(metapage.generation, options);
    call_server([&] {
      // Before and after: who asks in between learns what was, or what is.
      ++index_shared_memory()->generations_made_anew;
      make_index_change(LogRecord::kDrop, drop, durability);
      ++index_shared_memory()->generations_made_anew;
      make_index_change(LogRecord::kCreate, create, durability);
    });
  });
}

// As CREATE INDEX does: expressions run as the table's owner.
int64 repair_locked(Relation heap, Relation index, bool may_be_damaged) {
  Repair repair = {};
  repair.metapage = *read_metapage(index);
  if (repair.metapage.generation == 0) return 0;
  begin_repair(&repair, Durability::kNothing);
  await_abandoned_changes();  // of a repair before this one, for instance, that was cut off
  // Another session may have been faster.
  const bool damaged = may_be_damaged && !index_is_readable(repair.metapage.generation);
  StatisticsReply statistics = {};
  const bool exists = !damaged && find_index_statistics(repair.metapage.generation, &statistics);
  const bool whole = exists && statistics.building == 0;
  if (whole && statistics.behind == 0) return 0;
  ereport(LOG, (errmsg("repairing semantic index \"%s\"", RelationGetRelationName(index)),
                errdetail("%s", damaged ? "What the worker's store has of it cannot be read."
                                : whole ? "The worker's store is behind the table."
                                        : "The worker's store has no data of it.")));
  uint32 given_up = count_given_up_changes();
  if (whole) {
    compare_both(&repair, heap, index);
  } else {
    make_generation_anew(index, repair.metapage, Durability::kNothing);
    compare_table(&repair, heap, index);
    finish_index_build(repair.metapage.generation);
  }
  while (!declare_index_repaired(repair.metapage.generation, given_up)) {
    CHECK_FOR_INTERRUPTS();
    given_up = count_given_up_changes();
    compare_both(&repair, heap, index);
  }
  const int64 changed = repair.collector.sent + repair.removed;
  ereport(LOG, (errmsg("repaired semantic index \"%s\": " INT64_FORMAT " entries changed",
                       RelationGetRelationName(index), changed)));
  return changed;
}

// Core warns of every row that another transaction is just inserting; here that is not worth a word.
void hold_warnings_back() {
  for (const char* setting : {"client_min_messages", "log_min_messages"}) {
    set_config_option(setting, "error", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
  }
}

// What cannot be read goes, so that the planner, which reads nothing of it, knows that it is lost.
void give_up_damaged(Relation index) {
  const index::GenerationId generation = read_metapage(index)->generation;
  if (index_is_readable(generation)) return;
  ereport(LOG, (errmsg("semantic index \"%s\" is lost until this standby is promoted", RelationGetRelationName(index)),
                errdetail("What the worker's store has of it cannot be read.")));
  guarded([&] {
    const std::vector<std::byte> drop = index::encode_drop(generation);
    call_server([&] { apply_index_change(drop, InvalidXLogRecPtr); });
  });
}

// Repairs write, and a standby takes no locks against VACUUM.  Plans leave the index alone (index_cost.cpp): this one
// was made before, or it is no query that asks.
[[noreturn]] void refuse_on_standby(Relation index) {
  ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                  errmsg("semantic index \"%s\" is behind its table", RelationGetRelationName(index)),
                  errdetail("This standby's store of semantic indexes is not complete."),
                  errhint("Queries are answered without the index when they are planned anew; DISCARD PLANS does so "
                          "with prepared ones. The index is repaired after the standby's promotion, or with a standby "
                          "made anew.")));
  pg_unreachable();
}

// Runs work(heap) with VACUUM and other repairs kept out, as the table's owner.
template <typename Work>
int64 as_owner(Relation index, const Work& work) {
  // The table first, as everybody locks them; the index is open.
  Relation heap = table_open(index->rd_index->indrelid, ShareUpdateExclusiveLock);
  MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_semantic repair", ALLOCSET_DEFAULT_SIZES);
  MemoryContext before = MemoryContextSwitchTo(context);
  const OwnersFrame caller = become_owner(heap);
  hold_warnings_back();
  const int64 changed = work(heap);
  become_caller(caller);
  MemoryContextSwitchTo(before);
  MemoryContextDelete(context);
  table_close(heap, ShareUpdateExclusiveLock);  // what was repaired is no transaction's
  return changed;
}

int64 make_own_locked(Relation heap, Relation index) {
  Repair repair = {};
  repair.metapage = peek_metapage(index);
  if (repair.metapage.database_oid == MyDatabaseId) return 0;  // another session was faster
  const index::GenerationId original = repair.metapage.generation;
  const Durability durability = durability_of(index);
  repair.metapage.database_oid = MyDatabaseId;
  repair.metapage.generation = random_generation();
  begin_repair(&repair, durability);
  make_generation_anew(index, repair.metapage, durability);
  int64 taken = 0;
  if (repair.metapage.embeds_text != 0) {
    taken = copy_index_rows(repair.collector.target, repair.metapage, original, heap, index);
  } else {
    compare_table(&repair, heap, index);
  }
  finish_index_build(repair.metapage.generation);
  if (durability == Durability::kLogged) log_finished_build(repair.metapage.generation);
  write_metapage(index, MAIN_FORKNUM, repair.metapage);
  ereport(LOG, (errmsg("semantic index \"%s\", copied with its database, has rows of its own now",
                       RelationGetRelationName(index)),
                repair.metapage.embeds_text == 0
                    ? 0
                    : errdetail(INT64_FORMAT " of its vectors were taken from the original.", taken)));
  return taken;
}

}  // namespace

bool needs_repair(StatusCode status) {
  return status == StatusCode::kBehind || status == StatusCode::kNotFound || status == StatusCode::kCorrupt;
}

int64 repair_index(Relation index, bool may_be_damaged) {
  if (RecoveryInProgress()) {
    if (may_be_damaged) give_up_damaged(index);
    refuse_on_standby(index);
  }
  return as_owner(index, [&](Relation heap) { return repair_locked(heap, index, may_be_damaged); });
}

void make_copied_index_its_own(Relation index) {
  if (RecoveryInProgress()) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("semantic index \"%s\" has no rows of its own yet", RelationGetRelationName(index)),
                    errdetail("It was copied with its database."),
                    errhint("It gets them when it is read on the primary for the first time.")));
  }
  as_owner(index, [&](Relation heap) { return make_own_locked(heap, index); });
}

}  // namespace pg_semantic

PG_SEMANTIC_FUNCTION(pg_semantic_index_repair) {
  using namespace pg_semantic;
  require_index_worker();
  const Oid index_oid = PG_GETARG_OID(0);
  const Oid table_oid = IndexGetRelation(index_oid, true);
  // Before anything is locked: who may not repair it does not hold up VACUUM either.
  const bool exists = OidIsValid(table_oid) && is_semantic_index(index_oid);
  if (exists && !pg_class_ownercheck(index_oid, GetUserId())) {
    aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_INDEX, get_rel_name(index_oid));
  }
  if (exists) LockRelationOid(table_oid, ShareUpdateExclusiveLock);
  Relation index = open_semantic_index(index_oid, AccessShareLock);
  if (RELATION_IS_OTHER_TEMP(index)) {
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("cannot repair a temporary index of another session")));
  }
  const IndexMetapage metapage = *read_metapage(index);
  if (metapage.generation != 0) send_pending_rows(metapage.generation);
  const int64 changed = repair_index(index, true);
  relation_close(index, AccessShareLock);
  PG_RETURN_INT64(changed);
}
