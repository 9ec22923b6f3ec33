// Looking up rows of a view by their numbers.
#ifndef PG_SEMANTIC_INDEX_GIVEN_ROWS_H
#define PG_SEMANTIC_INDEX_GIVEN_ROWS_H

#include "index/generation.h"

namespace pg_semantic::index {

// Engine::score_rows.
Result<std::vector<SearchHit>> score_rows_of_view(const Storage& storage, const ReadView& view,
                                                  std::span<const float> query, std::span<const RowId> rows,
                                                  const Interrupted& interrupted);

// Engine::read_vectors.
Result<StoredVectors> read_vectors_of_view(const Storage& storage, const ReadView& view, std::span<const RowId> rows,
                                           const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_GIVEN_ROWS_H
