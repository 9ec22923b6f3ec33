// Running a Semantic Filter Scan.
//
// The child's rows are taken in batches; each batch's distances come from the
// worker in one or two requests, and go into a sort that spills as any other
// sort does.  Memory: the sort's work_mem and one batch.
//
// An index names a row by the root of its HOT chain, a table scan by the member
// that is visible.  No index entry names a member that is not a root, so the
// TIDs that the worker does not know are looked up in their pages and asked
// again.  A visible row's root cannot be reused while our snapshot lives.
//
// Where the table has the vectors themselves, rows are sorted by lower bounds of
// their distances; a row waits, with its exact distance, until no bound is less.
#include "extension/filter_scan.h"

extern "C" {
#include "access/tupdesc.h"
#include "catalog/pg_operator_d.h"
#include "commands/explain.h"
#include "lib/pairingheap.h"
#include "nodes/nodeFuncs.h"
#include "utils/datum.h"
#include "utils/ruleutils.h"
#include "utils/tuplesort.h"
#include "utils/uuid.h"
}

#include <algorithm>
#include <cmath>
#include <limits>

#include "extension/index_client.h"
#include "extension/index_metapage.h"
#include "extension/index_query.h"
#include "extension/index_rows.h"
#include "extension/index_transaction.h"

namespace pg_semantic {
namespace {

constexpr uint32 kBatchRows = 32768;

// A row of the child: its TID, and the TID by which the index may know it.
struct FoundRow {
  index::RowId row;
  index::RowId indexed;
};

// A row whose exact distance is known.
struct WaitingRow {
  pairingheap_node node;  // first: a pointer to it is one to the row
  double distance;
  index::RowId row;
};

// Columns of the sort.
enum SortColumn { kDistance, kRow, kHash, kSortColumns };

struct FilterScanState {
  CustomScanState css;
  OpExpr* order_by;
  ExprState* argument;  // the query
  ExprState* distance;  // of a row, from the table
  ExprState* recheck;   // the conditions; only under EvalPlanQual
  Oid index_oid;
  Oid query_type;
  Relation index;  // nullptr: EXPLAIN without ANALYZE

  // Of one run, until the next rescan.
  MemoryContext context;
  IndexMetapage metapage;
  IndexQuery query;
  Tuplesortstate* sort;         // nullptr: not run yet
  TupleTableSlot* input_slot;   // into the sort
  TupleTableSlot* output_slot;  // out of it; empty: no more, or not taken out yet
  bool rechecks_distances;
  pairingheap* waiting;  // WaitingRow; first is the nearest
};

FilterScanState* state_of(CustomScanState* node) { return reinterpret_cast<FilterScanState*>(node); }
PlanState* child_of(FilterScanState* state) { return static_cast<PlanState*>(linitial(state->css.custom_ps)); }

TupleDesc make_sort_descriptor() {
  TupleDesc descriptor = CreateTemplateTupleDesc(kSortColumns);
  TupleDescInitEntry(descriptor, kDistance + 1, "distance", FLOAT8OID, -1, 0);
  TupleDescInitEntry(descriptor, kRow + 1, "row", INT8OID, -1, 0);
  TupleDescInitEntry(descriptor, kHash + 1, "hash", UUIDOID, -1, 0);
  return descriptor;
}

// As a sort of the distances would have them: numbers, NaN, NULL; ties by row, as the index has them.
Tuplesortstate* begin_sort(TupleDesc descriptor) {
  AttrNumber columns[] = {kDistance + 1, kRow + 1};
  Oid operators[] = {Float8LessOperator, Int8LessOperator};
  Oid collations[] = {InvalidOid, InvalidOid};
  bool nulls_first[] = {false, false};
  return tuplesort_begin_heap(descriptor, 2, columns, operators, collations, nulls_first, work_mem, nullptr, false);
}

// `hit` nullptr: the query is NULL.
void put_row(FilterScanState* state, index::RowId row, const index::SearchHit* hit) {
  TupleTableSlot* slot = state->input_slot;
  ExecClearTuple(slot);
  const bool null = hit == nullptr || hit->kind == index::RowKind::kNull;
  slot->tts_isnull[kDistance] = null;
  const double distance = null ? 0 : state->rechecks_distances ? least_distance(*hit) : hit->distance;
  slot->tts_values[kDistance] = null ? Datum(0) : Float8GetDatum(distance);
  slot->tts_isnull[kRow] = false;
  slot->tts_values[kRow] = Int64GetDatum(static_cast<int64>(row));
  slot->tts_isnull[kHash] = null || state->query.text == nullptr;
  slot->tts_values[kHash] = null ? Datum(0) : PointerGetDatum(hit->hash.data());
  static_assert(sizeof(index::ContentHash) == UUID_LEN);
  ExecStoreVirtualTuple(slot);
  tuplesort_puttupleslot(state->sort, slot);
}

// pairingheap keeps the greatest first.
int compare_waiting(const pairingheap_node* a, const pairingheap_node* b, void* argument) {
  const auto* left = reinterpret_cast<const WaitingRow*>(a);
  const auto* right = reinterpret_cast<const WaitingRow*>(b);
  if (left->distance != right->distance) return left->distance < right->distance ? 1 : -1;
  return left->row < right->row ? 1 : -1;
}

// Asks for the distances of `rows`, sorts in those that the index holds under
// FoundRow::indexed and moves the others to the front.  Returns their number.
uint32 score_rows(FilterScanState* state, FoundRow* rows, uint32 count) {
  std::sort(rows, rows + count, [](const FoundRow& a, const FoundRow& b) { return a.indexed < b.indexed; });
  auto* asked = static_cast<index::RowId*>(palloc(count * sizeof(index::RowId)));
  auto* hits = static_cast<index::SearchHit*>(palloc(count * sizeof(index::SearchHit)));
  for (uint32 i = 0; i < count; ++i) asked[i] = rows[i].indexed;
  const uint64 answered =
      score_index_rows(state->index, state->metapage.generation, state->query.vector, asked, count, hits);
  uint64 next = 0;
  uint32 missing = 0;
  for (uint32 i = 0; i < count; ++i) {
    if (next < answered && hits[next].row == rows[i].indexed) {
      put_row(state, rows[i].row, &hits[next++]);
    } else {
      rows[missing++] = rows[i];
    }
  }
  pfree(asked);
  pfree(hits);
  return missing;
}

// Sets `indexed` of rows in ascending order to the roots of their HOT chains.
void find_roots(Relation table, FoundRow* rows, uint32 count) {
  OffsetNumber roots[MaxHeapTuplesPerPage];
  for (uint32 i = 0; i < count;) {
    const auto block = static_cast<BlockNumber>(rows[i].row >> 16);
    Buffer buffer = ReadBuffer(table, block);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    heap_get_root_tuples(BufferGetPage(buffer), roots);
    UnlockReleaseBuffer(buffer);
    for (; i < count && rows[i].row >> 16 == block; ++i) {
      const auto offset = static_cast<OffsetNumber>(rows[i].row & 0xFFFF);
      rows[i].indexed = rows[i].row - offset + roots[offset - 1];
    }
    CHECK_FOR_INTERRUPTS();
  }
}

[[noreturn]] void report_missing_row(const FilterScanState* state, index::RowId row) {
  ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
                  errmsg("index \"%s\" lacks row (%u,%u) of table \"%s\"", RelationGetRelationName(state->index),
                         static_cast<BlockNumber>(row >> 16), static_cast<unsigned>(row & 0xFFFF),
                         RelationGetRelationName(state->css.ss.ss_currentRelation)),
                  errhint("REINDEX INDEX %s;",
                          quote_qualified_identifier(get_namespace_name(RelationGetNamespace(state->index)),
                                                     RelationGetRelationName(state->index)))));
  pg_unreachable();
}

void sort_batch(FilterScanState* state, FoundRow* rows, uint32 count) {
  if (state->query.vector.empty()) {
    for (uint32 i = 0; i < count; ++i) put_row(state, rows[i].row, nullptr);
    return;
  }
  // An index without a generation has had no row since it was made.
  if (state->metapage.generation == 0) report_missing_row(state, rows[0].row);
  uint32 missing = score_rows(state, rows, count);
  if (missing == 0) return;
  find_roots(state->css.ss.ss_currentRelation, rows, missing);
  missing = score_rows(state, rows, missing);
  if (missing != 0) report_missing_row(state, rows[0].row);
}

// Before the first row is scored: the index as it is now, the query, and what this transaction has still to send.
void prepare_to_score(FilterScanState* state) {
  state->metapage = *read_metapage(state->index);
  state->rechecks_distances = rechecks_distances(state->index, state->metapage);
  bool is_null = false;
  const Datum argument = ExecEvalExprSwitchContext(state->argument, state->css.ss.ps.ps_ExprContext, &is_null);
  if (is_null) return;
  // It outlives the expression's memory.
  const Datum copy =
      datumCopy(argument, false, get_typlen(exprType(static_cast<Node*>(lsecond(state->order_by->args)))));
  state->query = read_index_query(state->index, state->metapage, copy, state->query_type);
  if (state->metapage.generation != 0) send_pending_rows(state->metapage.generation);
}

// The child's next rows; fewer than kBatchRows: there are no more.
uint32 read_batch(PlanState* child, FoundRow* rows) {
  uint32 count = 0;
  while (count < kBatchRows) {
    CHECK_FOR_INTERRUPTS();
    TupleTableSlot* slot = ExecProcNode(child);
    if (TupIsNull(slot)) break;
    bool is_null = false;
    const index::RowId row = row_id(reinterpret_cast<ItemPointer>(DatumGetPointer(slot_getattr(slot, 1, &is_null))));
    rows[count++] = {row, row};
  }
  return count;
}

// Runs the child to its end, in the memory context of the query: what it
// allocates there must outlive this run.
void sort_rows(FilterScanState* state) {
  MemoryContext query_context = MemoryContextSwitchTo(state->context);
  state->query = {};
  state->waiting = pairingheap_allocate(compare_waiting, nullptr);
  state->sort = begin_sort(state->input_slot->tts_tupleDescriptor);
  auto* rows = static_cast<FoundRow*>(palloc(kBatchRows * sizeof(FoundRow)));
  bool prepared = false;
  uint32 count = kBatchRows;
  while (count == kBatchRows) {
    MemoryContextSwitchTo(query_context);
    count = read_batch(child_of(state), rows);
    MemoryContextSwitchTo(state->context);
    if (count == 0) break;
    if (!prepared) prepare_to_score(state);
    prepared = true;
    sort_batch(state, rows, count);
  }
  pfree(rows);
  tuplesort_performsort(state->sort);
  pgstat_count_index_scan(state->index);
  MemoryContextSwitchTo(query_context);
}

// The sort's next row into output_slot; false: there is none.
bool take_sorted(FilterScanState* state) {
  if (!tuplesort_gettupleslot(state->sort, true, false, state->output_slot, nullptr)) return false;
  slot_getallattrs(state->output_slot);
  return true;
}

index::RowId sorted_row(const FilterScanState* state) {
  return static_cast<index::RowId>(DatumGetInt64(state->output_slot->tts_values[kRow]));
}

TupleTableSlot* fetch_row(FilterScanState* state, index::RowId row) {
  ScanState* node = &state->css.ss;
  TupleTableSlot* slot = node->ss_ScanTupleSlot;
  ItemPointerData tid;
  set_item_pointer(&tid, row);
  if (!table_tuple_fetch_row_version(node->ss_currentRelation, &tid, node->ps.state->es_snapshot, slot)) {
    elog(ERROR, "row (%u,%u) was visible and is no more", ItemPointerGetBlockNumber(&tid),
         ItemPointerGetOffsetNumber(&tid));
  }
  return slot;
}

// The nearest of the waiting rows; when none waits, the slot empty.
TupleTableSlot* take_waiting(FilterScanState* state) {
  if (pairingheap_is_empty(state->waiting)) return ExecClearTuple(state->css.ss.ss_ScanTupleSlot);
  auto* nearest = reinterpret_cast<WaitingRow*>(pairingheap_remove_first(state->waiting));
  const index::RowId row = nearest->row;
  pfree(nearest);
  return fetch_row(state, row);
}

// The next row where the sort is by lower bounds.
TupleTableSlot* next_rechecked_row(FilterScanState* state) {
  ExprContext* expression = state->css.ss.ps.ps_ExprContext;
  TupleTableSlot* sorted = state->output_slot;
  for (;;) {
    if (TTS_EMPTY(sorted) && !take_sorted(state)) return take_waiting(state);
    // Rows without a number come last, as they are.
    const bool is_number = !sorted->tts_isnull[kDistance] && !std::isnan(DatumGetFloat8(sorted->tts_values[kDistance]));
    if (!pairingheap_is_empty(state->waiting)) {
      const auto* nearest = reinterpret_cast<WaitingRow*>(pairingheap_first(state->waiting));
      if (!is_number || nearest->distance < DatumGetFloat8(sorted->tts_values[kDistance])) return take_waiting(state);
    }
    const index::RowId row = sorted_row(state);
    ExecClearTuple(sorted);
    expression->ecxt_scantuple = fetch_row(state, row);
    if (!is_number) return expression->ecxt_scantuple;
    bool is_null = false;
    const Datum distance = ExecEvalExprSwitchContext(state->distance, expression, &is_null);
    auto* waiting = static_cast<WaitingRow*>(MemoryContextAlloc(state->context, sizeof(WaitingRow)));
    *waiting = {{}, is_null ? std::numeric_limits<double>::quiet_NaN() : DatumGetFloat8(distance), row};
    pairingheap_add(state->waiting, &waiting->node);
    ResetExprContext(expression);
  }
}

TupleTableSlot* next_row(ScanState* node) {
  FilterScanState* state = state_of(reinterpret_cast<CustomScanState*>(node));
  if (state->sort == nullptr) sort_rows(state);
  if (state->rechecks_distances) return next_rechecked_row(state);
  if (!take_sorted(state)) return ExecClearTuple(node->ss_ScanTupleSlot);
  const TupleTableSlot* sorted = state->output_slot;
  if (!sorted->tts_isnull[kHash]) {
    index::ContentHash hash;
    memcpy(hash.data(), DatumGetPointer(sorted->tts_values[kHash]), hash.size());
    remember_row_distance(state->query, hash, DatumGetFloat8(sorted->tts_values[kDistance]));
  }
  return fetch_row(state, sorted_row(state));
}

// EvalPlanQual: does a row's newer version still answer the conditions?
bool recheck_row(ScanState* node, TupleTableSlot* slot) {
  FilterScanState* state = state_of(reinterpret_cast<CustomScanState*>(node));
  node->ps.ps_ExprContext->ecxt_scantuple = slot;
  return ExecQual(state->recheck, node->ps.ps_ExprContext);
}

void forget_rows(FilterScanState* state) {
  ExecClearTuple(state->output_slot);
  if (state->sort != nullptr) tuplesort_end(state->sort);
  state->sort = nullptr;
  MemoryContextReset(state->context);
}

void begin_filter_scan(CustomScanState* node, EState* estate, int flags) {
  FilterScanState* state = state_of(node);
  const auto* scan = reinterpret_cast<CustomScan*>(node->ss.ps.plan);
  state->order_by = static_cast<OpExpr*>(linitial(scan->custom_exprs));
  state->index_oid = list_nth_oid(scan->custom_private, kFilterIndex);
  state->query_type = list_nth_oid(scan->custom_private, kFilterQueryType);
  // The scan returns rows of the table as they lie in it, system columns included; core expects virtual ones.
  Relation table = node->ss.ss_currentRelation;
  ExecInitScanTupleSlot(estate, &node->ss, RelationGetDescr(table), table_slot_callbacks(table));
  ExecAssignScanProjectionInfoWithVarno(&node->ss, static_cast<int>(scan->scan.scanrelid));
  const int child_flags = flags & ~(EXEC_FLAG_BACKWARD | EXEC_FLAG_MARK);
  node->custom_ps = list_make1(ExecInitNode(static_cast<Plan*>(linitial(scan->custom_plans)), estate, child_flags));
  if (flags & EXEC_FLAG_EXPLAIN_ONLY) return;

  state->argument = ExecInitExpr(static_cast<Expr*>(lsecond(state->order_by->args)), &node->ss.ps);
  state->distance = ExecInitExpr(reinterpret_cast<Expr*>(state->order_by), &node->ss.ps);
  if (estate->es_epq_active != nullptr) {
    state->recheck = ExecInitQual(static_cast<List*>(lsecond(scan->custom_exprs)), &node->ss.ps);
  }
  state->index = index_open(state->index_oid, exec_rt_fetch(scan->scan.scanrelid, estate)->rellockmode);
  state->context = AllocSetContextCreate(estate->es_query_cxt, "pg_semantic filter scan", ALLOCSET_DEFAULT_SIZES);
  TupleDesc descriptor = make_sort_descriptor();
  state->input_slot = ExecInitExtraTupleSlot(estate, descriptor, &TTSOpsVirtual);
  state->output_slot = ExecInitExtraTupleSlot(estate, descriptor, &TTSOpsMinimalTuple);
}

TupleTableSlot* execute_filter_scan(CustomScanState* node) { return ExecScan(&node->ss, next_row, recheck_row); }

void restart_filter_scan(CustomScanState* node) {
  FilterScanState* state = state_of(node);
  forget_rows(state);
  ExecScanReScan(&node->ss);
  PlanState* child = child_of(state);
  if (node->ss.ps.chgParam != nullptr) UpdateChangedParamSet(child, node->ss.ps.chgParam);
  // A child whose parameters changed is restarted by its first ExecProcNode.
  if (child->chgParam == nullptr) ExecReScan(child);
}

void end_filter_scan(CustomScanState* node) {
  FilterScanState* state = state_of(node);
  if (state->index != nullptr) {
    forget_rows(state);
    index_close(state->index, NoLock);
  }
  ExecEndNode(child_of(state));
}

void explain_filter_scan(CustomScanState* node, List* ancestors, ExplainState* output) {
  FilterScanState* state = state_of(node);
  ExplainPropertyText("Index", get_rel_name(state->index_oid), output);
  List* context = set_deparse_context_plan(output->deparse_cxt, node->ss.ps.plan, ancestors);
  ExplainPropertyText("Order By",
                      deparse_expression(reinterpret_cast<Node*>(state->order_by), context, output->verbose, false),
                      output);
}

CustomExecMethods make_execution_methods() {
  CustomExecMethods methods = {};
  methods.CustomName = kFilterScanName;
  methods.BeginCustomScan = begin_filter_scan;
  methods.ExecCustomScan = execute_filter_scan;
  methods.EndCustomScan = end_filter_scan;
  methods.ReScanCustomScan = restart_filter_scan;
  methods.ExplainCustomScan = explain_filter_scan;
  return methods;
}

const CustomExecMethods execution_methods = make_execution_methods();

Node* create_state(CustomScan* scan) {
  auto* state = reinterpret_cast<FilterScanState*>(newNode(sizeof(FilterScanState), T_CustomScanState));
  state->css.methods = &execution_methods;
  return reinterpret_cast<Node*>(state);
}

}  // namespace

const CustomScanMethods filter_scan_methods = {kFilterScanName, create_state};

void initialize_filter_scan() {
  RegisterCustomScanMethods(&filter_scan_methods);
  register_filter_path();
}

}  // namespace pg_semantic
