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

constexpr size_t kBuildBatchBytes = 4 << 20;
constexpr size_t kBuildBatchRows = 2048;

struct BuildState {
  IndexMetapage metapage;
  Durability durability;
  MemoryContext row_context;    // reset after every row
  std::vector<IndexRow>* rows;  // used again and again: faults for memory given back cost more than all else
  size_t row_count;             // in use
  size_t bytes;
  uint32 dimensions;
  int64 sent;
};

void send_collected(BuildState* build) {
  send_rows({.generation = build->metapage.generation,
             .fingerprint = build->metapage.fingerprint,
             .dimensions = build->metapage.dimensions,
             .durability = build->durability,
             .threads = choose_build_threads()},
            std::span(*build->rows).first(build->row_count));
  build->sent += static_cast<int64>(build->row_count);
  build->row_count = 0;
  build->bytes = 0;
  pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, build->sent);
}

void collect_row(Relation index, ItemPointer tid, Datum* values, bool* is_null, bool alive, void* argument) {
  auto* build = static_cast<BuildState*>(argument);
  MemoryContext before = MemoryContextSwitchTo(build->row_context);
  const IndexedContent content = read_content(index, build->metapage, values[0], is_null[0], build->dimensions);
  if (build->dimensions == 0) build->dimensions = static_cast<uint32>(content.vector.size());
  guarded([&] {
    if (build->row_count == build->rows->size()) build->rows->emplace_back();
    IndexRow& row = (*build->rows)[build->row_count++];
    copy_row(row_id(tid), content, &row);
    build->bytes += row.bytes();
  });
  MemoryContextSwitchTo(before);
  MemoryContextReset(build->row_context);
  if (build->bytes > kBuildBatchBytes || build->row_count >= kBuildBatchRows) send_collected(build);
}

double scan_heap(Relation heap, Relation index, IndexInfo* info, BuildState* build) {
  double heap_tuples = 0;
  std::vector<IndexRow>* rows = guarded([] { return new std::vector<IndexRow>; });
  build->rows = rows;
  PG_TRY();
  {
    heap_tuples = table_index_build_scan(heap, index, info, true, true, collect_row, build, nullptr);
    send_collected(build);
  }
  PG_FINALLY();
  { delete rows; }
  PG_END_TRY();
  return heap_tuples;
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
  build.durability = durability_of(index);
  build.metapage.generation = create_built_generation(index, build.metapage);
  build.dimensions = build.metapage.dimensions;
  build.row_context = AllocSetContextCreate(CurrentMemoryContext, "pg_semantic build row", ALLOCSET_DEFAULT_SIZES);

  if (heap->rd_rel->reltuples > 0) {
    pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, static_cast<int64>(heap->rd_rel->reltuples));
  }
  pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, kBuildScanPhase);
  const double heap_tuples = scan_heap(heap, index, info, &build);
  MemoryContextDelete(build.row_context);

  // The lists are on the disk when it returns, before the metapage names them.
  finish_index_build(build.metapage.generation);
  if (build.durability == Durability::kLogged) log_finished_build(build.metapage.generation);
  write_metapage(index, MAIN_FORKNUM, build.metapage);

  result->heap_tuples = heap_tuples;
  result->index_tuples = static_cast<double>(build.sent);
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
