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
  ScannedKey key;
  double distance;
};

Entry* entries = nullptr;  // kSlots, in TopMemoryContext, from the first scan on
bool filled = false;

// The query's vector and model decide, not its text; and who asks.
uint64_t query_key(const SemanticQuery* query) {
  const FloatView embedding = query_embedding(query);
  const std::string_view fingerprint = query_fingerprint(query);
  const uint64_t first = DatumGetUInt64(hash_any_extended(reinterpret_cast<const unsigned char*>(embedding.data()),
                                                          static_cast<int>(embedding.size_bytes()), GetUserId()));
  return DatumGetUInt64(hash_any_extended(reinterpret_cast<const unsigned char*>(fingerprint.data()),
                                          static_cast<int>(fingerprint.size()), first));
}

ScannedKey make_key(const SemanticQuery* query, const uint8_t content_hash[16]) {
  ScannedKey key;
  key.query = query_key(query);
  std::memcpy(key.content_hash, content_hash, sizeof(key.content_hash));
  return key;
}

Entry* entry_for(const ScannedKey& key) {
  uint64_t bits = 0;
  std::memcpy(&bits, key.content_hash, sizeof(bits));
  return &entries[(bits ^ key.query) & (kSlots - 1)];
}

// The entry of this key, or nullptr.
Entry* find_entry(const ScannedKey& key) {
  if (!filled) return nullptr;
  Entry* entry = entry_for(key);
  return std::memcmp(&entry->key, &key, sizeof(key)) == 0 ? entry : nullptr;
}

}  // namespace

bool has_scanned_distances() { return filled; }

bool find_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double* distance) {
  const Entry* entry = find_entry(make_key(query, content_hash));
  if (entry == nullptr) return false;
  *distance = entry->distance;
  return true;
}

ScannedKey remember_scanned_distance(const SemanticQuery* query, const uint8_t content_hash[16], double distance) {
  if (entries == nullptr)
    entries = static_cast<Entry*>(MemoryContextAllocZero(TopMemoryContext, kSlots * sizeof(Entry)));
  const ScannedKey key = make_key(query, content_hash);
  *entry_for(key) = {key, distance};
  filled = true;
  return key;
}

void forget_scanned_distance(const ScannedKey& key) {
  if (Entry* entry = find_entry(key)) *entry = {};
}

}  // namespace pg_semantic
