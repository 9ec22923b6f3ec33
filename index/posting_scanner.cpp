// First pass over posting codes.
#include "index/posting_scanner.h"

#include <faiss/utils/Heap.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "index/bytes.h"

namespace pg_semantic::index {

PostingScanner::PostingScanner(const CodecLayout& layout, Metric metric)
    : layout_(layout), metric_(metric), rounding_(rounding_bound(layout.dimensions())) {
  code_size = layout.code_size();
}

void PostingScanner::set_query(const float* query) {
  double sum = 0, squared = 0;
  for (size_t i = 0; i < layout_.dimensions(); ++i) {
    sum += query[i];
    squared += double{query[i]} * query[i];
  }
  query_ = {query, layout_.dimensions(), static_cast<float>(sum)};
  query_norm_ = static_cast<float>(std::sqrt(squared));
  candidates_.clear();
}

void PostingScanner::estimate(const uint8_t* codes, size_t count, float* estimates) const {
  const auto* bytes = reinterpret_cast<const std::byte*>(codes);
  switch (metric_) {
    case Metric::kL2:
      layout_.squared_distance()(query_, bytes, code_size, count, estimates);
      for (size_t i = 0; i < count; ++i) estimates[i] = std::sqrt(estimates[i]);
      break;
    case Metric::kCosine:
      layout_.inner_product()(query_, bytes, code_size, count, estimates);
      for (size_t i = 0; i < count; ++i) estimates[i] = 1 - estimates[i];
      break;
    case Metric::kInnerProduct:
      layout_.inner_product()(query_, bytes, code_size, count, estimates);
      for (size_t i = 0; i < count; ++i) estimates[i] = -estimates[i];
      break;
  }
}

float PostingScanner::distance_to_code(const uint8_t* code) const {
  float distance = 0;
  estimate(code, 1, &distance);
  return distance;
}

size_t PostingScanner::scan_codes(size_t count, const uint8_t* codes, const idx_t* ids, float* distances, idx_t* labels,
                                  size_t k) const {
  estimates_.resize(count);
  estimate(codes, count, estimates_.data());
  size_t updates = 0;
  for (size_t i = 0; i < count; ++i) {
    const float error = load<CodeHeader>(codes + i * code_size).error;
    // Under L2 the kernel's rounding grows with the operands; the other two
    // multiply the code's error by the query's length.
    const float slack = metric_ == Metric::kL2 ? error + rounding_ * (estimates_[i] + query_norm_)
                                               : error * query_norm_ + 2 * rounding_ * std::fabs(estimates_[i]);
    float lower = estimates_[i] - slack, upper = estimates_[i] + slack;
    if (!std::isfinite(lower) || !std::isfinite(upper)) {  // overflowed: only the second pass can tell
      lower = -std::numeric_limits<float>::infinity();
      upper = std::numeric_limits<float>::infinity();
    }
    if (lower <= distances[0]) candidates_.push_back({lower, estimates_[i], static_cast<RowId>(ids[i])});
    if (upper < distances[0]) {
      faiss::maxheap_replace_top(k, distances, labels, upper, ids[i]);
      ++updates;
    }
  }
  return updates;
}

void PostingScanner::scan(const BlockView& block, std::vector<float>* heap_distances, std::vector<idx_t>* heap_labels) {
  ids_.resize(block.count);
  std::memcpy(ids_.data(), block.rows, block.count * sizeof(idx_t));  // the value may lie at any address
  scan_codes(block.count, reinterpret_cast<const uint8_t*>(block.codes), ids_.data(), heap_distances->data(),
             heap_labels->data(), heap_distances->size());
}

std::vector<PostingScanner::Candidate> PostingScanner::take_candidates(float bound) {
  std::erase_if(candidates_, [bound](const Candidate& candidate) { return candidate.lower_bound > bound; });
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.lower_bound != b.lower_bound ? a.lower_bound < b.lower_bound : a.row < b.row;
  });
  return std::move(candidates_);
}

}  // namespace pg_semantic::index
