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

#include "index/best_hits.h"
#include "index/exact_distance.h"
#include "index/list_reader.h"
#include "index/probing.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr uint64_t kScanShare = 5;  // asking for a fifth of the vectors: read them all
constexpr uint32_t kRowsBetweenPolls = 4096;
constexpr size_t kVectorsFetched = 3;  // ahead of the one that is scored

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
    RowId row;
  };

  Status read_all();
  Status read_vectors();
  Status search_lists();
  Status scan_block(CodeQuery* query, uint32_t position, uint32_t block);
  Status score_block(uint32_t position, uint32_t block);
  Status score_best_candidates();
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
  std::vector<float> estimates_, errors_;
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

Status Search::score_block(uint32_t position, uint32_t block) {
  if (candidates_.empty()) return Status::ok();
  Result<VectorBlockView> vectors = reader_.vectors(table_.lists[position], block);
  if (!vectors) return vectors.status();
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.estimate < b.estimate; });
  // Vectors lie anywhere in the block: the next ones are on their way while one is scored.
  const size_t vector_size = table_.layout.vector_size();
  const auto fetch = [&](size_t i) {
    if (i >= candidates_.size()) return;
    const std::byte* vector = vectors->vectors + candidates_[i].entry * vector_size;
    for (size_t offset = 0; offset < vector_size; offset += 64) __builtin_prefetch(vector + offset);
  };
  for (size_t i = 0; i < kVectorsFetched; ++i) fetch(i);
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    if (candidate.lower_bound > threshold()) continue;
    fetch(i + kVectorsFetched);
    best_.add(distance_(candidate.row, vectors->vectors + candidate.entry * vector_size));
  }
  candidates_.clear();
  return Status::ok();
}

Status Search::scan_block(CodeQuery* query, uint32_t position, uint32_t block) {
  Result<BlockView> codes = reader_.searched_codes(table_.lists[position], block);
  if (!codes) return codes.status();
  const bool has_codes = table_.layout.code_size() > 0;
  estimates_.resize(codes->count);
  errors_.resize(codes->count);
  if (has_codes) query->estimate(codes->codes, codes->count, estimates_.data(), errors_.data());
  const double most = threshold();
  for (uint32_t i = 0; i < codes->count; ++i) {
    float lower_bound = has_codes ? estimates_[i] - errors_[i] : -std::numeric_limits<float>::infinity();
    float estimate = has_codes ? estimates_[i] : 0;
    if (!std::isfinite(lower_bound)) {  // overflowed: only the vector can tell
      lower_bound = estimate = -std::numeric_limits<float>::infinity();
    }
    if (lower_bound > most) continue;
    const RowId row = codes->row(i);
    if (row != 0) candidates_.push_back({estimate, lower_bound, i, block, position, row});
  }
  return request_.max_candidates > 0 ? Status::ok() : score_block(position, block);
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
    best_.add(distance_(candidate.row, vectors->vectors + candidate.entry * table_.layout.vector_size()));
  }
  return Status::ok();
}

Status Search::search_lists() {
  if (table_.catalog.vectors <= tuning_.exact_vectors || !(request_.recall < 1)) return read_vectors();
  std::vector<float> query(request_.query.begin(), request_.query.end());
  if (table_.catalog.options.metric == Metric::kCosine) normalise(query.data(), query.size());
  CodeQuery code_query(table_.layout, query);
  const auto norm = static_cast<float>(distance_.query_norm());
  for (const uint32_t position : choose_lists(table_, tuning_, request_, query, norm)) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    const ListRef& list = table_.lists[position];
    code_query.set_list(table_.centroid(list));
    for (uint32_t block = 0; block < list.sizes.blocks(); ++block)
      PG_SEMANTIC_RETURN_IF_ERROR(scan_block(&code_query, position, block));
  }
  return request_.max_candidates > 0 ? score_best_candidates() : Status::ok();
}

}  // namespace

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
  for (size_t first = 0, last = 0; first < wanted.size(); first = last) {
    if (is_interrupted(interrupted)) return Status::cancelled();
    const ListRef& list = *wanted[first].list;
    while (last < wanted.size() && wanted[last].list == &list) ++last;
    for (uint32_t block = 0; block < list.sizes.blocks(); ++block) {
      Result<BlockView> codes = reader.codes(list, block);
      if (!codes) return codes.status();
      const std::byte* vectors = nullptr;
      for (uint32_t i = 0; i < codes->count; ++i) {
        const RowId row = codes->row(i);
        const auto at = std::lower_bound(wanted.begin() + static_cast<std::ptrdiff_t>(first),
                                         wanted.begin() + static_cast<std::ptrdiff_t>(last), row,
                                         [&rows](const Wanted& a, RowId value) { return rows[a.at] < value; });
        if (row == 0 || at == wanted.begin() + static_cast<std::ptrdiff_t>(last) || rows[at->at] != row) continue;
        if (vectors == nullptr) {
          Result<VectorBlockView> stored = reader.vectors(list, block);
          if (!stored) return stored.status();
          vectors = stored->vectors;
        }
        for (auto same = at; same != wanted.begin() + static_cast<std::ptrdiff_t>(last) && rows[same->at] == row;
             ++same) {
          hits[same->at] = distance(row, vectors + i * view.table->layout.vector_size());
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
