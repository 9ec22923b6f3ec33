// The distances users see: computed in double from stored vectors.
#ifndef PG_SEMANTIC_INDEX_EXACT_DISTANCE_H
#define PG_SEMANTIC_INDEX_EXACT_DISTANCE_H

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "index/bytes.h"
#include "index/codec.h"
#include "index/engine.h"

namespace pg_semantic::index {

class ExactDistance {
 public:
  // `query` must live as long.
  ExactDistance(const CodecLayout& layout, std::span<const float> query) : layout_(layout), query_(query) {
    double squared = 0;
    for (const float value : query) squared += double{value} * value;
    norm_ = std::sqrt(squared);
  }

  [[nodiscard]] double query_norm() const { return norm_; }

  // `stored`: a vector of the layout, of any alignment.
  [[nodiscard]] SearchHit operator()(RowId row, const std::byte* stored) const {
    const auto header = load<VectorHeader>(stored);
    const std::byte* values = stored + sizeof header;
    const auto element = static_cast<size_t>(layout_.element());
    SearchHit hit;
    hit.row = row;
    hit.hash = header.hash;
    if (layout_.metric() == Metric::kL2) {
      hit.distance =
          std::sqrt(kernels().exact_squared_distance[element](query_.data(), values, header.scale, query_.size()));
      // Elements are rounded as they are put together, by what may be more than their difference.
      hit.error = header.error + kSumRounding * norm_;
      return hit;
    }
    double product = 0, squared_norm = 0;
    kernels().exact_inner_product[element](query_.data(), values, query_.size(), &product, &squared_norm);
    if (layout_.metric() == Metric::kInnerProduct) {
      hit.distance = -product * header.scale;
      // The sum's terms may be much larger than the sum.
      hit.error = (header.error + kSumRounding * std::sqrt(squared_norm) * header.scale) * norm_;
      return hit;
    }
    const double stored_norm = std::sqrt(squared_norm);
    const double norms = norm_ * stored_norm;
    if (!(norms > 0)) {
      hit.distance = std::numeric_limits<double>::quiet_NaN();
      return hit;
    }
    hit.distance = 1 - std::clamp(product / norms, -1.0, 1.0);
    // The sine of the angle to what was inserted is at most error / norm, and an angle at most π/2 times its sine.
    hit.error = header.error > 0 ? 1.6 * header.error / (stored_norm * header.scale) : 0;
    return hit;
  }

  // Lower is nearer, on the scale of CodeQuery's estimates.
  [[nodiscard]] double score(double distance) const {
    switch (layout_.metric()) {
      case Metric::kL2:
        return distance * distance;
      case Metric::kCosine:
        return 2 * distance;
      case Metric::kInnerProduct:
        break;
    }
    return distance;
  }

 private:
  static constexpr double kSumRounding = 1e-12;
  const CodecLayout& layout_;
  std::span<const float> query_;
  double norm_ = 0;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_EXACT_DISTANCE_H
