// Distances that an index scan of this session has just computed, so that
// `SELECT body <=> $1 … ORDER BY body <=> $1` does not embed a row again.
//
// Keyed by the query's embedding (hash of model and vector) and the content's
// hash; the stored distance is the exact one of whole embeddings: an index with
// the option dimensions leaves none here.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_DISTANCE_CACHE_H
#define PG_SEMANTIC_EXTENSION_INDEX_DISTANCE_CACHE_H

#include <cstdint>

namespace pg_semantic {

struct SemanticQuery;  // extension/semantic_query.h

// True while the cache holds anything: ask before hashing a content.
bool has_scanned_distances();

bool find_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double* distance);

// A scan with this query returned a row with this content at this distance.
void remember_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double distance);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_DISTANCE_CACHE_H
