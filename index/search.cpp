// Searching: nearest lists, codes, stored vectors.  Generations that are small,
// and requests for a large share of the rows, are read whole.
//
// A list's codes tell which of its vectors may be among the k nearest found so far;
// these are read and scored at once, so that the k-th distance, which decides
// about the next, falls as fast as it can.
//
// Searches are run in batches that share what they read; one alone is a batch of one.
// Lists are visited in rounds: a search's nearest list, then a few, then many.  Within a
// round they come in the table's order, so that the searches of a batch meet at the lists
// that they have in common, and what one of them has read is at hand for the others.  The order
// in which a search visits its lists does not depend on its batch, nor does anything else of
// it, and so its result does not either.
#include "index/search.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>

#include "index/best_hits.h"
#include "index/bytes.h"
#include "index/exact_distance.h"
#include "index/list_reader.h"
#include "index/probing.h"
#include "index/two_means.h"

namespace pg_semantic::index {
namespace {

constexpr uint64_t kScanShare = 5;  // asking for a fifth of the vectors: read them all
constexpr uint32_t kRowsBetweenPolls = 4096;
constexpr size_t kVectorsFetched = 3;       // ahead of the one that is scored
constexpr size_t kRoundGrowth = 4;          // lists visited by the end of a round, as a multiple of those before it
constexpr size_t kCandidatesAtFirst = 16;   // scored in the first round under max_candidates
constexpr uint64_t kBatchBytes = 16 << 20;  // of searches that are run together

// An entry that its code cannot rule out.
struct Candidate {
  float estimate;
  float lower_bound;
  uint32_t entry;  // of its block
  uint32_t block;
  uint32_t position;  // of its list
  RowId row;          // under max_candidates
};

// What a search needs while it looks at a block, in memory that the next one uses again.
struct Scratch {
  std::vector<float> estimates, lower_bounds;
  std::vector<Candidate> candidates;
  std::vector<std::byte> vector;  // one whose parts lie apart
};

// A block that searches look at one after another: what the first of them wants of it is read once.
class SharedBlock {
 public:
  SharedBlock(ListReader* reader, const ListTable& table, uint32_t position, uint32_t block)
      : reader_(*reader), list_(table.lists[position]), position_(position), block_(block) {}

  [[nodiscard]] uint32_t position() const { return position_; }  // of its list
  [[nodiscard]] uint32_t block() const { return block_; }
  const Result<BlockView>& codes() {
    if (!codes_) codes_ = reader_.searched_codes(list_, block_);
    return *codes_;
  }
  const Result<VectorBlockView>& vectors() {
    if (!vectors_) vectors_ = reader_.searched_vectors(list_, block_);
    return *vectors_;
  }

 private:
  ListReader& reader_;
  const ListRef& list_;
  const uint32_t position_, block_;
  std::optional<Result<BlockView>> codes_;
  std::optional<Result<VectorBlockView>> vectors_;
};

// One search of a batch.
class Search {
 public:
  // What it has to read.
  enum class Need {
    kNothing,
    kLists,    // those of lists()
    kVectors,  // of all rows
    kRows,     // all, those without a vector too
  };

  Search(const ReadView& view, const Tuning& tuning, const SearchRequest& request, Scratch* scratch)
      : table_(*view.table),
        request_(request),
        distance_(table_.layout, request.query),
        best_(std::min<uint64_t>(request.k, table_.catalog.rows)),
        scratch_(*scratch),
        candidates_(is_capped() ? all_candidates_ : scratch->candidates) {
    const Catalog& catalog = table_.catalog;
    if (request.k == 0 || catalog.rows == 0) return;
    const bool no_order = catalog.options.metric == Metric::kCosine && !(distance_.query_norm() > 0);
    if (no_order || request.k * kScanShare >= catalog.vectors) {
      need_ = Need::kRows;
    } else if (catalog.vectors <= tuning.exact_vectors || !(request.recall < 1)) {
      need_ = Need::kVectors;
    } else {
      need_ = Need::kLists;
      query_.assign(request.query.begin(), request.query.end());
      if (catalog.options.metric == Metric::kCosine) normalise(query_.data(), query_.size());
      code_query_.emplace(table_.layout, query_);
      if (table_.layout.coarse_size() > 0) coarse_query_.emplace(table_.layout, query_);
      lists_ = choose_lists(table_, tuning, request, query_, static_cast<float>(distance_.query_norm()));
    }
  }

  [[nodiscard]] Need need() const { return need_; }
  [[nodiscard]] const std::vector<NearList>& lists() const { return lists_; }  // nearest first
  [[nodiscard]] uint64_t bytes() const;  // of memory, until its result is taken, about

  // Of the lists to visit: the next block is of this one.
  void set_list(const NearList& list) {
    code_query_->set_list(table_.centroid(table_.lists[list.position]), list.score);
  }
  Status scan_block(SharedBlock* shared);
  // Under max_candidates vectors are scored after all lists: those of the best candidates by their estimates.
  [[nodiscard]] bool is_capped() const { return request_.max_candidates > 0; }
  void rank_candidates();
  [[nodiscard]] const std::vector<Candidate>& candidates() const { return candidates_; }  // best first
  Status score_candidate(const Candidate& candidate, SharedBlock* shared);
  void finish_lists();

  void add(RowId row, const std::byte* stored) { best_.add(distance_(row, stored)); }
  void add(const SearchHit& without_vector) { best_.add(without_vector); }
  // After all vectors.
  void finish_vectors() { need_ = need_ == Need::kRows || best_.size() < request_.k ? Need::kRows : Need::kNothing; }

  SearchResult take() {
    SearchResult result;
    result.hits = best_.take();
    result.exhausted = result.hits.size() == table_.catalog.rows;
    return result;
  }

 private:
  Status score_block(SharedBlock* shared);
  [[nodiscard]] double threshold() const { return distance_.score(best_.kth_distance()); }

  const ListTable& table_;
  const SearchRequest& request_;
  ExactDistance distance_;
  BestHits best_;
  Need need_ = Need::kNothing;
  // kLists only:
  std::vector<float> query_;  // as lists see it
  std::optional<CodeQuery> code_query_;
  std::optional<CoarseQuery> coarse_query_;  // where vectors have coarse parts
  std::vector<NearList> lists_;
  Scratch& scratch_;
  std::vector<Candidate> all_candidates_;  // under max_candidates
  std::vector<Candidate>& candidates_;     // of a block; under max_candidates of all lists
};

Status Search::score_block(SharedBlock* shared) {
  if (candidates_.empty()) return Status::ok();
  const Result<VectorBlockView>& vectors = shared->vectors();
  if (!vectors) return vectors.status();
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.estimate < b.estimate; });
  // Vectors lie anywhere in the block: the next ones are on their way while one is scored.
  const size_t read_size = coarse_query_ ? table_.layout.coarse_size() : table_.layout.vector_size();
  const auto fetch = [&](size_t i) {
    if (i < candidates_.size()) prefetch(vectors->vectors + candidates_[i].entry * read_size, read_size);
  };
  for (size_t i = 0; i < kVectorsFetched; ++i) fetch(i);
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    if (candidate.lower_bound > threshold()) continue;
    fetch(i + kVectorsFetched);
    if (coarse_query_ && coarse_query_->lower_bound(vectors->coarse_part(candidate.entry)) > threshold()) continue;
    const RowId row = shared->codes()->row(candidate.entry);
    if (row != 0) add(row, vectors->vector(candidate.entry, scratch_.vector.data()));
  }
  candidates_.clear();
  return Status::ok();
}

Status Search::scan_block(SharedBlock* shared) {
  const Result<BlockView>& codes = shared->codes();
  if (!codes) return codes.status();
  std::vector<float>&estimates = scratch_.estimates, &lower_bounds = scratch_.lower_bounds;
  estimates.assign(codes->count, 0);
  lower_bounds.assign(codes->count, -std::numeric_limits<float>::infinity());
  if (table_.layout.code_size() > 0)
    code_query_->estimate(codes->codes, codes->count, estimates.data(), lower_bounds.data());
  const float most = std::nextafter(static_cast<float>(threshold()), std::numeric_limits<float>::infinity());
  for (uint32_t i = 0; i < codes->count; ++i) {
    if (lower_bounds[i] > most) continue;
    // Rows lie elsewhere, and most of them are not asked for.
    const RowId row = is_capped() ? codes->row(i) : 0;
    if (is_capped() && row == 0) continue;
    candidates_.push_back({estimates[i], lower_bounds[i], i, shared->block(), shared->position(), row});
  }
  return is_capped() ? Status::ok() : score_block(shared);
}

void Search::rank_candidates() {
  const size_t cap = std::max(request_.max_candidates, request_.k);
  const auto by_estimate = [](const Candidate& a, const Candidate& b) { return a.estimate < b.estimate; };
  if (candidates_.size() > cap) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(cap), candidates_.end(),
                     by_estimate);
    candidates_.resize(cap);
  }
  std::sort(candidates_.begin(), candidates_.end(), by_estimate);
}

Status Search::score_candidate(const Candidate& candidate, SharedBlock* shared) {
  if (candidate.lower_bound > threshold()) return Status::ok();
  const Result<VectorBlockView>& vectors = shared->vectors();
  if (!vectors) return vectors.status();
  add(candidate.row, vectors->vector(candidate.entry, scratch_.vector.data()));
  return Status::ok();
}

void Search::finish_lists() {
  all_candidates_ = {};
  need_ = Need::kNothing;
  if (best_.size() == request_.k) return;
  best_ = BestHits(std::min<uint64_t>(request_.k, table_.catalog.rows));
  need_ = Need::kRows;
}

uint64_t Search::bytes() const {
  uint64_t bytes = sizeof(Search) + std::min<uint64_t>(request_.k, table_.catalog.rows) * sizeof(SearchHit);
  bytes += query_.size() * 2 * sizeof(float) + lists_.size() * sizeof(NearList);
  if (!is_capped()) return bytes;
  for (const NearList& list : lists_) bytes += table_.lists[list.position].live() * sizeof(Candidate);
  return bytes;
}

// Searches that share what they read.
class SearchBatch {
 public:
  SearchBatch(const Storage& storage, const ReadView& view, const Tuning& tuning, const Interrupted& interrupted)
      : storage_(storage),
        view_(view),
        table_(*view.table),
        tuning_(tuning),
        interrupted_(interrupted),
        reader_(storage, view) {
    scratch_.vector.resize(table_.layout.vector_size());
  }

  // Appends the results of the first of `requests`: as many as memory allows, at least one.
  Status run(std::span<const SearchRequest> requests, std::vector<SearchResult>* results) {
    std::deque<Search> searches;
    uint64_t bytes = 0;
    for (size_t i = 0; i < requests.size() && bytes < kBatchBytes; ++i) {
      if (is_interrupted(interrupted_)) return Status::cancelled();
      bytes += searches.emplace_back(view_, tuning_, requests[i], &scratch_).bytes();
    }
    PG_SEMANTIC_RETURN_IF_ERROR(search_lists(of_need(&searches, {Need::kLists})));
    PG_SEMANTIC_RETURN_IF_ERROR(read_vectors(of_need(&searches, {Need::kVectors, Need::kRows})));
    PG_SEMANTIC_RETURN_IF_ERROR(read_rows_without_vector(of_need(&searches, {Need::kRows})));
    for (Search& search : searches) results->push_back(search.take());
    return Status::ok();
  }

 private:
  using Need = Search::Need;
  // What a search does at one place, where others of its batch may have something to do, too.
  template <typename Step>
  struct Visit {
    uint64_t place;
    const Step* step;
    Search* search;
  };

  static std::vector<Search*> of_need(std::deque<Search>* searches, std::initializer_list<Need> needs) {
    std::vector<Search*> result;
    for (Search& search : *searches) {
      if (std::find(needs.begin(), needs.end(), search.need()) != needs.end()) result.push_back(&search);
    }
    return result;
  }
  Status search_lists(const std::vector<Search*>& searches);
  Status visit_list(std::span<const Visit<NearList>> visits);
  Status visit_candidates(std::span<const Visit<Candidate>> visits);
  template <typename Step, typename PlaceOf, typename FetchPlace, typename VisitPlace>
  Status in_rounds(const std::vector<Search*>& searches, const std::vector<Step>& (Search::*steps)() const,
                   size_t at_first, const PlaceOf& place_of, const FetchPlace& fetch_place,
                   const VisitPlace& visit_place);
  Status read_vectors(const std::vector<Search*>& searches);
  Status read_rows_without_vector(const std::vector<Search*>& searches);

  const Storage& storage_;
  const ReadView& view_;
  const ListTable& table_;
  const Tuning& tuning_;
  const Interrupted& interrupted_;
  ListReader reader_;
  Scratch scratch_;
};

// The first `at_first` steps of every search, then more and more of them, those of a round in the order of their
// places; those of one search at one place in their order.  A place is fetched before the one before it is visited.
template <typename Step, typename PlaceOf, typename FetchPlace, typename VisitPlace>
Status SearchBatch::in_rounds(const std::vector<Search*>& searches, const std::vector<Step>& (Search::*steps)() const,
                              size_t at_first, const PlaceOf& place_of, const FetchPlace& fetch_place,
                              const VisitPlace& visit_place) {
  size_t most = 0;
  for (const Search* search : searches) most = std::max(most, (search->*steps)().size());
  std::vector<Visit<Step>> visits;
  for (size_t first = 0, last = at_first; first < most; first = last, last *= kRoundGrowth) {
    visits.clear();
    for (Search* search : searches) {
      const std::vector<Step>& own = (search->*steps)();
      for (size_t i = first; i < std::min(last, own.size()); ++i) visits.push_back({place_of(own[i]), &own[i], search});
    }
    std::stable_sort(visits.begin(), visits.end(), [](const auto& a, const auto& b) { return a.place < b.place; });
    for (auto begin = visits.begin(), end = begin; begin != visits.end(); begin = end) {
      if (is_interrupted(interrupted_)) return Status::cancelled();
      end = std::find_if(begin, visits.end(), [&](const auto& visit) { return visit.place != begin->place; });
      if (end != visits.end()) fetch_place(end->place);
      PG_SEMANTIC_RETURN_IF_ERROR(visit_place(std::span<const Visit<Step>>(begin, end)));
    }
  }
  return Status::ok();
}

Status SearchBatch::search_lists(const std::vector<Search*>& searches) {
  PG_SEMANTIC_RETURN_IF_ERROR(in_rounds(
      searches, &Search::lists, 1, [](const NearList& list) { return list.position; },
      [this](uint64_t position) { reader_.fetch_codes(table_.lists[position]); },
      [this](auto visits) { return visit_list(visits); }));
  std::vector<Search*> capped;
  std::copy_if(searches.begin(), searches.end(), std::back_inserter(capped),
               [](const Search* search) { return search->is_capped(); });
  for (Search* search : capped) search->rank_candidates();
  PG_SEMANTIC_RETURN_IF_ERROR(in_rounds(
      capped, &Search::candidates, kCandidatesAtFirst,
      [](const Candidate& candidate) { return uint64_t{candidate.position} << 32 | candidate.block; }, [](uint64_t) {},
      [this](auto visits) { return visit_candidates(visits); }));
  for (Search* search : searches) search->finish_lists();
  return Status::ok();
}

// All of one list.
Status SearchBatch::visit_list(std::span<const Visit<NearList>> visits) {
  const uint32_t position = visits.front().step->position;
  const ListRef& list = table_.lists[position];
  for (const auto& visit : visits) visit.search->set_list(*visit.step);
  for (uint32_t block = 0; block < list.sizes.blocks(); ++block) {
    SharedBlock shared(&reader_, table_, position, block);
    for (const auto& visit : visits) PG_SEMANTIC_RETURN_IF_ERROR(visit.search->scan_block(&shared));
  }
  return Status::ok();
}

// All of one block.
Status SearchBatch::visit_candidates(std::span<const Visit<Candidate>> visits) {
  const Candidate& candidate = *visits.front().step;
  SharedBlock shared(&reader_, table_, candidate.position, candidate.block);
  for (const auto& visit : visits) PG_SEMANTIC_RETURN_IF_ERROR(visit.search->score_candidate(*visit.step, &shared));
  return Status::ok();
}

Status SearchBatch::read_vectors(const std::vector<Search*>& searches) {
  if (searches.empty()) return Status::ok();
  for (const ListRef& list : table_.lists) {
    if (is_interrupted(interrupted_)) return Status::cancelled();
    PG_SEMANTIC_RETURN_IF_ERROR(reader_.for_each(list, [&](RowId row, const std::byte* stored) {
      for (Search* search : searches) search->add(row, stored);
      return Status::ok();
    }));
  }
  for (Search* search : searches) search->finish_vectors();
  return Status::ok();
}

Status SearchBatch::read_rows_without_vector(const std::vector<Search*>& searches) {
  if (searches.empty() || table_.catalog.rows == table_.catalog.vectors) return Status::ok();
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
    for (Search* search : searches)
      search->add({*row, std::numeric_limits<double>::quiet_NaN(), 0, record->kind, record->hash});
  }
  return from_rocksdb(rows->status());
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
  Result<std::vector<SearchResult>> results = search_batch_of_view(storage, view, tuning, {&request, 1}, interrupted);
  if (!results) return results.status();
  SearchResult result = std::move(results->front());
  return result;
}

Result<std::vector<SearchResult>> search_batch_of_view(const Storage& storage, const ReadView& view,
                                                       const Tuning& tuning, std::span<const SearchRequest> requests,
                                                       const Interrupted& interrupted) {
  for (const SearchRequest& request : requests)
    PG_SEMANTIC_RETURN_IF_ERROR(check_query(view.table->catalog, request.query));
  SearchBatch batch(storage, view, tuning, interrupted);
  std::vector<SearchResult> results;
  results.reserve(requests.size());
  while (results.size() < requests.size())
    PG_SEMANTIC_RETURN_IF_ERROR(batch.run(requests.subspan(results.size()), &results));
  return results;
}

}  // namespace pg_semantic::index
