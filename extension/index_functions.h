// Shared by the SQL functions that take an index.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_FUNCTIONS_H
#define PG_SEMANTIC_EXTENSION_INDEX_FUNCTIONS_H

#include "extension/server.h"

namespace pg_semantic {

// 42809 when it is something else.
Relation open_semantic_index(Oid index, LOCKMODE lock);

// 42501 unless the caller may read the table.
void require_select_on_table(Oid table);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_FUNCTIONS_H
