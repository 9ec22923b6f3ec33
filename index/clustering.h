// K-means for a build, and the nearest of fixed centroids for many vectors.
//
// Distances to all centroids are one matrix product, by the encoder's packed
// kernels: on this kind of work they are twice as fast as Debian's OpenBLAS.
#ifndef PG_SEMANTIC_INDEX_CLUSTERING_H
#define PG_SEMANTIC_INDEX_CLUSTERING_H

#include <future>
#include <span>
#include <vector>

#include "index/centroids.h"
#include "index/engine.h"
#include "index/tuning.h"

namespace pg_semantic::index {

// Bounds the OpenMP threads (FAISS's) of the calling thread while it lives.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(uint32_t threads);
  ~OpenMpThreads();
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int before_;
};

// Calls work(part) for the parts 0 … parts - 1 on a thread each, the last on the caller's; returns, or throws what
// one of them threw, when all are done.
template <typename Work>
void in_parallel(size_t parts, const Work& work) {
  std::vector<std::future<void>> running;  // a destructor waits
  for (size_t part = 0; part + 1 < parts; ++part)
    running.push_back(std::async(std::launch::async, [&work, part] { work(part); }));
  if (parts > 0) work(parts - 1);
  for (std::future<void>& part : running) part.get();
}

// Finds the nearest of fixed centroids (by Euclidean distance) for many vectors.
//
// Thread safety: immutable after construction.
class NearestCentroids {
 public:
  // `centroids`: [count][dimensions], finite, count > 0.
  NearestCentroids(std::span<const float> centroids, size_t dimensions);

  // nearest[i]: of vector i, on the calling thread.
  void assign(const float* vectors, size_t count, uint32_t* nearest) const;

 private:
  size_t dimensions_;
  size_t count_;
  std::vector<float> mean_;    // taken from centroids and vectors: keeps products small
  std::vector<float> panels_;  // -2 · centroid
  std::vector<float> norms_;   // squared
};

struct TrainingRequest {
  std::span<float> sample;      // [n][dimensions], finite, n > 0; its order changes, and its scale if it must
  std::span<uint32_t> nearest;  // room for n
  size_t dimensions = 0;
  size_t lists = 1;
  bool spherical = false;  // centroids of length 1
  size_t threads = 1;
  uint64_t memory_bytes = 16ull << 20;  // for sums, beside the centroids and what NearestCentroids holds
};

// At most so many centroids of the sample.
Result<std::vector<float>> train_centroids(const TrainingRequest& request, BuildProgress* progress,
                                           const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CLUSTERING_H
