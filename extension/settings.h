// The settings (GUCs) of pg_semantic.
#ifndef PG_SEMANTIC_EXTENSION_SETTINGS_H
#define PG_SEMANTIC_EXTENSION_SETTINGS_H

#include "extension/server.h"

namespace pg_semantic {

struct Settings {
  char* model;              // semantic.model: the model of calls that name none
  char* rerank_model;       // semantic.rerank_model: "" when none is set
  int threads;              // semantic.threads: threads one call may use; 0: choose
  double recall;            // semantic.recall: recall@10 a scan aims at
  int max_candidates;       // semantic.max_candidates: cap on the exact second pass; 0: choose
  int index_memory;         // semantic.index_memory: MB for the index worker
  bool enable_filter_scan;  // semantic.enable_filter_scan: may the planner filter first?
};

extern Settings settings;

// Called once by _PG_init.
void define_settings();

// Threads that one call may use, at least 1 and at most `want_at_most`:
// semantic.threads, or (0) the processors this process may run on, up to 16.
// A parallel worker, and a leader of some, gets 1: the plan is parallel already.
int choose_threads(int want_at_most);

// Threads that building an index may use to embed: as many as PostgreSQL would
// use processes for a B-tree, this one and max_parallel_maintenance_workers more,
// within max_parallel_workers; no more than there are processors.
int choose_build_threads();

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_SETTINGS_H
