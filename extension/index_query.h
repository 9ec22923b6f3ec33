// The query of a scan: what ORDER BY asks an index for.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_QUERY_H
#define PG_SEMANTIC_EXTENSION_INDEX_QUERY_H

#include "extension/server.h"

#include <span>

#include "extension/index_distance_cache.h"
#include "extension/index_metapage.h"
#include "extension/semantic_query.h"
#include "index/engine.h"

namespace pg_semantic {

struct IndexQuery {
  const SemanticQuery* text;      // of a text index; nullptr: a vector, or NULL
  std::span<const float> vector;  // as long as the index's; empty: NULL
};

// Whether the table has the vectors that were indexed, from which the executor can compute exact distances: then the
// index's, of vectors as they are stored (index/codec.h), are taken for bounds only.  (Of real[] alone: operators of
// other types may compute in float; bounds would have to be wider, for nothing that is worth it.)
bool rechecks_distances(Relation index, const IndexMetapage& metapage);

// At most the operator's distance to the row, if that is a number.
double least_distance(const index::SearchHit& hit);

// Reads the operator's right argument, of type `type` and not NULL.  It may point
// into `argument`.  22023: another model's than the index's; 42P17: of a type
// that the index's operator class does not read; errors of vector_from_array.
IndexQuery read_index_query(Relation index, const IndexMetapage& metapage, Datum argument, Oid type);

// Leaves the distance of a returned row to the operator, should the select list
// ask for it: a text is then not embedded again.  False: there was nothing to leave.  *key, where it is
// not nullptr, is for forget_scanned_distance().
bool remember_row_distance(const IndexQuery& query, const index::ContentHash& hash, double distance,
                           ScannedKey* key = nullptr);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_QUERY_H
