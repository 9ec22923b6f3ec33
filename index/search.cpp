// Searching: nearest lists, codes, stored vectors.  Generations that are small,
// and requests for a large share of the rows, are read whole.
//
// A list's codes tell which of its vectors may be among the k nearest found so far;
// these are read and scored at once, so that the k-th distance, which decides
// about the next, falls as fast as it can.
#include "index/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "index/exact_distance.h"
#include "index/list_reader.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr uint64_t kScanShare = 5;      // asking for a fifth of the vectors: read them all
constexpr uint32_t kListsAtFirst = 64;  // asked of the graph; more when they are all within reach
constexpr uint32_t kRowsBetweenPolls = 4096;
constexpr size_t kVectorsFetched = 3;  // ahead of the one that is scored

int rank_of(const SearchHit& hit) {
  if (hit.kind != RowKind::kVector) return hit.kind == RowKind::kNoDirection ? 2 : 3;
  return std::isnan(hit.distance) ? 1 : 0;
}

bool comes_before(const SearchHit& a, const SearchHit& b) {
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
  std::vector<SearchHit> take() {
    std::sort_heap(hits_.begin(), hits_.end(), comes_before);
    return std::move(hits_);
  }

 private:
  size_t k_;
  std::vector<SearchHit> hits_;
};

class Search {
 public:
  Search(const Storage& storage, const ReadView& view, const Tuning& tuning, const SearchRequest& request,
         const Interrupted& interrupted)
      : storage_(storage),
        view_(view),
        table_(*view.table),
        tuning_(tuning),
        request_(request),
        interrupted_(interrupted),
        reader_(storage, view),
        buffer_(table_.layout.vector_size()),
        distance_(table_.layout, request.query),
        best_(std::min<uint64_t>(request.k, table_.catalog.rows)) {}

  Result<SearchResult> run() {
    const Catalog& catalog = table_.catalog;
    SearchResult result;
    if (request_.k == 0 || catalog.rows == 0) {
      result.exhausted = catalog.rows == 0;
      return result;
    }
    const bool no_order = catalog.options.metric == Metric::kCosine && !(distance_.query_norm() > 0);
    if (!no_order && request_.k * kScanShare < catalog.vectors) {
      PG_SEMANTIC_RETURN_IF_ERROR(search_lists());
      result.hits = best_.take();
      if (result.hits.size() == request_.k) return result;
      best_ = BestHits(std::min<uint64_t>(request_.k, catalog.rows));
    }
    PG_SEMANTIC_RETURN_IF_ERROR(read_all());
    result.hits = best_.take();
    result.exhausted = result.hits.size() == catalog.rows;
    return result;
  }

 private:
  // An entry that its code cannot rule out.
  struct Candidate {
    float estimate;
    float lower_bound;
    uint32_t entry;  // of its block
    uint32_t block;
    uint32_t position;  // of its list
    RowId row;          // under max_candidates
  };

  Status read_all();
  Status read_vectors();
  Status search_lists();
  Status scan_block(CodeQuery* query, uint32_t position, uint32_t block);
  Status score_block(uint32_t position, uint32_t block, const BlockView& codes);
  Status score_best_candidates();
  [[nodiscard]] std::vector<NearList> choose_lists(std::span<const float> query) const;
  [[nodiscard]] double threshold() const { return distance_.score(best_.kth_distance()); }

  const Storage& storage_;
  const ReadView& view_;
  const ListTable& table_;
  const Tuning& tuning_;
  const SearchRequest& request_;
  const Interrupted& interrupted_;
  ListReader reader_;
  ExactDistance distance_;
  BestHits best_;
  std::optional<CoarseQuery> coarse_query_;
  std::vector<float> estimates_, lower_bounds_;
  std::vector<std::byte> buffer_;      // for a vector whose parts lie apart
  std::vector<Candidate> candidates_;  // of a block; under max_candidates of all lists
};

Status Search::read_vectors() {
  for (const ListRef& list : table_.lists) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    PG_SEMANTIC_RETURN_IF_ERROR(reader_.for_each(list, [&](RowId row, const std::byte* stored) {
      best_.add(distance_(row, stored));
      return Status::ok();
    }));
  }
  return Status::ok();
}

Status Search::read_all() {
  PG_SEMANTIC_RETURN_IF_ERROR(read_vectors());
  if (table_.catalog.rows == table_.catalog.vectors) return Status::ok();
  const std::string prefix = generation_key(view_.generation);
  auto rows = storage_.iterate(Family::kRows, view_.at(), Reading::kSweep);
  uint64_t seen = 0;
  for (rows->Seek(prefix); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
    if (++seen % kRowsBetweenPolls == 0 && is_interrupted(interrupted_)) return Status::cancelled();
    Result<RowId> row = row_of_key(view(rows->key()));
    if (!row) return row.status();
    Result<RowRecord> record = decode_row(view(rows->value()));
    if (!record) return record.status();
    if (record->kind == RowKind::kVector) continue;
    best_.add({*row, std::numeric_limits<double>::quiet_NaN(), 0, record->kind, record->hash});
  }
  return from_rocksdb(rows->status());
}

std::vector<NearList> Search::choose_lists(std::span<const float> query) const {
  const float limit = probing_limit(table_, tuning_, request_.recall, request_.recall_rows);
  const float far = table_.calibration ? table_.calibration->gap : 0;
  const auto all = static_cast<uint32_t>(table_.lists.size());
  const Metric metric = table_.catalog.options.metric;
  const Order order = metric == Metric::kInnerProduct ? Order::kInnerProduct : Order::kDistance;
  const auto norm = static_cast<float>(distance_.query_norm());
  // The nearest may hold too few rows.
  const uint64_t wanted_entries = uint64_t{3} * request_.k;
  std::vector<NearList> chosen;
  for (uint32_t asked = std::isfinite(limit) ? std::min(all, kListsAtFirst) : all;; asked = std::min(all, 4 * asked)) {
    const std::vector<NearList> near = nearest_lists(table_, query.data(), asked, order);
    uint64_t entries = 0;
    chosen.clear();
    bool enough = false;
    for (const NearList& list : near) {
      const float gap = probing_gap(metric, list.score, near.front().score, norm);
      enough = entries >= wanted_entries && probing_cost(static_cast<float>(entries), gap, far) > limit;
      if (enough) break;
      chosen.push_back(list);
      entries += table_.lists[list.position].live();
    }
    if (enough || asked == all) return chosen;
  }
}

Status Search::score_block(uint32_t position, uint32_t block, const BlockView& codes) {
  if (candidates_.empty()) return Status::ok();
  Result<VectorBlockView> vectors = reader_.searched_vectors(table_.lists[position], block);
  if (!vectors) return vectors.status();
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.estimate < b.estimate; });
  // Vectors lie anywhere in the block: the next ones are on their way while one is scored.
  const bool has_coarse_parts = table_.layout.coarse_size() > 0;
  const size_t read_size = has_coarse_parts ? table_.layout.coarse_size() : table_.layout.vector_size();
  const auto fetch = [&](size_t i) {
    if (i >= candidates_.size()) return;
    const std::byte* vector = vectors->vectors + candidates_[i].entry * read_size;
    for (size_t offset = 0; offset < read_size; offset += 64) __builtin_prefetch(vector + offset);
  };
  for (size_t i = 0; i < kVectorsFetched; ++i) fetch(i);
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    if (candidate.lower_bound > threshold()) continue;
    fetch(i + kVectorsFetched);
    if (has_coarse_parts && coarse_query_->lower_bound(vectors->coarse_part(candidate.entry)) > threshold()) continue;
    const RowId row = codes.row(candidate.entry);
    if (row != 0) best_.add(distance_(row, vectors->vector(candidate.entry, buffer_.data())));
  }
  candidates_.clear();
  return Status::ok();
}

Status Search::scan_block(CodeQuery* query, uint32_t position, uint32_t block) {
  Result<BlockView> codes = reader_.searched_codes(table_.lists[position], block);
  if (!codes) return codes.status();
  estimates_.assign(codes->count, 0);
  lower_bounds_.assign(codes->count, -INFINITY);
  if (table_.layout.code_size() > 0)
    query->estimate(codes->codes, codes->count, estimates_.data(), lower_bounds_.data());
  const float most = std::nextafter(static_cast<float>(threshold()), INFINITY);
  for (uint32_t i = 0; i < codes->count; ++i) {
    if (lower_bounds_[i] > most) continue;
    // Rows lie elsewhere, and most of them are not asked for.
    const RowId row = request_.max_candidates > 0 ? codes->row(i) : 0;
    if (request_.max_candidates > 0 && row == 0) continue;
    candidates_.push_back({estimates_[i], lower_bounds_[i], i, block, position, row});
  }
  return request_.max_candidates > 0 ? Status::ok() : score_block(position, block, *codes);
}

// The best by estimate of all lists' candidates.
Status Search::score_best_candidates() {
  const size_t cap = std::max(request_.max_candidates, request_.k);
  const auto by_estimate = [](const Candidate& a, const Candidate& b) { return a.estimate < b.estimate; };
  if (candidates_.size() > cap) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(cap), candidates_.end(),
                     by_estimate);
    candidates_.resize(cap);
  }
  std::sort(candidates_.begin(), candidates_.end(), by_estimate);
  for (const Candidate& candidate : candidates_) {
    if (candidate.lower_bound > threshold()) continue;
    if (is_interrupted(interrupted_)) return Status::cancelled();
    Result<VectorBlockView> vectors = reader_.vectors(table_.lists[candidate.position], candidate.block);
    if (!vectors) return vectors.status();
    best_.add(distance_(candidate.row, vectors->vector(candidate.entry, buffer_.data())));
  }
  return Status::ok();
}

Status Search::search_lists() {
  if (table_.catalog.vectors <= tuning_.exact_vectors || !(request_.recall < 1)) return read_vectors();
  std::vector<float> query(request_.query.begin(), request_.query.end());
  if (table_.catalog.options.metric == Metric::kCosine) normalise(query.data(), query.size());
  CodeQuery code_query(table_.layout, query);
  coarse_query_.emplace(table_.layout, query);
  const std::vector<NearList> chosen = choose_lists(query);
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    if (i + 1 < chosen.size()) reader_.fetch_codes(table_.lists[chosen[i + 1].position]);
    const ListRef& list = table_.lists[chosen[i].position];
    code_query.set_list(table_.centroid(list), chosen[i].score);
    for (uint32_t block = 0; block < list.sizes.blocks(); ++block)
      PG_SEMANTIC_RETURN_IF_ERROR(scan_block(&code_query, chosen[i].position, block));
  }
  return request_.max_candidates > 0 ? score_best_candidates() : Status::ok();
}

}  // namespace

float probing_gap(Metric metric, float score, float nearest_score, float query_norm) {
  if (metric == Metric::kInnerProduct) return query_norm > 0 ? std::max(score - nearest_score, 0.0f) / query_norm : 0;
  return std::max(std::sqrt(std::max(score, 0.0f)) - std::sqrt(std::max(nearest_score, 0.0f)), 0.0f);
}

float probing_limit(const ListTable& table, const Tuning& tuning, float recall, uint32_t rows) {
  if (table.catalog.vectors <= tuning.exact_vectors || !table.calibration || !(recall < 1)) return INFINITY;
  const Calibration& calibration = *table.calibration;
  // Since the measurement rows have come: as large a share of them must be visited.
  const double grown =
      static_cast<double>(table.catalog.vectors) / static_cast<double>(std::max<uint64_t>(calibration.vectors, 1));
  const double deeper = std::log(std::max<double>(rows, 1) / double{Calibration::kRows}) /
                        std::log(double{Calibration::kDeepRows} / double{Calibration::kRows});
  const auto cost_of = [&](const Calibration::Point& point) {
    const double growth = point.cost > 0 ? std::max(point.deep_cost / point.cost, 1.0f) : 1;
    return std::max<double>(point.cost, deeper > 0 && point.cost == 0 ? point.deep_cost : 0) *
           std::pow(growth, std::max(deeper, 0.0));
  };
  const std::vector<Calibration::Point>& points = calibration.points;
  const auto at = std::find_if(points.begin(), points.end(), [&](const auto& point) { return point.recall >= recall; });
  if (at == points.end()) return INFINITY;
  if (at == points.begin() || at->recall == recall) return static_cast<float>(grown * cost_of(*at));
  // Between two points misses fall about as a power of the cost.
  const auto before = at - 1;
  const double share =
      std::log((1 - before->recall) / (1 - recall)) / std::log((1 - before->recall) / (1 - at->recall));
  return static_cast<float>(grown *
                            (cost_of(*before) + (cost_of(*at) - cost_of(*before)) * std::clamp(share, 0.0, 1.0)));
}

Status check_query(const Catalog& catalog, std::span<const float> query) {
  if (catalog.options.dimensions != 0 && query.size() != catalog.options.dimensions)
    return {StatusCode::kInvalidArgument, "different vector dimensions",
            "The query has " + std::to_string(query.size()) + " dimensions, the index " +
                std::to_string(catalog.options.dimensions) + "."};
  for (const float value : query) {
    if (!std::isfinite(value))
      return {StatusCode::kInvalidArgument, "NaN and infinite values are not allowed in a query vector"};
  }
  return Status::ok();
}

Result<SearchResult> search_view(const Storage& storage, const ReadView& view, const Tuning& tuning,
                                 const SearchRequest& request, const Interrupted& interrupted) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_query(view.table->catalog, request.query));
  return Search(storage, view, tuning, request, interrupted).run();
}

Result<std::vector<SearchHit>> score_rows_of_view(const Storage& storage, const ReadView& view,
                                                  std::span<const float> query, std::span<const RowId> rows,
                                                  const Interrupted& interrupted) {
  PG_SEMANTIC_RETURN_IF_ERROR(check_query(view.table->catalog, query));
  struct Wanted {
    const ListRef* list;
    size_t at;  // in rows
  };
  constexpr size_t kRowsAtOnce = 1024;
  std::vector<SearchHit> hits(rows.size());
  std::vector<bool> found(rows.size());
  std::vector<Wanted> wanted;
  std::vector<std::string> keys;
  for (size_t first = 0; first < rows.size(); first += kRowsAtOnce) {
    if (is_interrupted(interrupted)) return Status::cancelled();
    keys.clear();
    for (size_t i = first; i < std::min(first + kRowsAtOnce, rows.size()); ++i)
      keys.push_back(row_key(view.generation, rows[i]));
    const auto visit = [&](size_t i, std::string_view value) -> Status {
      Result<RowRecord> record = decode_row(value);
      if (!record) return record.status();
      const size_t at = first + i;
      hits[at] = {rows[at], std::numeric_limits<double>::quiet_NaN(), 0, record->kind, record->hash};
      found[at] = true;
      if (record->kind != RowKind::kVector) return Status::ok();
      const ListRef* list = view.table->find(record->list);
      if (list == nullptr) return corrupt("Row " + std::to_string(rows[at]) + " is in a list that is not there.");
      found[at] = false;  // until its vector is read
      wanted.push_back({list, at});
      return Status::ok();
    };
    PG_SEMANTIC_RETURN_IF_ERROR(storage.multi_get(Family::kRows, keys, view.at(), visit));
  }
  // List by list; within one, rows are looked up in the order of their numbers.
  std::sort(wanted.begin(), wanted.end(), [&rows](const Wanted& a, const Wanted& b) {
    return a.list != b.list ? a.list < b.list : rows[a.at] < rows[b.at];
  });
  ListReader reader(storage, view);
  const ExactDistance distance(view.table->layout, query);
  std::vector<std::byte> buffer(view.table->layout.vector_size());
  for (size_t first = 0, last = 0; first < wanted.size(); first = last) {
    if (is_interrupted(interrupted)) return Status::cancelled();
    const ListRef& list = *wanted[first].list;
    while (last < wanted.size() && wanted[last].list == &list) ++last;
    for (uint32_t block = 0; block < list.sizes.blocks(); ++block) {
      Result<BlockView> codes = reader.codes(list, block);
      if (!codes) return codes.status();
      std::optional<VectorBlockView> vectors;
      for (uint32_t i = 0; i < codes->count; ++i) {
        const RowId row = codes->row(i);
        const auto at = std::lower_bound(wanted.begin() + static_cast<std::ptrdiff_t>(first),
                                         wanted.begin() + static_cast<std::ptrdiff_t>(last), row,
                                         [&rows](const Wanted& a, RowId value) { return rows[a.at] < value; });
        if (row == 0 || at == wanted.begin() + static_cast<std::ptrdiff_t>(last) || rows[at->at] != row) continue;
        if (!vectors) {
          Result<VectorBlockView> stored = reader.vectors(list, block);
          if (!stored) return stored.status();
          vectors = *stored;
        }
        for (auto same = at; same != wanted.begin() + static_cast<std::ptrdiff_t>(last) && rows[same->at] == row;
             ++same) {
          hits[same->at] = distance(row, vectors->vector(i, buffer.data()));
          found[same->at] = true;
        }
      }
    }
    for (size_t i = first; i < last; ++i) {
      if (!found[wanted[i].at])
        return corrupt("Row " + std::to_string(rows[wanted[i].at]) + " is not in list " + std::to_string(list.id) +
                       ".");
    }
  }
  size_t kept = 0;
  for (size_t i = 0; i < hits.size(); ++i) {
    if (found[i]) hits[kept++] = hits[i];
  }
  hits.resize(kept);
  return hits;
}

}  // namespace pg_semantic::index
