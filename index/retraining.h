// Training the lists of a grown index anew.
//
// Splits divide lists where they are; what k-means over all vectors finds they do not, and searches visit a third more
// entries for the same recall (tests/bench/RESULTS.md).  So once an index has grown a few times over, Lloyd's
// iterations go on from its centroids, over its own stored vectors, and then every list's entries move to the new
// centroids, some lists in a batch.  A search meanwhile sees old lists and new ones, each row in one of them.
//
// What a process that ends leaves is a sound index: lists with few entries are merged away, as ever, and the training
// begins anew.
#ifndef PG_SEMANTIC_INDEX_RETRAINING_H
#define PG_SEMANTIC_INDEX_RETRAINING_H

#include "index/generation.h"
#include "index/tuning.h"

namespace pg_semantic::index {

// Whether the index has grown so much since its lists were trained: fourfold, or twofold when no changes come.
bool needs_retraining(const ListTable& table, const Tuning& tuning, bool settled);

// Memory: about five times the centroids.  Takes Generation::writer for a batch at a time.  On the disk the index takes
// twice its size, or more, until it is compacted; kCancelled when there is no room for that.
Status retrain_lists(const Storage& storage, const Tuning& tuning, Generation* generation,
                     const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_RETRAINING_H
