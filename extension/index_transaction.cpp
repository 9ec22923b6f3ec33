#include "extension/index_transaction.h"

extern "C" {
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "utils/timeout.h"
}

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

#include "extension/guard.h"
#include "extension/index_client.h"
#include "extension/index_init.h"
#include "extension/index_options.h"
#include "extension/index_shared_memory.h"
#include "extension/vectors.h"

namespace pg_semantic {
namespace {

constexpr size_t kPendingBytes = 8 << 20;  // of one index; then its rows are sent
constexpr size_t kKnownGenerations = 1024;

// Rows of one generation, not sent yet.
struct PendingGeneration {
  index::GenerationId generation = 0;
  Oid table = InvalidOid;
  uint32 dimensions = 0;     // 0: the first row decides
  bool has_vectors = false;  // the generation, of so many dimensions
  std::string fingerprint;
  Durability durability = Durability::kLogged;
  std::vector<IndexRow> rows;
  size_t bytes = 0;
};

// A generation whose fate hangs on the (sub)transaction.
struct GenerationChange {
  enum Kind { kCreated, kReplaced, kDropped, kDatabaseDropped } kind;
  SubTransactionId subtransaction;
  uint64 id;  // generation, or a database's OID
};

struct TransactionState {
  std::vector<PendingGeneration> pending;
  std::vector<GenerationChange> changes;
  bool unsynced = false;  // changes that are not in the log but have to survive
};

TransactionState state;
object_access_hook_type previous_object_access_hook = nullptr;
ExecutorStart_hook_type previous_executor_start_hook = nullptr;

PendingGeneration* find_pending(index::GenerationId generation) {
  for (PendingGeneration& pending : state.pending) {
    if (pending.generation == generation) return &pending;
  }
  return nullptr;
}

// Whether INSERT ... ON CONFLICT may still take back the row it has just put into the heap.
bool may_be_taken_back(Relation heap, index::RowId row) {
  if (heap->rd_tableam != GetHeapamTableAmRoutine()) return false;
  HeapTupleHeaderData header;
  return read_tuple_header(heap, row, &header) && HeapTupleHeaderIsSpeculative(&header);
}

// Forgets the last row if it was taken back: its place may by now belong to another transaction's row.
void settle_last_row(PendingGeneration* pending) {
  if (pending->rows.empty() || !pending->rows.back().may_be_taken_back) return;
  IndexRow& last = pending->rows.back();
  Relation heap = table_open(pending->table, NoLock);  // locked by the INSERT
  HeapTupleHeaderData header;
  const bool ours = read_tuple_header(heap, last.row, &header) &&
                    TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(&header));
  table_close(heap, NoLock);
  last.may_be_taken_back = false;
  if (!ours) pending->rows.pop_back();
}

// Whether the transaction has dropped the generation or, by TRUNCATE and the like, put another in its place.
bool is_given_up(index::GenerationId generation) {
  return std::any_of(state.changes.begin(), state.changes.end(), [&](const GenerationChange& change) {
    return (change.kind == GenerationChange::kDropped || change.kind == GenerationChange::kReplaced) &&
           change.id == generation;
  });
}

void send(PendingGeneration* pending) {
  // The rows of a generation given up stay: a savepoint may bring it back.
  if (is_given_up(pending->generation)) return;
  settle_last_row(pending);
  if (pending->rows.empty()) return;
  if (pending->durability == Durability::kSynced) state.unsynced = true;
  // Where this fails the rows stay: an outer transaction that survives the error still owes them.
  send_rows({.generation = pending->generation,
             .fingerprint = pending->fingerprint.c_str(),
             .dimensions = pending->dimensions,
             .durability = pending->durability,
             .may_be_posted = pending->has_vectors},
            pending->rows);
  pending->rows.clear();
  pending->bytes = 0;
}

void remember_change(GenerationChange::Kind kind, uint64 id) {
  const SubTransactionId subtransaction = GetCurrentSubTransactionId();
  guarded([&] { state.changes.push_back({kind, subtransaction, id}); });
}

void leave_garbage(const GenerationChange& change) {
  const bool database = change.kind == GenerationChange::kDatabaseDropped;
  GarbageItem item = {};
  item.kind = database ? GarbageItem::kDatabase : GarbageItem::kGeneration;
  item.database_oid = database ? static_cast<uint32>(change.id) : 0;
  item.generation = database ? 0 : change.id;
  if (!add_garbage(item)) {
    ereport(WARNING, (errmsg("could not queue a removed semantic index for clean-up"),
                      errdetail("Its space in pg_semantic/index stays in use.")));
  }
}

void send_all() {
  send_all_pending_rows();
  if (state.unsynced) sync_index_changes();
  state.unsynced = false;
}

// A statement that commits by itself is over for statement_timeout when it does: what is done here has as long again.
void before_commit() {
  if (state.pending.empty() && !state.unsynced) return;
  if (StatementTimeout <= 0 || get_timeout_active(STATEMENT_TIMEOUT)) return send_all();
  enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
  PG_TRY();
  { send_all(); }
  PG_FINALLY();
  { disable_timeout(STATEMENT_TIMEOUT, false); }
  PG_END_TRY();
}

void after_end(bool committed) {
  for (const GenerationChange& change : state.changes) {
    if (committed == (change.kind != GenerationChange::kCreated)) leave_garbage(change);
  }
  state = {};
}

void on_transaction_event(XactEvent event, void* argument) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
    case XACT_EVENT_PRE_PREPARE:
      before_commit();
      break;
    case XACT_EVENT_COMMIT:
      after_end(true);
      break;
    case XACT_EVENT_ABORT:
      after_end(false);
      break;
    case XACT_EVENT_PREPARE:
      state = {};  // whoever ends the prepared transaction does not know its generations
      break;
    default:
      break;
  }
}

void on_subtransaction_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void* argument) {
  if (event == SUBXACT_EVENT_COMMIT_SUB) {
    for (PendingGeneration& pending : state.pending) {
      for (IndexRow& row : pending.rows) {
        if (row.subtransaction == mine) row.subtransaction = parent;
      }
    }
    for (GenerationChange& change : state.changes) {
      if (change.subtransaction == mine) change.subtransaction = parent;
    }
  } else if (event == SUBXACT_EVENT_ABORT_SUB) {
    for (PendingGeneration& pending : state.pending) {
      std::erase_if(pending.rows, [&](const IndexRow& row) { return row.subtransaction == mine; });
    }
    // Where no row stays, none has decided how many dimensions there are.
    std::erase_if(state.pending, [](const PendingGeneration& pending) { return pending.rows.empty(); });
    for (const GenerationChange& change : state.changes) {
      if (change.subtransaction == mine && change.kind == GenerationChange::kCreated) leave_garbage(change);
    }
    std::erase_if(state.changes, [&](const GenerationChange& change) { return change.subtransaction == mine; });
  }
}

// The generation of an index about to be dropped, or 0: never an error.
index::GenerationId generation_of_dropped(Oid relation) {
  if (!is_semantic_index(relation)) return 0;
  Relation index = try_relation_open(relation, NoLock);
  if (index == nullptr) return 0;
  index::GenerationId generation = 0;
  if (!RELATION_IS_OTHER_TEMP(index) && RelationGetNumberOfBlocks(index) > 0) {
    generation = peek_metapage(index).generation;
  }
  relation_close(index, NoLock);
  return generation;
}

void on_object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void* argument) {
  if (previous_object_access_hook != nullptr) {
    previous_object_access_hook(access, class_id, object_id, sub_id, argument);
  }
  if (access != OAT_DROP || sub_id != 0 || index_shared_memory() == nullptr) return;
  if (class_id == RelationRelationId) {
    const index::GenerationId generation = generation_of_dropped(object_id);
    if (generation != 0) remember_change(GenerationChange::kDropped, generation);
  } else if (class_id == DatabaseRelationId) {
    remember_change(GenerationChange::kDatabaseDropped, object_id);
  }
}

// Parallel workers cannot see what their leader has collected.
void on_executor_start(QueryDesc* query, int flags) {
  if (query->plannedstmt->parallelModeNeeded && !IsParallelWorker()) send_all_pending_rows();
  if (previous_executor_start_hook != nullptr) {
    previous_executor_start_hook(query, flags);
  } else {
    standard_ExecutorStart(query, flags);
  }
}

// How wide the generation's vectors are; 0 when it has none yet.  They stay so until it is made anew.
uint32 dimensions_of(Relation index, const IndexMetapage& metapage) {
  static std::unordered_map<index::GenerationId, uint32> known;
  static uint32 known_since = 0;
  if (metapage.dimensions != 0) return metapage.dimensions;
  require_index_worker();
  const uint32 made_anew = index_shared_memory()->generations_made_anew.load();
  if (made_anew != known_since || known.size() > kKnownGenerations) known.clear();
  known_since = made_anew;
  if (const auto found = known.find(metapage.generation); found != known.end()) return found->second;
  const uint32 dimensions = index_statistics(index, metapage.generation).dimensions;
  if (dimensions != 0) guarded([&] { known.emplace(metapage.generation, dimensions); });
  return dimensions;
}

}  // namespace

index::GenerationId random_generation() {
  index::GenerationId generation = 0;
  while (generation == 0) {
    if (!pg_strong_random(&generation, sizeof(generation))) {
      ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random index generation")));
    }
  }
  return generation;
}

namespace {

void make_generation(Relation index, const IndexMetapage& metapage, index::GenerationId generation, bool building) {
  const Durability durability = durability_of(index);
  const index::GenerationOptions options = generation_options(index, metapage, building);
  guarded([&] {
    const std::vector<std::byte> change = index::encode_create(generation, options);
    call_server([&] { make_index_change(LogRecord::kCreate, change, durability); });
  });
  if (durability == Durability::kSynced) state.unsynced = true;
}

}  // namespace

void register_transaction_callbacks() {
  RegisterXactCallback(on_transaction_event, nullptr);
  RegisterSubXactCallback(on_subtransaction_event, nullptr);
  previous_object_access_hook = object_access_hook;
  object_access_hook = on_object_access;
  previous_executor_start_hook = ExecutorStart_hook;
  ExecutorStart_hook = on_executor_start;
}

void add_pending_row(Relation heap, Relation index, const IndexMetapage& metapage, ItemPointer tid, Datum value,
                     bool is_null) {
  PendingGeneration* pending = find_pending(metapage.generation);
  if (pending == nullptr) {
    const uint32 dimensions = dimensions_of(index, metapage);
    const Durability durability = durability_of(index);
    pending = guarded([&] {
      PendingGeneration made;
      made.generation = metapage.generation;
      made.table = RelationGetRelid(heap);
      made.dimensions = dimensions;
      made.has_vectors = dimensions != 0;
      made.fingerprint = metapage.fingerprint;
      made.durability = durability;
      state.pending.push_back(std::move(made));
      return &state.pending.back();
    });
  }
  const IndexedContent content = read_content(index, metapage, value, is_null, pending->dimensions);
  if (pending->dimensions == 0) pending->dimensions = static_cast<uint32>(content.vector.size());
  settle_last_row(pending);
  const SubTransactionId subtransaction = GetCurrentSubTransactionId();
  const bool unsettled = may_be_taken_back(heap, row_id(tid));
  guarded([&] {
    IndexRow row;
    copy_row(row_id(tid), content, &row);
    row.subtransaction = subtransaction;
    row.may_be_taken_back = unsettled;
    pending->bytes += row.bytes();
    pending->rows.push_back(std::move(row));
  });
  if (pending->bytes > kPendingBytes) send(pending);
}

void send_pending_rows(index::GenerationId generation) {
  PendingGeneration* pending = find_pending(generation);
  if (pending != nullptr) send(pending);
}

void send_all_pending_rows() {
  for (PendingGeneration& pending : state.pending) send(&pending);
}

uint64 count_pending_rows(index::GenerationId generation) {
  const PendingGeneration* pending = find_pending(generation);
  return pending == nullptr ? 0 : pending->rows.size();
}

index::GenerationId create_built_generation(Relation index, const IndexMetapage& metapage) {
  uint32 count = 0;
  const index::GenerationId* before = list_index_generations(MyDatabaseId, RelationGetRelid(index), &count);
  for (uint32 i = 0; i < count; ++i) remember_change(GenerationChange::kReplaced, before[i]);
  const index::GenerationId generation = random_generation();
  remember_change(GenerationChange::kCreated, generation);
  make_generation(index, metapage, generation, true);
  return generation;
}

index::GenerationId create_reset_generation(Relation index, const IndexMetapage& metapage) {
  uint32 count = 0;
  const index::GenerationId* before = list_index_generations(MyDatabaseId, RelationGetRelid(index), &count);
  const index::GenerationId generation = random_generation();
  make_generation(index, metapage, generation, false);
  for (uint32 i = 0; i < count; ++i) {
    leave_garbage({GenerationChange::kReplaced, InvalidSubTransactionId, before[i]});
  }
  return generation;
}

bool index_uses_model(const char* fingerprint, Oid* index_found) {
  const Oid method = semantic_access_method();
  if (!OidIsValid(method)) return false;
  bool found = false;
  Relation classes = table_open(RelationRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_class_relam, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(method));
  SysScanDesc scan = systable_beginscan(classes, InvalidOid, false, nullptr, 1, &key);
  for (HeapTuple tuple = systable_getnext(scan); HeapTupleIsValid(tuple) && !found; tuple = systable_getnext(scan)) {
    const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    if (form->relkind != RELKIND_INDEX) continue;
    const Oid relation = form->oid;
    Relation index = try_relation_open(relation, AccessShareLock);
    if (index == nullptr) continue;
    if (!RELATION_IS_OTHER_TEMP(index) && RelationGetNumberOfBlocks(index) > 0) {
      const IndexMetapage metapage = peek_metapage(index);
      found = strcmp(metapage.fingerprint, fingerprint) == 0;
      if (found) *index_found = relation;
    }
    relation_close(index, AccessShareLock);
  }
  systable_endscan(scan);
  table_close(classes, AccessShareLock);
  return found;
}

}  // namespace pg_semantic
