// Centroids in memory: where they are kept, and how the nearest are found.
//
// A list's centroid never changes: a split makes new lists.  So centroids are
// only ever appended, and readers of an older list table need no lock.
//
// Thread safety: CentroidStore: one appender; readers touch only slots they
// learned of through a list table published after the append.  CentroidGraph:
// any thread.
#ifndef PG_SEMANTIC_INDEX_CENTROIDS_H
#define PG_SEMANTIC_INDEX_CENTROIDS_H

#include <faiss/IndexHNSW.h>

#include <array>
#include <memory>
#include <shared_mutex>
#include <span>
#include <vector>

#include "index/records.h"

namespace pg_semantic::index {

class CentroidStore {
 public:
  explicit CentroidStore(uint32_t dimensions) : dimensions_(dimensions) {}

  uint32_t append(const float* centroid);
  [[nodiscard]] const float* at(uint32_t slot) const;
  // How many slots from this one on lie contiguous in memory.
  [[nodiscard]] uint32_t contiguous(uint32_t slot) const;
  [[nodiscard]] uint32_t dimensions() const { return dimensions_; }
  [[nodiscard]] uint32_t size() const { return size_; }  // the appender's view

 private:
  // Chunk c holds 64 << c slots: an append moves nothing.
  static constexpr uint32_t kFirstChunk = 64;
  struct Place {
    uint32_t chunk;
    uint32_t offset;
  };
  static Place place(uint32_t slot);

  uint32_t dimensions_;
  uint32_t size_ = 0;
  std::array<std::unique_ptr<float[]>, 26> chunks_;
};

// HNSW over centroids by Euclidean distance (faiss::IndexHNSWFlat).  Lists that are gone stay in it as
// waypoints; the caller skips them.
class CentroidGraph {
 public:
  // `distances_per_walk`: Tuning's.
  CentroidGraph(uint32_t dimensions, uint32_t distances_per_walk);

  // `centroids`: lists.size() rows.  Throws what FAISS throws.
  void add(std::span<const ListId> lists, const float* centroids);
  struct Near {
    ListId list = 0;
    float squared_distance = 0;
  };
  // Whether asking it is faster than computing the distances of all `lists`.
  [[nodiscard]] bool is_faster(uint32_t count, size_t lists) const {
    return uint64_t{count} * distances_per_walk_ <= lists;
  }
  // About `count` nearest lists, nearest first.
  [[nodiscard]] std::vector<Near> nearest(const float* query, uint32_t count) const;
  [[nodiscard]] bool contains(ListId list) const;
  [[nodiscard]] size_t size() const;

 private:
  mutable std::shared_mutex mutex_;
  const uint32_t distances_per_walk_;
  faiss::IndexHNSWFlat index_;
  std::vector<ListId> lists_;  // by FAISS label, ascending
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CENTROIDS_H
