// The order of a result's rows, and the best of a stream of them.
//
// Thread safety: a BestHits belongs to one thread.
#ifndef PG_SEMANTIC_INDEX_BEST_HITS_H
#define PG_SEMANTIC_INDEX_BEST_HITS_H

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "index/engine.h"

namespace pg_semantic::index {

inline int rank_of(const SearchHit& hit) {
  if (hit.kind != RowKind::kVector) return hit.kind == RowKind::kNoDirection ? 2 : 3;
  return std::isnan(hit.distance) ? 1 : 0;
}

inline bool comes_before(const SearchHit& a, const SearchHit& b) {
  const int rank_a = rank_of(a), rank_b = rank_of(b);
  if (rank_a != rank_b) return rank_a < rank_b;
  if (rank_a == 0 && a.distance != b.distance) return a.distance < b.distance;
  return a.row < b.row;
}

// The best `k` of a stream of hits, the worst of them on top of a heap.
class BestHits {
 public:
  explicit BestHits(size_t k) : k_(k) {}

  void add(const SearchHit& hit) {
    if (hits_.size() < k_) {
      hits_.push_back(hit);
      std::push_heap(hits_.begin(), hits_.end(), comes_before);
    } else if (comes_before(hit, hits_.front())) {
      std::pop_heap(hits_.begin(), hits_.end(), comes_before);
      hits_.back() = hit;
      std::push_heap(hits_.begin(), hits_.end(), comes_before);
    }
  }
  // The k-th so far; infinite before there are k.
  [[nodiscard]] double kth_distance() const {
    if (hits_.size() < k_ || rank_of(hits_.front()) != 0) return std::numeric_limits<double>::infinity();
    return hits_.front().distance;
  }
  [[nodiscard]] size_t size() const { return hits_.size(); }
  std::vector<SearchHit> take() {
    std::sort_heap(hits_.begin(), hits_.end(), comes_before);
    return std::move(hits_);
  }

 private:
  size_t k_;
  std::vector<SearchHit> hits_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_BEST_HITS_H
