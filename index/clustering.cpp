// Hierarchical k-means: some coarse clusters, each divided on its own, then a few
// of Lloyd's iterations over all centroids and the whole sample.
#include "index/clustering.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "encoder/kernels.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr size_t kFlatLists = 64;          // so many are found in one step
constexpr size_t kCoarseSamples = 128;     // for a coarse cluster
constexpr int kIterations = 8;             // of a step of the hierarchy
constexpr double kFinalOperations = 1e12;  // multiplications that Lloyd's iterations over everything may take in all
constexpr int kMostFinalIterations = 4;
constexpr float kLargestSafe = 1e12f;  // squares of larger values, summed up, overflow
constexpr size_t kRowsAtOnce = 64;
constexpr size_t kPanelOutputs = encoder::kPanelOutputs;
constexpr size_t kCentroidsAtOnce = 64 * kPanelOutputs;

struct Interruption {};

// Four floats: a vector register of every processor of this kind.
typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

// The least of products[i] + norms[i], and where it is; the first of equal ones.
void find_least(const float* products, const float* norms, size_t count, uint32_t first, float* least,
                uint32_t* position) {
  size_t i = 0;
  if (count >= 4) {
    Four best;
    FourInts best_at = {0, 1, 2, 3}, at = best_at;
    const auto sum = [&](size_t from) {
      Four product, norm;
      std::memcpy(&product, products + from, sizeof product);
      std::memcpy(&norm, norms + from, sizeof norm);
      return product + norm;
    };
    best = sum(0);
    for (i = 4; i + 4 <= count; i += 4) {
      at += 4;
      const Four value = sum(i);
      const FourInts less = value < best;
      best = less ? value : best;
      best_at = less ? at : best_at;
    }
    for (int lane = 0; lane < 4; ++lane) {
      const uint32_t where = first + static_cast<uint32_t>(best_at[lane]);
      if (best[lane] < *least || (best[lane] == *least && where < *position)) {
        *least = best[lane];
        *position = where;
      }
    }
  }
  for (; i < count; ++i) {
    const float value = products[i] + norms[i];
    if (!(value < *least)) continue;
    *least = value;
    *position = first + static_cast<uint32_t>(i);
  }
}

class Trainer {
 public:
  Trainer(size_t dimensions, bool spherical, size_t threads, BuildProgress* progress, const Interrupted& interrupted)
      : dimensions_(dimensions),
        spherical_(spherical),
        threads_(std::max<size_t>(threads, 1)),
        progress_(progress),
        interrupted_(interrupted) {}

  std::vector<float> train(std::span<const float> sample, size_t lists) {
    const size_t count = sample.size() / dimensions_;
    lists = std::min(lists, count);
    if (lists <= kFlatLists) return flat(sample, lists);
    std::vector<float> centroids = hierarchical(sample, lists);
    const double operations = static_cast<double>(count) * static_cast<double>(centroids.size());
    const int iterations = std::min(kMostFinalIterations, static_cast<int>(kFinalOperations / operations));
    lloyd(sample, iterations, &centroids);
    return centroids;
  }

 private:
  std::vector<float> flat(std::span<const float> sample, size_t lists) {
    std::vector<float> centroids = choose(sample, lists);
    lloyd(sample, kIterations, &centroids);
    return centroids;
  }

  // Different members of the sample.
  std::vector<float> choose(std::span<const float> sample, size_t wanted) {
    const size_t count = sample.size() / dimensions_;
    std::vector<float> chosen;
    chosen.reserve(wanted * dimensions_);
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    for (size_t i = 0; i < wanted; ++i) {
      std::swap(order[i], order[i + random_() % (count - i)]);
      const auto member = sample.subspan(order[i] * dimensions_, dimensions_);
      chosen.insert(chosen.end(), member.begin(), member.end());
    }
    return chosen;
  }

  std::vector<uint32_t> assign(std::span<const float> sample, const std::vector<float>& centroids) {
    const NearestCentroids nearest(centroids, dimensions_);
    const size_t count = sample.size() / dimensions_;
    std::vector<uint32_t> result(count);
    const size_t parts = count < 4 * kRowsAtOnce ? 1 : threads_;
    in_parallel(parts, [&](size_t part) {
      constexpr size_t kBetweenPolls = 16 * kRowsAtOnce;
      const size_t last = count * (part + 1) / parts;
      for (size_t first = count * part / parts; first < last; first += kBetweenPolls) {
        if (interrupted_ && interrupted_()) throw Interruption{};
        const size_t now = std::min(kBetweenPolls, last - first);
        nearest.assign(sample.data() + first * dimensions_, now, result.data() + first);
      }
    });
    if (progress_ != nullptr) progress_->done += count;
    return result;
  }

  void lloyd(std::span<const float> sample, int iterations, std::vector<float>* centroids) {
    for (int i = 0; i < iterations; ++i) move(sample, assign(sample, *centroids), centroids);
  }

  // Each centroid to the mean of its members.
  void move(std::span<const float> sample, const std::vector<uint32_t>& nearest, std::vector<float>* centroids) {
    const size_t lists = centroids->size() / dimensions_;
    std::vector<double> sums(centroids->size(), 0);
    std::vector<uint32_t> sizes(lists, 0);
    for (size_t i = 0; i < nearest.size(); ++i) {
      double* sum = sums.data() + nearest[i] * dimensions_;
      const float* vector = sample.data() + i * dimensions_;
      for (size_t j = 0; j < dimensions_; ++j) sum[j] += vector[j];
      ++sizes[nearest[i]];
    }
    for (size_t list = 0; list < lists; ++list) {
      float* centroid = centroids->data() + list * dimensions_;
      if (sizes[list] == 0) continue;
      for (size_t j = 0; j < dimensions_; ++j)
        centroid[j] = static_cast<float>(sums[list * dimensions_ + j] / sizes[list]);
      if (spherical_) normalise(centroid, dimensions_);
    }
    // One that has no member is put beside the centroid of the most.
    for (size_t list = 0; list < lists; ++list) {
      if (sizes[list] > 0) continue;
      const auto largest = static_cast<size_t>(std::max_element(sizes.begin(), sizes.end()) - sizes.begin());
      float* from = centroids->data() + largest * dimensions_;
      float* to = centroids->data() + list * dimensions_;
      for (size_t j = 0; j < dimensions_; ++j) {
        const float sign = j % 2 == 0 ? 1.0f : -1.0f;
        to[j] = from[j] * (1 + sign / 1024);
        from[j] *= 1 - sign / 1024;
      }
      sizes[list] = sizes[largest] / 2;
      sizes[largest] -= sizes[list];
    }
  }

  std::vector<float> hierarchical(std::span<const float> sample, size_t lists) {
    const size_t count = sample.size() / dimensions_;
    const auto coarse_lists = static_cast<size_t>(std::sqrt(static_cast<double>(lists)));
    const std::vector<float> few = choose(sample, std::min(count, coarse_lists * kCoarseSamples));
    const std::vector<float> coarse = flat(few, coarse_lists);
    const std::vector<uint32_t> cluster_of = assign(sample, coarse);
    std::vector<std::vector<uint32_t>> members(coarse.size() / dimensions_);
    for (uint32_t i = 0; i < count; ++i) members[cluster_of[i]].push_back(i);
    std::vector<float> centroids, part;
    for (const std::vector<uint32_t>& cluster : members) {
      if (cluster.empty()) continue;
      part.clear();
      for (const uint32_t i : cluster) {
        const auto member = sample.subspan(i * dimensions_, dimensions_);
        part.insert(part.end(), member.begin(), member.end());
      }
      const size_t share = std::clamp<size_t>((cluster.size() * lists + count / 2) / count, 1, cluster.size());
      const std::vector<float> fine = flat(part, share);
      centroids.insert(centroids.end(), fine.begin(), fine.end());
    }
    return centroids;
  }

  size_t dimensions_;
  bool spherical_;
  size_t threads_;
  BuildProgress* progress_;
  const Interrupted& interrupted_;
  std::mt19937_64 random_{20240229};
};

}  // namespace

OpenMpThreads::OpenMpThreads(uint32_t threads) : before_(omp_get_max_threads()) {
  omp_set_num_threads(static_cast<int>(std::clamp<uint32_t>(threads, 1, 1024)));
}

OpenMpThreads::~OpenMpThreads() { omp_set_num_threads(before_); }

NearestCentroids::NearestCentroids(std::span<const float> centroids, size_t dimensions)
    : dimensions_(dimensions), count_(centroids.size() / dimensions), mean_(dimensions), norms_(count_) {
  std::vector<double> sums(dimensions, 0);
  for (size_t i = 0; i < centroids.size(); ++i) sums[i % dimensions] += centroids[i];
  for (size_t j = 0; j < dimensions; ++j) mean_[j] = static_cast<float>(sums[j] / static_cast<double>(count_));
  std::vector<float> centred(centroids.size());
  for (size_t i = 0; i < count_; ++i) {
    double norm = 0;
    for (size_t j = 0; j < dimensions; ++j) {
      const float value = centroids[i * dimensions + j] - mean_[j];
      centred[i * dimensions + j] = value;
      norm += double{value} * value;
    }
    norms_[i] = static_cast<float>(norm);
  }
  panels_.resize((count_ + kPanelOutputs - 1) / kPanelOutputs * kPanelOutputs * dimensions);
  encoder::kernels().pack_transposed(count_, dimensions, -2, {centred.data(), dimensions}, panels_.data());
}

void NearestCentroids::assign(const float* vectors, size_t count, uint32_t* nearest) const {
  const encoder::Kernels& k = encoder::kernels();
  std::vector<float> centred(kRowsAtOnce * dimensions_), products(kRowsAtOnce * std::min(count_, kCentroidsAtOnce));
  for (size_t first = 0; first < count; first += kRowsAtOnce) {
    const size_t rows = std::min(kRowsAtOnce, count - first);
    for (size_t i = 0; i < rows; ++i) {
      const float* vector = vectors + (first + i) * dimensions_;
      for (size_t j = 0; j < dimensions_; ++j) centred[i * dimensions_ + j] = vector[j] - mean_[j];
    }
    float least[kRowsAtOnce];
    std::fill_n(least, rows, INFINITY);
    std::fill_n(nearest + first, rows, 0u);
    for (size_t centroid = 0; centroid < count_; centroid += kCentroidsAtOnce) {
      const size_t columns = std::min(kCentroidsAtOnce, count_ - centroid);
      k.multiply_panels({rows, columns, dimensions_}, {centred.data(), dimensions_},
                        panels_.data() + centroid * dimensions_, nullptr, {products.data(), columns});
      for (size_t i = 0; i < rows; ++i)
        find_least(products.data() + i * columns, norms_.data() + centroid, columns, static_cast<uint32_t>(centroid),
                   &least[i], &nearest[first + i]);
    }
  }
}

Result<std::vector<float>> train_centroids(std::vector<float>* sample, size_t dimensions, size_t lists, bool spherical,
                                           size_t threads, BuildProgress* progress, const Interrupted& interrupted) {
  float largest = 0;
  for (const float value : *sample) largest = std::max(largest, std::fabs(value));
  const float scale = largest > kLargestSafe ? largest : 1;
  if (scale != 1) {
    for (float& value : *sample) value /= scale;
  }
  if (progress != nullptr) {
    const size_t steps = lists <= kFlatLists ? kIterations : kIterations + 1 + kMostFinalIterations;
    progress->total = sample->size() / dimensions * steps;
  }
  try {
    std::vector<float> centroids = Trainer(dimensions, spherical, threads, progress, interrupted).train(*sample, lists);
    for (float& value : centroids) value *= scale;
    return centroids;
  } catch (const Interruption&) {
    return Status::cancelled();
  }
}

}  // namespace pg_semantic::index
