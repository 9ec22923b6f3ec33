#include "extension/index_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "extension/index_client.h"
#include "extension/index_metapage.h"
#include "extension/index_shared_memory.h"
#include "extension/semantic_query.h"

namespace pg_semantic {
namespace {

// Reading one stored vector in a scan, in units of cpu_operator_cost: measured
// 0.03 µs a vector of 256 numbers, against 0.01 µs a unit.
constexpr double kVectorOperations = 3;
// Vectors a scan of a large index reads before its first row, and the share of
// those above.
constexpr double kExactRows = 20000;
constexpr double kProbedShare = 0.02;
// Asking the worker: one request and reply, about a tenth of a millisecond.
constexpr double kRequestCost = 10;
// A scan that goes on past its first rows, because a filter lets few through, searches again for more and more of
// them and fetches each from a page of its own.  Measured at 200,000 vectors of 256 numbers: a row takes eight times as
// long as one of a bitmap scan, which costs random_page_cost.  (Core spreads the pages of the whole scan over its
// rows.) It is half that where all vectors just fit into one exact search.
constexpr double kFurtherRowPages = 7;
// Looking up one row and its vector by its number, in units of cpu_operator_cost.
constexpr double kScoredRowOperations = 400;
constexpr double kSortedRowBytes = 64;

void refuse(Cost* startup_cost, Cost* total_cost) {
#if PG_VERSION_NUM >= 180000
  *startup_cost = *total_cost = std::numeric_limits<double>::infinity();
#else
  *startup_cost = *total_cost = std::numeric_limits<double>::max();
#endif
}

// The index cannot answer a query that another model has embedded: its rows'
// vectors would be compared with one of another space.
bool asks_another_model(PlannerInfo* root, IndexPath* path, const IndexMetapage& metapage) {
  if (metapage.embeds_text == 0 || list_length(path->indexorderbys) != 1) return false;
  auto* clause = static_cast<Expr*>(linitial(path->indexorderbys));
  if (!IsA(clause, OpExpr)) return false;
  Node* argument = static_cast<Node*>(lsecond(reinterpret_cast<OpExpr*>(clause)->args));
  // A stable function that fails (an unknown model, say) must fail in the executor, not here: only constants are read.
  if (argument == nullptr || !IsA(argument, Const)) return false;
  const auto* constant = reinterpret_cast<Const*>(argument);
  if (constant->constisnull) return false;
  return query_fingerprint(semantic_query_from_datum(constant->constvalue)) != std::string_view(metapage.fingerprint);
}

// A standby repairs no index, nor does it give one that was copied with its database rows of its own: there the query
// is answered without it.
bool waits_for_promotion(const IndexMetapage& metapage) {
  if (!RecoveryInProgress() || metapage.generation == 0) return false;
  return metapage.database_oid != MyDatabaseId || needs_repair_by_now(metapage.generation);
}

}  // namespace

void estimate_cost(PlannerInfo* root, IndexPath* path, double loop_count, Cost* startup_cost, Cost* total_cost,
                   Selectivity* selectivity, double* correlation, double* pages) {
  *selectivity = 1;
  *correlation = 0;
  *pages = 1;
  if (path->indexorderbys == NIL || index_shared_memory() == nullptr) {
    refuse(startup_cost, total_cost);
    return;
  }
  Relation index = index_open(path->indexinfo->indexoid, NoLock);
  const bool readable = !RELATION_IS_OTHER_TEMP(index) && RelationGetNumberOfBlocks(index) > 0;
  const IndexMetapage metapage = readable ? peek_metapage(index) : IndexMetapage{};
  index_close(index, NoLock);
  if (metapage.magic != kMetapageMagic || asks_another_model(root, path, metapage)) {
    refuse(startup_cost, total_cost);
    return;
  }
  if (waits_for_promotion(metapage)) {
    ereport(DEBUG1, (errmsg_internal("semantic index \"%s\" is not used, because a standby cannot repair it",
                                     get_rel_name(path->indexinfo->indexoid))));
    refuse(startup_cost, total_cost);
    return;
  }
  const double rows = std::max(path->indexinfo->tuples, 1.0);
  const double scanned = std::min(rows, kExactRows + kProbedShare * rows);
  *startup_cost = kRequestCost + scanned * kVectorOperations * cpu_operator_cost;
  const double further_row = kFurtherRowPages * random_page_cost * rows / (rows + kExactRows);
  *total_cost = *startup_cost + rows * (cpu_index_tuple_cost + kVectorOperations * cpu_operator_cost + further_row);
}

bool is_refused(Cost total_cost) { return total_cost >= std::numeric_limits<double>::max(); }

void estimate_filter_cost(const Path* scan, Cost* startup_cost, Cost* total_cost) {
  const double rows = std::max(scan->rows, 2.0);
  const double comparisons = 2 * cpu_operator_cost * rows * std::log2(rows);
  const double pages = rows * kSortedRowBytes / BLCKSZ;
  const double spilled = rows * kSortedRowBytes > work_mem * 1024.0 ? 2 * pages * seq_page_cost : 0;
  *startup_cost =
      scan->total_cost + kRequestCost + rows * kScoredRowOperations * cpu_operator_cost + comparisons + spilled;
  // Each row is fetched again from a page just read.
  *total_cost = *startup_cost + rows * cpu_tuple_cost;
}

}  // namespace pg_semantic
