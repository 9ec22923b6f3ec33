// Searching a consistent view of a generation.
#ifndef PG_SEMANTIC_INDEX_SEARCH_H
#define PG_SEMANTIC_INDEX_SEARCH_H

#include "index/generation.h"
#include "index/tuning.h"

namespace pg_semantic::index {

Result<SearchResult> search_view(const Storage& storage, const ReadView& view, const Tuning& tuning,
                                 const SearchRequest& request, const Interrupted& interrupted);

// Engine::search_batch: the results of search_view for each request, from blocks that are read for all of them.
Result<std::vector<SearchResult>> search_batch_of_view(const Storage& storage, const ReadView& view,
                                                       const Tuning& tuning, std::span<const SearchRequest> requests,
                                                       const Interrupted& interrupted);

// Widths agree (the message says both) and every value is finite.
Status check_query(const Catalog& catalog, std::span<const float> query);

inline bool is_interrupted(const Interrupted& interrupted) { return interrupted && interrupted(); }

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_SEARCH_H
