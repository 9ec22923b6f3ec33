// Searching: nearest lists, codes, full-precision vectors.  Generations that are
// small or being built, and requests for a large share of the rows, are read
// whole.
#include "index/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "index/exact_distance.h"
#include "index/posting_scanner.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr uint32_t kRowsBetweenPolls = 4096;
constexpr size_t kVectorsAtOnce = 64;
constexpr uint64_t kScanShare = 5;  // asking for a fifth of the vectors: read them all

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

// The best `k` of a stream of hits, in memory for about twice as many.
class BestHits {
 public:
  explicit BestHits(size_t k) : k_(k) {}

  void add(const SearchHit& hit) {
    hits_.push_back(hit);
    if (hits_.size() >= 2 * k_ + 1024) cut();
  }
  // The k-th so far; infinite before there are k.
  double kth_distance() {
    cut();
    if (hits_.size() < k_) return std::numeric_limits<double>::infinity();
    return std::max_element(hits_.begin(), hits_.end(), comes_before)->distance;
  }
  std::vector<SearchHit> take() {
    std::sort(hits_.begin(), hits_.end(), comes_before);
    if (hits_.size() > k_) hits_.resize(k_);
    return std::move(hits_);
  }

 private:
  void cut() {
    if (hits_.size() <= k_) return;
    std::nth_element(hits_.begin(), hits_.begin() + static_cast<std::ptrdiff_t>(k_), hits_.end(), comes_before);
    hits_.resize(k_);
  }

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
        distance_(table_.catalog.options.metric, request.query) {}

  Result<SearchResult> run() {
    const Catalog& catalog = table_.catalog;
    SearchResult result;
    if (request_.k == 0 || catalog.rows == 0) {
      result.exhausted = catalog.rows == 0;
      return result;
    }
    const bool no_order = catalog.options.metric == Metric::kCosine && !(distance_.query_norm() > 0);
    if (!catalog.options.building && !no_order && request_.k * kScanShare < catalog.vectors) {
      PG_SEMANTIC_RETURN_IF_ERROR(search_lists(&result));
      if (result.hits.size() == request_.k) return result;
    }
    result.hits.clear();
    PG_SEMANTIC_RETURN_IF_ERROR(read_all(&result));
    return result;
  }

 private:
  Status read_all(SearchResult* result) const;
  Status search_lists(SearchResult* result) const;
  Status scan_lists(PostingScanner* scanner, const std::vector<uint32_t>& positions, std::vector<float>* heap) const;
  Status scan_everything(PostingScanner* scanner, std::vector<float>* heap) const;
  Status refine(const std::vector<PostingScanner::Candidate>& candidates, SearchResult* result) const;
  Status fill_hashes(std::vector<SearchHit>* hits) const;
  [[nodiscard]] std::vector<uint32_t> choose_lists(const float* query) const;

  const Storage& storage_;
  const ReadView& view_;
  const ListTable& table_;
  const Tuning& tuning_;
  const SearchRequest& request_;
  const Interrupted& interrupted_;
  ExactDistance distance_;
};

Status Search::read_all(SearchResult* result) const {
  const std::string prefix = generation_key(view_.generation);
  auto rows = storage_.iterate(Family::kRows, view_.at(), Reading::kSweep);
  auto vectors = storage_.iterate(Family::kVectors, view_.at(), Reading::kSweep);
  BestHits best(std::min<uint64_t>(request_.k, table_.catalog.rows));
  uint64_t seen = 0;
  vectors->Seek(prefix);
  for (rows->Seek(prefix); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
    if (++seen % kRowsBetweenPolls == 0 && is_interrupted(interrupted_)) return Status::cancelled();
    Result<RowId> row = row_of_key(view(rows->key()));
    if (!row) return row.status();
    Result<RowRecord> record = decode_row(view(rows->value()));
    if (!record) return record.status();
    SearchHit hit{*row, std::numeric_limits<double>::quiet_NaN(), record->kind, record->hash};
    if (hit.kind == RowKind::kVector) {
      if (!vectors->Valid() || vectors->key() != rows->key())
        return corrupt("The vector of row " + std::to_string(*row) + " is missing.");
      PG_SEMANTIC_RETURN_IF_ERROR(check_vector(view(vectors->value()), table_.catalog.options.dimensions));
      hit.distance = distance_(vectors->value().data());
      vectors->Next();
    }
    best.add(hit);
  }
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(rows->status()));
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(vectors->status()));
  result->hits = best.take();
  result->exhausted = result->hits.size() == seen;
  return Status::ok();
}

std::vector<uint32_t> Search::choose_lists(const float* query) const {
  const uint32_t probes = probes_for(table_, tuning_, request_.recall);
  if (probes >= table_.lists.size()) return {};
  // Ask for more than are due, in case the first hold too few rows.
  const Order order = table_.catalog.options.metric == Metric::kInnerProduct ? Order::kInnerProduct : Order::kDistance;
  const uint64_t wanted_entries = uint64_t{3} * request_.k;
  const uint64_t mean = std::max<uint64_t>(table_.catalog.vectors / table_.lists.size(), 1);
  const auto asked = static_cast<uint32_t>(
      std::min<uint64_t>(table_.lists.size(), std::max<uint64_t>(probes, 2 * wanted_entries / mean + 8)));
  std::vector<uint32_t> chosen = nearest_lists(table_, query, asked, order);
  uint64_t entries = 0;
  size_t kept = 0;
  while (kept < chosen.size() && (kept < probes || entries < wanted_entries)) {
    entries += table_.lists[chosen[kept]].entries;
    ++kept;
  }
  chosen.resize(kept);
  return chosen;
}

Status Search::scan_lists(PostingScanner* scanner, const std::vector<uint32_t>& positions,
                          std::vector<float>* heap) const {
  std::vector<faiss::Index::idx_t> labels(heap->size(), -1);
  auto blocks = storage_.iterate(Family::kBlocks, view_.at(), Reading::kPrefix);
  for (const uint32_t position : positions) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    const ListRef& list = table_.lists[position];
    scanner->set_list(list.id, 0);
    const std::string prefix = list_key(view_.generation, list.id);
    uint64_t entries = 0;
    for (blocks->Seek(prefix); blocks->Valid() && blocks->key().starts_with(prefix); blocks->Next()) {
      Result<BlockView> block = decode_block(view(blocks->value()), table_.layout);
      if (!block) return block.status();
      scanner->scan(*block, heap, &labels);
      entries += block->count;
    }
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(blocks->status()));
    if (entries != list.entries)
      return corrupt("List " + std::to_string(list.id) + " has " + std::to_string(entries) + " entries instead of " +
                     std::to_string(list.entries) + ".");
  }
  return Status::ok();
}

Status Search::scan_everything(PostingScanner* scanner, std::vector<float>* heap) const {
  std::vector<faiss::Index::idx_t> labels(heap->size(), -1);
  const std::string prefix = generation_key(view_.generation);
  auto blocks = storage_.iterate(Family::kBlocks, view_.at(), Reading::kRange);
  uint64_t entries = 0, count = 0;
  for (blocks->Seek(prefix); blocks->Valid() && blocks->key().starts_with(prefix); blocks->Next()) {
    if (++count % 256 == 0 && is_interrupted(interrupted_)) return Status::cancelled();
    Result<BlockView> block = decode_block(view(blocks->value()), table_.layout);
    if (!block) return block.status();
    scanner->scan(*block, heap, &labels);
    entries += block->count;
  }
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(blocks->status()));
  if (entries != table_.catalog.vectors)
    return corrupt("The lists have " + std::to_string(entries) + " entries instead of " +
                   std::to_string(table_.catalog.vectors) + ".");
  return Status::ok();
}

Status Search::search_lists(SearchResult* result) const {
  std::vector<float> query(request_.query.begin(), request_.query.end());
  if (table_.catalog.options.metric == Metric::kCosine) normalise(query.data(), query.size());
  PostingScanner scanner(table_.layout, table_.catalog.options.metric);
  scanner.set_query(query.data());
  std::vector<float> heap(request_.k, std::numeric_limits<float>::infinity());
  const std::vector<uint32_t> lists = choose_lists(query.data());
  const bool whole = lists.empty();
  PG_SEMANTIC_RETURN_IF_ERROR(whole ? scan_everything(&scanner, &heap) : scan_lists(&scanner, lists, &heap));
  std::vector<PostingScanner::Candidate> candidates = scanner.take_candidates(heap.front());
  uint64_t cap = request_.max_candidates;
  if (cap == 0 && !whole) cap = std::max<uint64_t>(uint64_t{4} * request_.k, 500);
  if (cap > 0) cap = std::max<uint64_t>(cap, request_.k);
  if (cap > 0 && candidates.size() > cap) {
    // The best by estimate, then again by lower bound, which refine() relies on.
    const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(cap);
    std::nth_element(candidates.begin(), middle, candidates.end(),
                     [](const auto& a, const auto& b) { return a.estimate < b.estimate; });
    candidates.resize(cap);
    std::sort(candidates.begin(), candidates.end(),
              [](const auto& a, const auto& b) { return a.lower_bound < b.lower_bound; });
  }
  return refine(candidates, result);
}

Status Search::refine(const std::vector<PostingScanner::Candidate>& candidates, SearchResult* result) const {
  BestHits best(request_.k);
  std::vector<std::string> keys;
  for (size_t first = 0; first < candidates.size(); first += kVectorsAtOnce) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    if (first >= request_.k && candidates[first].lower_bound > best.kth_distance()) break;
    const size_t count = std::min(kVectorsAtOnce, candidates.size() - first);
    keys.clear();
    for (size_t i = 0; i < count; ++i) keys.push_back(row_key(view_.generation, candidates[first + i].row));
    size_t found = 0;
    const auto visit = [&](size_t i, std::string_view value) -> Status {
      PG_SEMANTIC_RETURN_IF_ERROR(check_vector(value, table_.catalog.options.dimensions));
      best.add({candidates[first + i].row, distance_(value.data()), RowKind::kVector, {}});
      ++found;
      return Status::ok();
    };
    PG_SEMANTIC_RETURN_IF_ERROR(storage_.multi_get(Family::kVectors, keys, view_.at(), visit));
    if (found != count) return corrupt("A row of a posting list has no vector.");
  }
  result->hits = best.take();
  return fill_hashes(&result->hits);
}

Status Search::fill_hashes(std::vector<SearchHit>* hits) const {
  std::vector<std::string> keys;
  keys.reserve(hits->size());
  for (const SearchHit& hit : *hits) keys.push_back(row_key(view_.generation, hit.row));
  size_t found = 0;
  const auto visit = [&](size_t i, std::string_view value) -> Status {
    Result<RowRecord> record = decode_row(value);
    if (!record) return record.status();
    (*hits)[i].hash = record->hash;
    ++found;
    return Status::ok();
  };
  PG_SEMANTIC_RETURN_IF_ERROR(storage_.multi_get(Family::kRows, keys, view_.at(), visit));
  if (found != hits->size()) return corrupt("A row of a posting list has no row record.");
  return Status::ok();
}

}  // namespace

uint32_t probes_for(const ListTable& table, const Tuning& tuning, float recall) {
  const auto all = static_cast<uint32_t>(table.lists.size());
  if (table.catalog.vectors <= tuning.exact_vectors || !table.calibration || !(recall < 1)) return all;
  for (const Calibration::Point& point : table.calibration->points) {
    if (point.recall < recall) continue;
    // Lists made since the measurement share the neighbours of the old ones.
    const uint64_t grown = std::max(all, table.calibration->lists);
    return static_cast<uint32_t>(
        std::min<uint64_t>(all, (point.probes * grown + table.calibration->lists - 1) / table.calibration->lists));
  }
  return all;
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

}  // namespace pg_semantic::index
