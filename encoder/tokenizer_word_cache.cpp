// See tokenizer_word_cache.h.
#include "encoder/tokenizer_word_cache.h"

#include <new>

namespace pg_semantic::encoder {

namespace {

constexpr int32_t kMaxSpaces = 15;

}  // namespace

// calloc() takes pages from the kernel that are zero before they are touched.
WordCache::WordCache() : places_(static_cast<Place*>(std::calloc(kPlaces, sizeof(Place)))) {
  if (places_ == nullptr) throw std::bad_alloc();
}

void WordCache::insert(std::string_view word, std::span<const CachedPart> parts) {
  if (word.empty() || word.size() > kMaxWordBytes || parts.size() > kMaxParts) return;
  size_t start = 0;
  for (const CachedPart& part : parts) {
    if (part.start != start || part.end < start || part.end > word.size()) return;
    if (part.leading_spaces > kMaxSpaces || part.trailing_spaces > kMaxSpaces) return;
    start = part.end;
  }
  const Key key(word);
  Place& place = places_.get()[key.place()];
  place.length = static_cast<uint8_t>(word.size());
  place.count = static_cast<uint8_t>(parts.size());
  memcpy(place.key, key.bytes, sizeof(place.key));
  for (size_t i = 0; i < parts.size(); ++i) {
    place.ids[i] = parts[i].id;
    place.ends[i] = static_cast<uint8_t>(parts[i].end);
    place.spaces[i] = static_cast<uint8_t>(parts[i].leading_spaces | parts[i].trailing_spaces << 4);
  }
}

size_t WordCachePool::kept() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return free_.size();
}

std::unique_ptr<WordCache> WordCachePool::take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      std::unique_ptr<WordCache> cache = std::move(free_.back());
      free_.pop_back();
      return cache;
    }
    // give_back() must not fail, and be it for want of memory.
    if (free_.capacity() < kMaxKept) free_.reserve(kMaxKept);
  }
  return std::make_unique<WordCache>();
}

void WordCachePool::give_back(std::unique_ptr<WordCache> cache) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.size() < kMaxKept) free_.push_back(std::move(cache));
}

}  // namespace pg_semantic::encoder
