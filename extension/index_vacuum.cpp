// Removes dead rows.  The removals are in the log, on the disk, before bulk_delete returns: the
// heap may give the TIDs to other rows right after.
#include "extension/index_vacuum.h"

#include <vector>

#include "extension/guard.h"
#include "extension/index_client.h"
#include "extension/index_garbage.h"
#include "extension/index_log.h"
#include "extension/index_metapage.h"
#include "extension/index_rows.h"
#include "extension/index_transaction.h"

namespace pg_semantic {
namespace {

constexpr uint32_t kRowsPerPage = 4096;

void delete_rows(index::GenerationId generation, std::span<const index::RowId> rows, Durability durability) {
  guarded([&] {
    const std::vector<std::byte> change = index::encode_delete(generation, rows);
    call_server([&] { make_index_change(LogRecord::kDelete, change, durability); });
  });
}

void vacuum_delay() {
#if PG_VERSION_NUM >= 180000
  vacuum_delay_point(false);
#else
  vacuum_delay_point();
#endif
}

}  // namespace

IndexBulkDeleteResult* bulk_delete(IndexVacuumInfo* info, IndexBulkDeleteResult* stats, IndexBulkDeleteCallback is_dead,
                                   void* callback_state) {
  require_index_worker();
  if (stats == nullptr) stats = static_cast<IndexBulkDeleteResult*>(palloc0(sizeof(IndexBulkDeleteResult)));
  const IndexMetapage metapage = *read_metapage(info->index);
  stats->num_index_tuples = 0;
  if (metapage.generation == 0) return stats;
  StatisticsReply statistics;
  if (!find_index_statistics(metapage.generation, &statistics)) {
    // Nothing to remove: the table's VACUUM need not fail over it.
    ereport(WARNING, (errmsg("semantic index \"%s\" has no data", RelationGetRelationName(info->index)),
                      errhint("REINDEX INDEX %s.", RelationGetRelationName(info->index))));
    return stats;
  }
  // CREATE INDEX CONCURRENTLY lists an index's rows through here, its own included.
  send_pending_rows(metapage.generation);

  await_abandoned_changes();
  auto* page = static_cast<index::ListedRow*>(palloc(sizeof(index::ListedRow) * kRowsPerPage));
  auto* dead = static_cast<index::RowId*>(palloc(sizeof(index::RowId) * kRowsPerPage));
  const Durability durability = durability_of(info->index);
  index::RowId after = 0;
  uint32 count = 0;
  bool removed = false;
  do {
    vacuum_delay();
    count = list_index_rows(metapage.generation, after, page, kRowsPerPage);
    uint32 dead_count = 0;
    for (uint32 i = 0; i < count; ++i) {
      ItemPointerData tid;
      set_item_pointer(&tid, page[i].row);
      if (is_dead(&tid, callback_state)) {
        dead[dead_count++] = page[i].row;
      } else {
        stats->num_index_tuples += 1;
      }
    }
    if (dead_count > 0) {
      delete_rows(metapage.generation, std::span(dead, dead_count), durability);
      removed = true;
    }
    stats->tuples_removed += dead_count;
    if (count > 0) after = page[count - 1].row;
  } while (count == kRowsPerPage);
  if (removed && durability == Durability::kSynced) sync_index_changes();
  pfree(page);
  pfree(dead);
  return stats;
}

IndexBulkDeleteResult* vacuum_cleanup(IndexVacuumInfo* info, IndexBulkDeleteResult* stats) {
  if (info->analyze_only) return stats;
  require_index_worker();
  collect_garbage();
  if (stats == nullptr) {
    stats = static_cast<IndexBulkDeleteResult*>(palloc0(sizeof(IndexBulkDeleteResult)));
    const IndexMetapage metapage = *read_metapage(info->index);
    StatisticsReply statistics;
    if (metapage.generation != 0 && find_index_statistics(metapage.generation, &statistics)) {
      stats->num_index_tuples = static_cast<double>(statistics.rows);
    }
  }
  stats->num_pages = RelationGetNumberOfBlocks(info->index);
  return stats;
}

}  // namespace pg_semantic
