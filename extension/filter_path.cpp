// When the planner may filter first, and what that costs.
#include "extension/filter_scan.h"

extern "C" {
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
}

#include <algorithm>
#include <cmath>

#include "extension/index_cost.h"
#include "extension/index_options.h"
#include "extension/settings.h"

namespace pg_semantic {
namespace {

set_rel_pathlist_hook_type previous_hook = nullptr;

// The path by which core would scan a semantic index in the order that is wanted:
// it says which index can give the distances, and how the query is spelt.
const IndexPath* find_ordered_path(const RelOptInfo* rel) {
  ListCell* cell;
  foreach (cell, rel->pathlist) {
    const Path* path = static_cast<Path*>(lfirst(cell));
    if (!IsA(path, IndexPath) || path->param_info != nullptr || is_refused(path->total_cost)) continue;
    const auto* index_path = reinterpret_cast<const IndexPath*>(path);
    if (list_length(index_path->indexorderbys) != 1 || path->pathkeys == NIL) continue;
    if (index_path->indexinfo->relam == semantic_access_method()) return index_path;
  }
  return nullptr;
}

// Bytes of a path that scans the table itself, so that its rows have TIDs; 0: of any other.
size_t scan_path_size(const Path* path) {
  switch (nodeTag(path)) {
    case T_Path:
      return path->pathtype == T_SeqScan ? sizeof(Path) : 0;
    case T_IndexPath:
      return path->pathtype == T_IndexScan ? sizeof(IndexPath) : 0;
    case T_BitmapHeapPath:
      return sizeof(BitmapHeapPath);
    case T_TidPath:
      return sizeof(TidPath);
    case T_TidRangePath:
      return sizeof(TidRangePath);
    default:
      return 0;
  }
}

// The cheapest scan of all the rows, in any order.
const Path* find_cheapest_scan(const RelOptInfo* rel) {
  const Path* cheapest = nullptr;
  ListCell* cell;
  foreach (cell, rel->pathlist) {
    const Path* path = static_cast<Path*>(lfirst(cell));
    if (path->param_info != nullptr || scan_path_size(path) == 0) continue;
    if (IsA(path, IndexPath) && reinterpret_cast<const IndexPath*>(path)->indexorderbys != NIL) continue;
    if (cheapest == nullptr || path->total_cost < cheapest->total_cost) cheapest = path;
  }
  return cheapest;
}

// The same scan, returning TIDs only.
Path* make_tid_path(const RelOptInfo* rel, const Path* scan) {
  const size_t size = scan_path_size(scan);
  auto* path = static_cast<Path*>(palloc(size));
  memcpy(path, scan, size);
  PathTarget* target = create_empty_pathtarget();
  Var* tid = makeVar(static_cast<int>(rel->relid), SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, 0);
  add_column_to_pathtarget(target, reinterpret_cast<Expr*>(tid), 0);
  target->width = sizeof(ItemPointerData);
  path->pathtarget = target;
  path->pathkeys = NIL;
  return path;
}

Plan* plan_filter_scan(PlannerInfo* root, RelOptInfo* rel, CustomPath* path, List* tlist, List* clauses,
                       List* children) {
  const auto* ordered = static_cast<IndexPath*>(linitial(path->custom_private));
  auto* order_by = static_cast<OpExpr*>(linitial(ordered->indexorderbys));
  CustomScan* scan = makeNode(CustomScan);
  scan->scan.plan.targetlist = tlist;
  scan->scan.plan.qual = NIL;  // the child has seen to it
  scan->scan.scanrelid = rel->relid;
  scan->flags = path->flags;
  scan->custom_plans = children;
  // The conditions are asked again only of a row's newer version, under FOR UPDATE.
  scan->custom_exprs = list_make2(copyObjectImpl(order_by), extract_actual_clauses(clauses, false));
  Oid left;
  Oid right;
  op_input_types(order_by->opno, &left, &right);
  scan->custom_private = list_make2_oid(ordered->indexinfo->indexoid, right);
  scan->methods = &filter_scan_methods;
  return &scan->scan.plan;
}

const CustomPathMethods filter_path_methods = {kFilterScanName, plan_filter_scan, nullptr};

void add_filter_path(PlannerInfo* root, RelOptInfo* rel, Index rti, RangeTblEntry* rte) {
  if (previous_hook != nullptr) previous_hook(root, rel, rti, rte);
  if (!settings.enable_filter_scan || !enable_indexscan || rel->baserestrictinfo == NIL) return;
  if (!IS_SIMPLE_REL(rel) || rte->rtekind != RTE_RELATION || rte->inh || rte->tablesample != nullptr) return;
  if (!bms_is_empty(rel->lateral_relids)) return;
  const IndexPath* ordered = find_ordered_path(rel);
  if (ordered == nullptr || !IsA(linitial(ordered->indexorderbys), OpExpr)) return;
  const Path* scan = find_cheapest_scan(rel);
  if (scan == nullptr) return;

  CustomPath* path = makeNode(CustomPath);
  path->path.pathtype = T_CustomScan;
  path->path.parent = rel;
  path->path.pathtarget = rel->reltarget;
  path->path.rows = rel->rows;
  path->path.pathkeys = ordered->path.pathkeys;
  path->path.parallel_safe = false;  // the transaction's rows are sent by the leader
  estimate_filter_cost(scan, &path->path.startup_cost, &path->path.total_cost);
  path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
  path->custom_paths = list_make1(make_tid_path(rel, scan));
  path->custom_private = list_make1(const_cast<IndexPath*>(ordered));
  path->methods = &filter_path_methods;
  add_path(rel, &path->path);
}

}  // namespace

void register_filter_path() {
  previous_hook = set_rel_pathlist_hook;
  set_rel_pathlist_hook = add_filter_path;
}

}  // namespace pg_semantic
