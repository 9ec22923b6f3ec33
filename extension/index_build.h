// Filling an index: build, empty build, single rows.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_BUILD_H
#define PG_SEMANTIC_EXTENSION_INDEX_BUILD_H

#include "extension/server.h"

namespace pg_semantic {

// pg_stat_progress_create_index subphases; the worker's phases follow this one.
inline constexpr int64 kBuildScanPhase = 2;

IndexBuildResult* build_index(Relation heap, Relation index, IndexInfo* info);
void build_empty_index(Relation index);
const char* build_phase_name(int64 phase);
bool insert_row(Relation index, Datum* values, bool* is_null, ItemPointer tid, Relation heap,
                IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo* info);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_BUILD_H
