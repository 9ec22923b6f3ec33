// VACUUM of an index.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_VACUUM_H
#define PG_SEMANTIC_EXTENSION_INDEX_VACUUM_H

#include "extension/server.h"

namespace pg_semantic {

IndexBulkDeleteResult* bulk_delete(IndexVacuumInfo* info, IndexBulkDeleteResult* stats, IndexBulkDeleteCallback is_dead,
                                   void* callback_state);
IndexBulkDeleteResult* vacuum_cleanup(IndexVacuumInfo* info, IndexBulkDeleteResult* stats);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_VACUUM_H
