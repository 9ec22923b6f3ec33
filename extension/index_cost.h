// What a scan of a semantic index costs, for the planner.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_COST_H
#define PG_SEMANTIC_EXTENSION_INDEX_COST_H

#include "extension/server.h"

namespace pg_semantic {

void estimate_cost(PlannerInfo* root, IndexPath* path, double loop_count, Cost* startup_cost, Cost* total_cost,
                   Selectivity* selectivity, double* correlation, double* pages);

// Whether estimate_cost() has said: not with this index.
bool is_refused(Cost total_cost);

// The same for rows that `scan` finds, whose distances the worker is asked for.
void estimate_filter_cost(const Path* scan, Cost* startup_cost, Cost* total_cost);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_COST_H
