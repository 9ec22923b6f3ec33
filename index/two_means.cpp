// Splitting a set of vectors in two: Lloyd's iterations from two far members,
// and a cut at the median along the same direction when they leave one side
// nearly empty (an outlier would otherwise be split off again and again).
#include "index/two_means.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <span>

#include "index/kernels.h"

namespace pg_semantic::index {
namespace {

constexpr int kIterations = 8;
constexpr size_t kSmallestShare = 8;  // a side has at least one in so many

using Centroids = std::array<std::vector<float>, 2>;

size_t farthest(const std::vector<float>& vectors, size_t dimensions, const float* from) {
  const size_t count = vectors.size() / dimensions;
  std::vector<float> distances(count);
  kernels().squared_distance_rows(from, dimensions, vectors.data(), count, distances.data());
  return static_cast<size_t>(std::max_element(distances.begin(), distances.end()) - distances.begin());
}

// projections[i] = vector i along (centroid 1 - centroid 0); the middle between
// the centroids is where the sides meet.
std::vector<float> project(const std::vector<float>& vectors, size_t dimensions, const Centroids& centroids,
                           float* middle) {
  std::vector<float> direction(dimensions);
  double at_middle = 0;
  for (size_t i = 0; i < dimensions; ++i) {
    direction[i] = centroids[1][i] - centroids[0][i];
    at_middle += double{direction[i]} * (double{centroids[0][i]} + centroids[1][i]) / 2;
  }
  *middle = static_cast<float>(at_middle);
  const size_t count = vectors.size() / dimensions;
  std::vector<float> projections(count);
  kernels().inner_product_rows(direction.data(), dimensions, vectors.data(), count, projections.data());
  return projections;
}

void average(const std::vector<float>& vectors, size_t dimensions, bool spherical, const std::vector<uint8_t>& side,
             Centroids* centroids) {
  std::array<std::vector<double>, 2> sums;
  std::array<size_t, 2> counts{};
  for (auto& sum : sums) sum.assign(dimensions, 0);
  for (size_t i = 0; i < side.size(); ++i) {
    std::vector<double>& sum = sums[side[i]];
    ++counts[side[i]];
    for (size_t j = 0; j < dimensions; ++j) sum[j] += vectors[i * dimensions + j];
  }
  for (size_t which = 0; which < 2; ++which) {
    if (counts[which] == 0) continue;
    for (size_t j = 0; j < dimensions; ++j)
      (*centroids)[which][j] = static_cast<float>(sums[which][j] / static_cast<double>(counts[which]));
    if (spherical) normalise((*centroids)[which].data(), dimensions);
  }
}

size_t assign(const std::vector<float>& projections, float middle, std::vector<uint8_t>* side) {
  size_t on_one = 0;
  for (size_t i = 0; i < projections.size(); ++i) {
    (*side)[i] = projections[i] > middle ? 1 : 0;
    on_one += (*side)[i];
  }
  return on_one;
}

bool cut_at_median(const std::vector<float>& projections, std::vector<uint8_t>* side) {
  std::vector<size_t> order(projections.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return projections[a] < projections[b]; });
  if (!(projections[order.front()] < projections[order.back()])) return false;
  for (size_t i = 0; i < order.size(); ++i) (*side)[order[i]] = i >= order.size() / 2 ? 1 : 0;
  return true;
}

}  // namespace

void normalise(float* vector, size_t dimensions) {
  double squared = 0;
  for (size_t i = 0; i < dimensions; ++i) squared += double{vector[i]} * vector[i];
  if (!(squared > 0)) return;
  const double factor = 1 / std::sqrt(squared);
  for (size_t i = 0; i < dimensions; ++i) vector[i] = static_cast<float>(vector[i] * factor);
}

bool two_means(const std::vector<float>& vectors, size_t dimensions, bool spherical, uint64_t seed, TwoMeans* result) {
  const size_t count = vectors.size() / dimensions;
  if (count < 2) return false;
  std::mt19937_64 random(seed);
  const size_t start = random() % count;
  const size_t one = farthest(vectors, dimensions, vectors.data() + start * dimensions);
  const size_t other = farthest(vectors, dimensions, vectors.data() + one * dimensions);
  const auto member = [&](size_t i) { return std::span(vectors).subspan(i * dimensions, dimensions); };
  result->centroids[0].assign(member(one).begin(), member(one).end());
  result->centroids[1].assign(member(other).begin(), member(other).end());
  result->side.assign(count, 0);

  size_t on_one = 0;
  float middle = 0;
  for (int i = 0; i < kIterations; ++i) {
    const std::vector<uint8_t> before = result->side;
    on_one = assign(project(vectors, dimensions, result->centroids, &middle), middle, &result->side);
    if (on_one == 0 || on_one == count || (i > 0 && before == result->side)) break;
    average(vectors, dimensions, spherical, result->side, &result->centroids);
  }
  if (std::min(on_one, count - on_one) < std::max<size_t>(1, count / kSmallestShare)) {
    if (!cut_at_median(project(vectors, dimensions, result->centroids, &middle), &result->side)) return false;
    average(vectors, dimensions, spherical, result->side, &result->centroids);
  }
  return true;
}

}  // namespace pg_semantic::index
