// K-means for a build, and assigning vectors to its centroids: FAISS, with
// interruption and without its assertions in reach.
#ifndef PG_SEMANTIC_INDEX_CLUSTERING_H
#define PG_SEMANTIC_INDEX_CLUSTERING_H

#include <memory>
#include <span>
#include <vector>

#include "index/centroids.h"
#include "index/engine.h"
#include "index/tuning.h"

namespace pg_semantic::index {

// Bounds the OpenMP threads of the calling thread while it lives.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(uint32_t threads);
  ~OpenMpThreads();
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int before_;
};

// At most `lists` centroids of the sample ([n][dimensions], finite; changed when
// it must be scaled).  Spherical: of length 1.
Result<std::vector<float>> train_centroids(std::vector<float>* sample, size_t dimensions, size_t lists, bool spherical,
                                           BuildProgress* progress, const Interrupted& interrupted);

// Finds the nearest of fixed centroids for many vectors.
class Assigner {
 public:
  // `graph`: may be null; then all centroids are compared.
  Assigner(const std::vector<float>& centroids, size_t dimensions, std::shared_ptr<CentroidGraph> graph);
  ~Assigner();

  // Numbers of centroids, always valid.
  std::vector<uint32_t> assign(const std::vector<float>& vectors) const;

 private:
  struct Index;
  size_t dimensions_;
  std::shared_ptr<CentroidGraph> graph_;
  std::unique_ptr<Index> index_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CLUSTERING_H
