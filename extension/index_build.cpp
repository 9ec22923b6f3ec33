// CREATE INDEX, REINDEX and whatever else fills an index's new storage.
#include "extension/index_build.h"

#include <span>
#include <vector>

#include "extension/guard.h"
#include "extension/index_client.h"
#include "extension/index_metapage.h"
#include "extension/index_rows.h"
#include "extension/index_transaction.h"
#include "extension/models.h"
#include "extension/settings.h"

namespace pg_semantic {
namespace {

struct BuildState {
  IndexMetapage metapage;
  uint32 dimensions;
  RowCollector collector;
};

void collect_table_row(Relation index, ItemPointer tid, Datum* values, bool* is_null, bool alive, void* argument) {
  auto* build = static_cast<BuildState*>(argument);
  MemoryContext before = MemoryContextSwitchTo(build->collector.row_context);
  const IndexedContent content = read_content(index, build->metapage, values[0], is_null[0], build->dimensions);
  if (build->dimensions == 0) build->dimensions = static_cast<uint32>(content.vector.size());
  collect_row(&build->collector, tid, content);
  MemoryContextSwitchTo(before);
  MemoryContextReset(build->collector.row_context);
  if (!send_many_collected(&build->collector)) return;
  pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, build->collector.sent);
}

}  // namespace

IndexBuildResult* build_index(Relation heap, Relation index, IndexInfo* info) {
  auto* result = static_cast<IndexBuildResult*>(palloc0(sizeof(IndexBuildResult)));
  // pg_upgrade puts the old cluster's file in the place of this one's.
  if (IsBinaryUpgrade) return result;
  require_index_worker();
  const LoadedModel* model = nullptr;
  BuildState build = {};
  build.metapage = describe_index(index, &model);
  build.metapage.generation = create_built_generation(index, build.metapage);
  build.dimensions = build.metapage.dimensions;
  build.collector.target = {.generation = build.metapage.generation,
                            .fingerprint = build.metapage.fingerprint,
                            .dimensions = build.metapage.dimensions,
                            .durability = durability_of(index),
                            .threads = choose_build_threads()};

  if (heap->rd_rel->reltuples > 0) {
    pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, static_cast<int64>(heap->rd_rel->reltuples));
  }
  pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, kBuildScanPhase);
  const double heap_tuples = collect_table(&build.collector, heap, index, info, true, collect_table_row, &build);
  pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, build.collector.sent);

  // The lists are on the disk when it returns, before the metapage names them.
  finish_index_build(build.metapage.generation);
  if (build.collector.target.durability == Durability::kLogged) log_finished_build(build.metapage.generation);
  write_metapage(index, MAIN_FORKNUM, build.metapage);

  result->heap_tuples = heap_tuples;
  result->index_tuples = static_cast<double>(build.collector.sent);
  return result;
}

void build_empty_index(Relation index) {
  const LoadedModel* model = nullptr;
  write_metapage(index, INIT_FORKNUM, describe_index(index, &model));
}

const char* build_phase_name(int64 phase) {
  switch (phase) {
    case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
      return "initializing";
    case kBuildScanPhase:
      return "embedding table rows";
    case kBuildScanPhase + static_cast<int64>(index::BuildPhase::kSampling):
      return "sampling vectors";
    case kBuildScanPhase + static_cast<int64>(index::BuildPhase::kClustering):
      return "clustering vectors";
    case kBuildScanPhase + static_cast<int64>(index::BuildPhase::kAssigning):
      return "assigning vectors to lists";
    case kBuildScanPhase + static_cast<int64>(index::BuildPhase::kWriting):
      return "writing lists";
    case kBuildScanPhase + static_cast<int64>(index::BuildPhase::kCalibrating):
      return "measuring recall";
    default:
      return nullptr;
  }
}

bool insert_row(Relation index, Datum* values, bool* is_null, ItemPointer tid, Relation heap,
                IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo* info) {
  require_index_worker();
  IndexMetapage metapage = *read_metapage(index);
  if (metapage.generation == 0) {
    // First row of an unlogged index that a crash has reset.
    LockRelationForExtension(index, ExclusiveLock);
    metapage = *read_metapage(index);
    if (metapage.generation == 0) {
      metapage.generation = create_reset_generation(index, metapage);
      write_metapage(index, MAIN_FORKNUM, metapage);
    }
    UnlockRelationForExtension(index, ExclusiveLock);
  }
  MemoryContext row_context =
      AllocSetContextCreate(CurrentMemoryContext, "pg_semantic insert row", ALLOCSET_DEFAULT_SIZES);
  MemoryContext before = MemoryContextSwitchTo(row_context);
  add_pending_row(heap, index, metapage, tid, values[0], is_null[0]);
  MemoryContextSwitchTo(before);
  MemoryContextDelete(row_context);
  return false;
}

}  // namespace pg_semantic
