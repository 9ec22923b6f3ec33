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

// Works in the sample's own place: vectors are moved, not copied.
class Trainer {
 public:
  Trainer(const TrainingRequest& request, BuildProgress* progress, const Interrupted& interrupted)
      : request_(request),
        dimensions_(request.dimensions),
        threads_(std::max<size_t>(request.threads, 1)),
        progress_(progress),
        interrupted_(interrupted) {}

  std::vector<float> train() {
    const size_t count = request_.sample.size() / dimensions_;
    const size_t lists = std::min(request_.lists, count);
    if (lists <= kFlatLists) return flat(request_.sample, lists);
    std::vector<float> centroids = hierarchical(request_.sample, lists);
    const double operations = static_cast<double>(count) * static_cast<double>(centroids.size());
    const int iterations = std::min(kMostFinalIterations, static_cast<int>(kFinalOperations / operations));
    lloyd(request_.sample, iterations, &centroids);
    return centroids;
  }

 private:
  std::vector<float> flat(std::span<float> sample, size_t lists) {
    const std::span<const float> chosen = choose(sample, lists);
    std::vector<float> centroids(chosen.begin(), chosen.end());
    lloyd(sample, kIterations, &centroids);
    return centroids;
  }

  void swap_vectors(std::span<float> sample, size_t a, size_t b) {
    if (a == b) return;
    float* first = sample.data() + a * dimensions_;
    std::swap_ranges(first, first + dimensions_, sample.data() + b * dimensions_);
  }

  // Different members of the sample, brought to its beginning.
  std::span<float> choose(std::span<float> sample, size_t wanted) {
    const size_t count = sample.size() / dimensions_;
    for (size_t i = 0; i < wanted; ++i) swap_vectors(sample, i, i + random_() % (count - i));
    return sample.first(wanted * dimensions_);
  }

  // The nearest of the centroids to each; overwritten by the next call.
  std::span<uint32_t> assign(std::span<const float> sample, const std::vector<float>& centroids) {
    const NearestCentroids nearest(centroids, dimensions_);
    const size_t count = sample.size() / dimensions_;
    const std::span<uint32_t> result = request_.nearest.first(count);
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

  // Each centroid to the mean of its members, some of the centroids at a time.
  void move(std::span<const float> sample, std::span<const uint32_t> nearest, std::vector<float>* centroids) {
    const size_t lists = centroids->size() / dimensions_;
    const size_t at_once = std::max<size_t>(request_.memory_bytes / (dimensions_ * sizeof(double)), 1);
    std::vector<double> sums(std::min(at_once, lists) * dimensions_);
    std::vector<uint32_t> sizes(lists, 0);
    for (size_t first = 0; first < lists; first += at_once) {
      const size_t end = std::min(first + at_once, lists);
      std::fill(sums.begin(), sums.end(), 0);
      for (size_t i = 0; i < nearest.size(); ++i) {
        if (nearest[i] < first || nearest[i] >= end) continue;
        double* sum = sums.data() + (nearest[i] - first) * dimensions_;
        const float* vector = sample.data() + i * dimensions_;
        for (size_t j = 0; j < dimensions_; ++j) sum[j] += vector[j];
        ++sizes[nearest[i]];
      }
      for (size_t list = first; list < end; ++list) {
        if (sizes[list] == 0) continue;
        float* centroid = centroids->data() + list * dimensions_;
        const double* sum = sums.data() + (list - first) * dimensions_;
        for (size_t j = 0; j < dimensions_; ++j) centroid[j] = static_cast<float>(sum[j] / sizes[list]);
        if (request_.spherical) normalise(centroid, dimensions_);
      }
    }
    fill_empty(&sizes, centroids);
  }

  // One that has no member is put beside the centroid of the most.
  void fill_empty(std::vector<uint32_t>* sizes, std::vector<float>* centroids) const {
    for (size_t list = 0; list < sizes->size(); ++list) {
      if ((*sizes)[list] > 0) continue;
      const auto largest = static_cast<size_t>(std::max_element(sizes->begin(), sizes->end()) - sizes->begin());
      float* from = centroids->data() + largest * dimensions_;
      float* to = centroids->data() + list * dimensions_;
      for (size_t j = 0; j < dimensions_; ++j) {
        const float sign = j % 2 == 0 ? 1.0f : -1.0f;
        to[j] = from[j] * (1 + sign / 1024);
        from[j] *= 1 - sign / 1024;
      }
      (*sizes)[list] = (*sizes)[largest] / 2;
      (*sizes)[largest] -= (*sizes)[list];
    }
  }

  std::vector<float> hierarchical(std::span<float> sample, size_t lists) {
    const size_t count = sample.size() / dimensions_;
    const auto coarse_lists = static_cast<size_t>(std::sqrt(static_cast<double>(lists)));
    const std::vector<float> coarse =
        flat(choose(sample, std::min(count, coarse_lists * kCoarseSamples)), coarse_lists);
    const std::vector<size_t> begins = group(sample, assign(sample, coarse), coarse.size() / dimensions_);
    std::vector<float> centroids;
    centroids.reserve((lists + begins.size()) * dimensions_);
    for (size_t cluster = 0; cluster + 1 < begins.size(); ++cluster) {
      const size_t members = begins[cluster + 1] - begins[cluster];
      if (members == 0) continue;
      const size_t share = std::clamp<size_t>((members * lists + count / 2) / count, 1, members);
      const std::vector<float> fine = flat(sample.subspan(begins[cluster] * dimensions_, members * dimensions_), share);
      centroids.insert(centroids.end(), fine.begin(), fine.end());
    }
    return centroids;
  }

  // Orders the sample by cluster, in place; returns where each begins, and the end.
  std::vector<size_t> group(std::span<float> sample, std::span<uint32_t> cluster_of, size_t clusters) {
    std::vector<size_t> begins(clusters + 1, 0);
    for (const uint32_t cluster : cluster_of) ++begins[cluster + 1];
    for (size_t cluster = 0; cluster < clusters; ++cluster) begins[cluster + 1] += begins[cluster];
    std::vector<size_t> next(begins.begin(), begins.end() - 1);
    for (size_t cluster = 0; cluster < clusters; ++cluster) {
      while (next[cluster] < begins[cluster + 1]) {
        const size_t here = next[cluster];
        const uint32_t belongs = cluster_of[here];
        const size_t there = next[belongs]++;
        swap_vectors(sample, here, there);
        std::swap(cluster_of[here], cluster_of[there]);
      }
    }
    return begins;
  }

  const TrainingRequest& request_;
  size_t dimensions_;
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
  panels_.resize((count_ + kPanelOutputs - 1) / kPanelOutputs * kPanelOutputs * dimensions);
  std::vector<float> centred(std::min(count_, kCentroidsAtOnce) * dimensions);
  for (size_t first = 0; first < count_; first += kCentroidsAtOnce) {
    const size_t count = std::min(kCentroidsAtOnce, count_ - first);
    for (size_t i = 0; i < count; ++i) {
      double norm = 0;
      for (size_t j = 0; j < dimensions; ++j) {
        const float value = centroids[(first + i) * dimensions + j] - mean_[j];
        centred[i * dimensions + j] = value;
        norm += double{value} * value;
      }
      norms_[first + i] = static_cast<float>(norm);
    }
    encoder::kernels().pack_transposed(count, dimensions, -2, {centred.data(), dimensions},
                                       panels_.data() + first * dimensions);
  }
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

Result<std::vector<float>> train_centroids(const TrainingRequest& request, BuildProgress* progress,
                                           const Interrupted& interrupted) {
  float largest = 0;
  for (const float value : request.sample) largest = std::max(largest, std::fabs(value));
  const float scale = largest > kLargestSafe ? largest : 1;
  if (scale != 1) {
    for (float& value : request.sample) value /= scale;
  }
  if (progress != nullptr) {
    const size_t steps = request.lists <= kFlatLists ? kIterations : kIterations + 1 + kMostFinalIterations;
    progress->total = request.sample.size() / request.dimensions * steps;
  }
  try {
    std::vector<float> centroids = Trainer(request, progress, interrupted).train();
    for (float& value : centroids) value *= scale;
    return centroids;
  } catch (const Interruption&) {
    return Status::cancelled();
  }
}

}  // namespace pg_semantic::index
