// Makes an index hold what its table holds, when the worker's store has lost some of it: the power went before it
// was on the disk, the directory is missing, a file is damaged.
//
// The table is read once, as CREATE INDEX reads it; entries that are as they should be stay, others are
// removed, and only rows without one are embedded.  The repair is this server's alone, so nothing of it is logged.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_REPAIR_H
#define PG_SEMANTIC_EXTENSION_INDEX_REPAIR_H

#include "extension/server.h"

#include "extension/worker_protocol.h"

namespace pg_semantic {

// Whether a repair is the answer to what the worker said of a generation.
bool needs_repair(StatusCode status);

// Repairs the index, if it still has to be once VACUUM and other repairs are kept out; reads and writes of others go
// on. Returns how many entries were added, replaced or removed.  Errors: 55000 on a standby, whose planner then knows
// it for one that is not to be used; those of embedding a text. `may_be_damaged`: what is there is read first, and is
// not used if it cannot be.
int64 repair_index(Relation index, bool may_be_damaged);

// An index whose pages were copied with its database (CREATE DATABASE ... TEMPLATE) names rows of the original's: makes
// rows of its own from its table.  Logged, as a build is.  Errors: as repair_index().
void make_copied_index_its_own(Relation index);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_REPAIR_H
