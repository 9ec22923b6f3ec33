// Distances that an index scan of this session has just computed, so that
// `SELECT body <=> $1 … ORDER BY body <=> $1` does not embed a row again.
//
// Keyed by the query's embedding (hash of model and vector), the content's
// hash and the role that scanned; the stored distance is that of whole embeddings, as the index
// stores them: an index with the option dimensions leaves none here.
//
// It must not tell of rows that the role may not see.  Whoever has a content can compare its distance with the one
// that an embedding gives, and so learn that a scan met it: a scan that meets hidden rows forgets each before the next.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_DISTANCE_CACHE_H
#define PG_SEMANTIC_EXTENSION_INDEX_DISTANCE_CACHE_H

#include <cstdint>

namespace pg_semantic {

struct SemanticQuery;  // extension/semantic_query.h

// Names a remembered distance.
struct ScannedKey {
  uint64_t query;
  uint8_t content_hash[16];
};

// True while the cache holds anything: ask before hashing a content.
bool has_scanned_distances();

bool find_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double* distance);

// A scan with this query returned a row with this content at this distance.
ScannedKey remember_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double distance);

void forget_scanned_distance(const ScannedKey& key);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_DISTANCE_CACHE_H
