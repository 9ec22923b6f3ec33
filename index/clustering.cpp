// K-means for a build, and assigning vectors to its centroids.
#include "index/clustering.h"

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <future>

#include "index/search.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr int kIterations = 8;
constexpr size_t kFlatLists = 2048;  // more are found in two levels
constexpr size_t kVectorsAtOnce = 2048;
constexpr float kLargestSafe = 1e15f;  // squares of this, summed, are still floats

struct Interruption : std::exception {};

// A flat index that can be interrupted: Clustering gives it the whole sample.
class InterruptibleFlat final : public faiss::IndexFlatL2 {
 public:
  InterruptibleFlat(size_t dimensions, BuildProgress* progress, const Interrupted& interrupted)
      : faiss::IndexFlatL2(static_cast<idx_t>(dimensions)), progress_(progress), interrupted_(interrupted) {}

  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* params) const override {
    for (idx_t first = 0; first < n; first += static_cast<idx_t>(kVectorsAtOnce)) {
      if (is_interrupted(interrupted_)) throw Interruption();
      const idx_t count = std::min<idx_t>(static_cast<idx_t>(kVectorsAtOnce), n - first);
      faiss::IndexFlatL2::search(count, x + first * d, k, distances + first * k, labels + first * k, params);
      // Clustering asserts that every vector has a centroid; one whose distances
      // all overflowed has none.
      for (idx_t i = first * k; i < (first + count) * k; ++i) labels[i] = std::max<idx_t>(labels[i], 0);
      if (progress_ != nullptr) progress_->done += static_cast<uint64_t>(count);
    }
  }

 private:
  BuildProgress* progress_;
  const Interrupted& interrupted_;
};

struct Trainer {
  size_t dimensions;
  bool spherical;
  BuildProgress* progress;
  const Interrupted& interrupted;

  std::vector<float> flat(const float* sample, size_t count, size_t lists) const {
    lists = std::min(lists, count);
    if (lists <= 1 || lists == count) {
      std::vector<float> centroids(sample, sample + (lists == count ? count : 0) * dimensions);
      if (lists != count) centroids = mean(sample, count);
      return centroids;
    }
    faiss::ClusteringParameters parameters;
    parameters.niter = kIterations;
    parameters.spherical = spherical;
    parameters.min_points_per_centroid = 1;
    parameters.max_points_per_centroid = 1 << 20;
    parameters.seed = 20240229;
    faiss::Clustering clustering(static_cast<int>(dimensions), static_cast<int>(lists), parameters);
    InterruptibleFlat index(dimensions, progress, interrupted);
    clustering.train(static_cast<faiss::Index::idx_t>(count), sample, index);
    return std::move(clustering.centroids);
  }

  std::vector<float> mean(const float* sample, size_t count) const {
    std::vector<double> sum(dimensions, 0);
    for (size_t i = 0; i < count; ++i) {
      for (size_t j = 0; j < dimensions; ++j) sum[j] += sample[i * dimensions + j];
    }
    std::vector<float> centroid(dimensions);
    for (size_t j = 0; j < dimensions; ++j) centroid[j] = static_cast<float>(sum[j] / static_cast<double>(count));
    if (spherical) normalise(centroid.data(), dimensions);
    return centroid;
  }

  // Clusters of clusters: sqrt(lists) first, then each on its own, with lists in
  // proportion to its vectors.
  std::vector<float> two_level(const std::vector<float>& sample, size_t lists) const {
    const size_t count = sample.size() / dimensions;
    const std::vector<float> coarse =
        flat(sample.data(), count, static_cast<size_t>(std::sqrt(static_cast<double>(lists))));
    const std::vector<uint32_t> cluster_of = Assigner(coarse, dimensions, nullptr).assign(sample);
    std::vector<std::vector<uint32_t>> members(coarse.size() / dimensions);
    for (uint32_t i = 0; i < count; ++i) members[cluster_of[i]].push_back(i);
    std::vector<float> centroids, part;
    for (const std::vector<uint32_t>& cluster : members) {
      if (cluster.empty()) continue;
      part.clear();
      for (const uint32_t i : cluster)
        part.insert(part.end(), sample.begin() + static_cast<std::ptrdiff_t>(i * dimensions),
                    sample.begin() + static_cast<std::ptrdiff_t>((i + 1) * dimensions));
      const size_t share = std::max<size_t>(1, (cluster.size() * lists + count / 2) / count);
      const std::vector<float> fine = flat(part.data(), cluster.size(), share);
      centroids.insert(centroids.end(), fine.begin(), fine.end());
    }
    return centroids;
  }
};

}  // namespace

OpenMpThreads::OpenMpThreads(uint32_t threads) : before_(omp_get_max_threads()) {
  omp_set_num_threads(static_cast<int>(std::clamp<uint32_t>(threads, 1, 1024)));
}

OpenMpThreads::~OpenMpThreads() { omp_set_num_threads(before_); }

Result<std::vector<float>> train_centroids(std::vector<float>* sample, size_t dimensions, size_t lists, bool spherical,
                                           BuildProgress* progress, const Interrupted& interrupted) {
  float largest = 0;
  for (const float value : *sample) largest = std::max(largest, std::fabs(value));
  const float scale = largest > kLargestSafe ? largest : 1;
  if (scale != 1) {
    for (float& value : *sample) value /= scale;
  }
  const size_t count = sample->size() / dimensions;
  const bool is_flat = lists <= kFlatLists;
  if (progress != nullptr) progress->total = count * kIterations * (is_flat ? 1 : 2);
  try {
    const Trainer trainer{dimensions, spherical, progress, interrupted};
    std::vector<float> centroids =
        is_flat ? trainer.flat(sample->data(), count, lists) : trainer.two_level(*sample, lists);
    for (float& value : centroids) value *= scale;
    return centroids;
  } catch (const Interruption&) {
    return Status::cancelled();
  }
}

struct Assigner::Index {
  explicit Index(size_t dimensions) : flat(static_cast<faiss::Index::idx_t>(dimensions)) {}
  faiss::IndexFlatL2 flat;
};

Assigner::Assigner(const std::vector<float>& centroids, size_t dimensions, std::shared_ptr<CentroidGraph> graph)
    : dimensions_(dimensions), graph_(std::move(graph)), index_(std::make_unique<Index>(dimensions)) {
  if (graph_) return;
  index_->flat.add(static_cast<faiss::Index::idx_t>(centroids.size() / dimensions), centroids.data());
}

Assigner::~Assigner() = default;

std::vector<uint32_t> Assigner::assign(const std::vector<float>& vectors) const {
  const size_t count = vectors.size() / dimensions_;
  std::vector<uint32_t> result(count, 0);
  if (graph_) {
    const auto range = [&](size_t first, size_t last) {
      for (size_t i = first; i < last; ++i) {
        const std::vector<ListId> nearest = graph_->nearest(vectors.data() + i * dimensions_, 1);
        if (!nearest.empty()) result[i] = nearest.front();
      }
    };
    const size_t parts = static_cast<size_t>(omp_get_max_threads());
    std::vector<std::future<void>> running;  // its destructor waits, get() passes exceptions on
    for (size_t part = 0; part < parts; ++part)
      running.push_back(std::async(std::launch::async, range, count * part / parts, count * (part + 1) / parts));
    for (std::future<void>& part : running) part.get();
    return result;
  }
  std::vector<float> distances(kVectorsAtOnce);
  std::vector<faiss::Index::idx_t> labels(kVectorsAtOnce);
  for (size_t first = 0; first < count; first += kVectorsAtOnce) {
    const size_t part = std::min(kVectorsAtOnce, count - first);
    index_->flat.search(static_cast<faiss::Index::idx_t>(part), vectors.data() + first * dimensions_, 1,
                        distances.data(), labels.data());
    for (size_t i = 0; i < part; ++i) result[first + i] = static_cast<uint32_t>(std::max<int64_t>(labels[i], 0));
  }
  return result;
}

}  // namespace pg_semantic::index
