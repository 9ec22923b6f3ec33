// Remembers what a model made of short words: text repeats its words, and taking
// one apart costs many times what finding it again does.
//
// A cache has a fixed number of places, one for each value of a hash; a word that
// comes to a place takes it.  Memory is thus bounded (kPlaces × 64 bytes), and what
// was never written is never mapped.
//
// Thread safety: a WordCache belongs to one thread at a time, which borrows it from
// a WordCachePool; the pool may be used by any number of threads.
#ifndef PG_SEMANTIC_ENCODER_TOKENIZER_WORD_CACHE_H
#define PG_SEMANTIC_ENCODER_TOKENIZER_WORD_CACHE_H

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace pg_semantic::encoder {

// A token of a word, and how much white space its offsets leave out (characters).
struct CachedPart {
  int32_t id = 0;
  size_t start = 0;  // bytes of the word
  size_t end = 0;
  int32_t leading_spaces = 0;
  int32_t trailing_spaces = 0;
};

class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 26;
  static constexpr size_t kMaxParts = 6;
  static constexpr size_t kPlaces = 8192;

  WordCache();

  // Appends the parts of `word`; false: it is not here.
  bool find(std::string_view word, std::vector<CachedPart>* parts) const {
    if (word.size() > kMaxWordBytes || word.empty()) return false;
    const Key key(word);
    const Place& place = places_.get()[key.place()];
    if (place.length != word.size() || !key.equals(place.key)) return false;
    size_t start = 0;
    for (size_t i = 0; i < place.count; ++i) {
      parts->push_back({place.ids[i], start, place.ends[i], place.spaces[i] & 0x0F, place.spaces[i] >> 4});
      start = place.ends[i];
    }
    return true;
  }

  // Remembers `parts` of `word`, unless they are too long, too many, or do not follow each other without gaps.
  void insert(std::string_view word, std::span<const CachedPart> parts);

 private:
  struct Place {
    uint8_t length;  // of the word; 0: none is here
    uint8_t count;
    char key[kMaxWordBytes];  // filled up with zeros
    int32_t ids[kMaxParts];
    uint8_t ends[kMaxParts];
    uint8_t spaces[kMaxParts];  // leading | trailing << 4
  };
  static_assert(sizeof(Place) == 64);

  struct Key {
    explicit Key(std::string_view word) { memcpy(bytes, word.data(), word.size()); }
    // Multiply and fold, eight bytes after eight.
    [[nodiscard]] size_t place() const {
      uint64_t state = 0;
      for (size_t i = 0; i < sizeof(bytes); i += sizeof(uint64_t)) {
        uint64_t part;
        memcpy(&part, bytes + i, sizeof(part));
        state = (state ^ part) * 0x9E3779B97F4A7C15u;
        state ^= state >> 32;
      }
      return state % kPlaces;
    }
    // As memcmp(), which is not worth a call.
    [[nodiscard]] bool equals(const char (&other)[kMaxWordBytes]) const {
      uint64_t differences = 0;
      for (const size_t i : {size_t{0}, size_t{8}, size_t{16}, kMaxWordBytes - sizeof(uint64_t)}) {
        uint64_t mine;
        uint64_t others;
        memcpy(&mine, bytes + i, sizeof(mine));
        memcpy(&others, other + i, sizeof(others));
        differences |= mine ^ others;
      }
      return differences == 0;
    }
    char bytes[32] = {};
  };

  struct Free {
    void operator()(Place* places) const { std::free(places); }
  };
  std::unique_ptr<Place[], Free> places_;
};

// The caches of one tokenizer: as many as threads used it at once, but for those
// above kMaxKept, which end with the call that they served.
class WordCachePool {
 public:
  static constexpr size_t kMaxKept = 64;

  // A cache for one call; goes back at the end.
  class Lease {
   public:
    explicit Lease(WordCachePool* pool) : pool_(pool), cache_(pool->take()) {}
    ~Lease() { pool_->give_back(std::move(cache_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    WordCache* operator->() const { return cache_.get(); }
    WordCache& operator*() const { return *cache_; }

   private:
    WordCachePool* const pool_;
    std::unique_ptr<WordCache> cache_;
  };

  // Caches that wait for a call.
  [[nodiscard]] size_t kept() const;

 private:
  std::unique_ptr<WordCache> take();
  void give_back(std::unique_ptr<WordCache> cache);

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> free_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_TOKENIZER_WORD_CACHE_H
