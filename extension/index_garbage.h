// Generations of the worker's store that no index has any more: of a build that a crash cut off, of one that was rolled
// back while prepared, of an unlogged index that was reset.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_GARBAGE_H
#define PG_SEMANTIC_EXTENSION_INDEX_GARBAGE_H

namespace pg_semantic {

// Leaves those of this database, and of databases that are gone, to the worker.  Generations of transactions that have
// not ended, prepared ones among them, stay: they hold a lock on their index.
void collect_garbage();

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_GARBAGE_H
