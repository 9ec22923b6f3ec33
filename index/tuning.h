// Sizes that steer the engine.  The defaults are what users get; tests make them
// small to reach splits and graphs with few vectors.
#ifndef PG_SEMANTIC_INDEX_TUNING_H
#define PG_SEMANTIC_INDEX_TUNING_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "index/engine.h"

namespace rocksdb {
class Env;
}

namespace pg_semantic::index {

struct Tuning {
  uint32_t list_limit = 512;          // entries; a longer list is split in the background
  uint32_t list_floor = 24;           // entries; a shorter list is merged away
  uint32_t built_list_entries = 256;  // mean after a build, and about that after growing
  uint32_t neighbour_lists = 12;      // whose border vectors a split looks at
  uint32_t graph_lists = 2000;        // more lists than this are found through HNSW
  // A walk through the graph takes as long as the distances of so many lists for each that is asked for.  Measured
  // with 256 numbers: the nearest 64 of 4,000 lists 0.28 ms by the graph and 0.18 without, of 16,000 0.44 and 0.69.
  uint32_t distances_per_walk = 160;
  uint64_t exact_vectors = 1600;        // generations up to this size are scanned whole
  uint32_t calibration_samples = 1024;  // stored vectors, at least, whose neighbours tell how far to look
  rocksdb::Env* env = nullptr;          // files and threads of RocksDB, for tests of failing disks; null: the usual
};

// Entries that a list of such vectors may have: wide ones make shorter lists, so
// that splitting one, which loads its neighbours too, stays within memory.
inline uint32_t list_limit_for(const Tuning& tuning, size_t vector_size) {
  constexpr size_t kListBytes = 4 << 20;
  return static_cast<uint32_t>(std::min<size_t>(tuning.list_limit, std::max<size_t>(64, kListBytes / vector_size)));
}

// Mean entries of a list that building and growing aim at.
inline uint32_t list_target_for(const Tuning& tuning, size_t vector_size) {
  return std::min(tuning.built_list_entries, std::max(list_limit_for(tuning, vector_size) / 2, 1u));
}

// A list that is still longer is split by the change that makes it so: the background is far behind.
inline uint32_t list_bound_for(const Tuning& tuning, size_t vector_size) {
  return 4 * list_limit_for(tuning, vector_size);
}

Result<std::unique_ptr<Engine>> open_engine(const EngineOptions& options, const Tuning& tuning);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_TUNING_H
