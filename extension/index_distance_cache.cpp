// A direct-mapped table of the last distances scans returned.
#include "extension/index_distance_cache.h"

#include "extension/semantic_query.h"

extern "C" {
#include "common/hashfn.h"
}

#include <cstring>

namespace pg_semantic {
namespace {

constexpr uint32_t kSlots = 4096;  // power of two

struct Entry {
  uint64_t query;
  uint8_t content_hash[16];
  double distance;
};

Entry* entries = nullptr;  // kSlots, in TopMemoryContext, from the first scan on
bool filled = false;

// The query's vector and model decide, not its text.
uint64_t query_key(const SemanticQuery* query) {
  const FloatView embedding = query_embedding(query);
  const std::string_view fingerprint = query_fingerprint(query);
  const uint64_t first = DatumGetUInt64(hash_any_extended(reinterpret_cast<const unsigned char*>(embedding.data()),
                                                          static_cast<int>(embedding.size_bytes()), 0));
  return DatumGetUInt64(hash_any_extended(reinterpret_cast<const unsigned char*>(fingerprint.data()),
                                          static_cast<int>(fingerprint.size()), first));
}

Entry* entry_for(uint64_t query, const uint8_t content_hash[16]) {
  uint64_t bits = 0;
  std::memcpy(&bits, content_hash, sizeof(bits));
  return &entries[(bits ^ query) & (kSlots - 1)];
}

}  // namespace

bool has_scanned_distances() { return filled; }

bool find_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double* distance) {
  if (!filled) return false;
  const uint64_t key = query_key(query);
  const Entry* entry = entry_for(key, content_hash);
  if (entry->query != key || std::memcmp(entry->content_hash, content_hash, 16) != 0) return false;
  *distance = entry->distance;
  return true;
}

void remember_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double distance) {
  if (entries == nullptr)
    entries = static_cast<Entry*>(MemoryContextAllocZero(TopMemoryContext, kSlots * sizeof(Entry)));
  const uint64_t key = query_key(query);
  Entry* entry = entry_for(key, content_hash);
  entry->query = key;
  std::memcpy(entry->content_hash, content_hash, 16);
  entry->distance = distance;
  filled = true;
}

}  // namespace pg_semantic
