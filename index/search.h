// Searching a consistent view of a generation.
#ifndef PG_SEMANTIC_INDEX_SEARCH_H
#define PG_SEMANTIC_INDEX_SEARCH_H

#include "index/generation.h"
#include "index/tuning.h"

namespace pg_semantic::index {

Result<SearchResult> search_view(const Storage& storage, const ReadView& view, const Tuning& tuning,
                                 const SearchRequest& request, const Interrupted& interrupted);

// The rows that are there, in the order of `rows`.
Result<std::vector<SearchHit>> score_rows_of_view(const Storage& storage, const ReadView& view,
                                                  std::span<const float> query, std::span<const RowId> rows,
                                                  const Interrupted& interrupted);

// How much farther from the query a list is than the nearest one.  Scores as
// nearest_lists() gives them.
float probing_gap(Metric metric, float score, float nearest_score, float query_norm);

// Which list's gap, counted from the nearest, is what counts as far.
inline constexpr size_t kGapRank = 16;

// Of a list with so many entries in the lists before it: grows from list to list.
inline float probing_cost(float entries_before, float gap, float far) {
  constexpr float kNoGap = 0.15f;  // the nearest lists are as near as the nearest, but not for nothing
  return entries_before * ((far > 0 ? gap / far : 0) + kNoGap);
}

// Up to which cost lists are visited for this recall of the first `rows`; infinite
// when nothing was measured or the generation is small.
float probing_limit(const ListTable& table, const Tuning& tuning, float recall, uint32_t rows);

// Widths agree (the message says both) and every value is finite.
Status check_query(const Catalog& catalog, std::span<const float> query);

inline bool is_interrupted(const Interrupted& interrupted) { return interrupted && interrupted(); }

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_SEARCH_H
