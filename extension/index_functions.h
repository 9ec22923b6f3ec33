// Shared by the SQL functions that take an index.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_FUNCTIONS_H
#define PG_SEMANTIC_EXTENSION_INDEX_FUNCTIONS_H

#include "extension/server.h"

namespace pg_semantic {

// 42P01 when it is not there, 42809 when it is something else.
Relation open_semantic_index(Oid index, LOCKMODE lock);

// Whether the user may read the whole table and row security hides none of its rows.
bool may_read_every_row(Oid table);

// 42501 unless the caller may read every row of the table: for functions that tell of rows without being
// a query of the caller's.
void require_every_row(Oid table);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_FUNCTIONS_H
