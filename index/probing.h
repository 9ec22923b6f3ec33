// Which lists a search visits: the nearest ones, up to a cost that was measured to be
// enough for the recall that is asked for.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_PROBING_H
#define PG_SEMANTIC_INDEX_PROBING_H

#include "index/list_table.h"
#include "index/tuning.h"

namespace pg_semantic::index {

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

// The lists to visit, nearest first.  `query` is the request's as lists see it, of length 1 under
// cosine; `query_norm` is the request's.
std::vector<NearList> choose_lists(const ListTable& table, const Tuning& tuning, const SearchRequest& request,
                                   std::span<const float> query, float query_norm);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_PROBING_H
