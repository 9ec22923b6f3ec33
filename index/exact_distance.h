// The distances users see: computed in double from full-precision vectors.
#ifndef PG_SEMANTIC_INDEX_EXACT_DISTANCE_H
#define PG_SEMANTIC_INDEX_EXACT_DISTANCE_H

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "index/engine.h"
#include "index/kernels.h"

namespace pg_semantic::index {

class ExactDistance {
 public:
  ExactDistance(Metric metric, std::span<const float> query) : metric_(metric), query_(query) {
    double squared = 0;
    for (const float value : query) squared += double{value} * value;
    norm_ = std::sqrt(squared);
  }

  [[nodiscard]] double query_norm() const { return norm_; }

  // `bytes`: the query's number of floats, of any alignment.
  double operator()(const void* bytes) const {
    const auto* vector = static_cast<const std::byte*>(bytes);
    if (metric_ == Metric::kL2)
      return std::sqrt(kernels().exact_squared_distance(query_.data(), vector, query_.size()));
    double product = 0, squared_norm = 0;
    kernels().exact_inner_product(query_.data(), vector, query_.size(), &product, &squared_norm);
    if (metric_ == Metric::kInnerProduct) return -product;
    const double norms = norm_ * std::sqrt(squared_norm);
    if (!(norms > 0)) return std::numeric_limits<double>::quiet_NaN();
    return 1 - std::clamp(product / norms, -1.0, 1.0);
  }

 private:
  Metric metric_;
  std::span<const float> query_;
  double norm_ = 0;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_EXACT_DISTANCE_H
