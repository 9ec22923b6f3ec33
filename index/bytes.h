// Reading and writing fixed-width integers and floats in byte strings.
//
// Keys are big-endian, so that RocksDB's byte order is numeric order; values and
// logged changes are little-endian, which is this machine's order.
//
// Thread safety: values, no shared state.
#ifndef PG_SEMANTIC_INDEX_BYTES_H
#define PG_SEMANTIC_INDEX_BYTES_H

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace pg_semantic::index {

static_assert(std::endian::native == std::endian::little, "values are written in the machine's order");

inline void append_big_endian_32(std::string& out, uint32_t value) {
  value = __builtin_bswap32(value);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

inline void append_big_endian_64(std::string& out, uint64_t value) {
  value = __builtin_bswap64(value);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// `bytes` holds at least four (eight) bytes.
inline uint32_t load_big_endian_32(const char* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return __builtin_bswap32(value);
}

inline uint64_t load_big_endian_64(const char* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return __builtin_bswap64(value);
}

template <typename T>
T load(const void* bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <typename T>
void append(std::string& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Has these bytes on their way to the processor.
inline void prefetch(const void* bytes, size_t size) {
  constexpr size_t kLine = 64;
  for (size_t at = 0; at < size; at += kLine) __builtin_prefetch(static_cast<const char*>(bytes) + at);
}

// A cursor over untrusted bytes: every read says whether there was enough left.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}
  explicit ByteReader(std::span<const std::byte> bytes)
      : bytes_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {}

  template <typename T>
  [[nodiscard]] bool read(T* value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (bytes_.size() < sizeof(T)) return false;
    std::memcpy(value, bytes_.data(), sizeof(T));
    bytes_.remove_prefix(sizeof(T));
    return true;
  }

  [[nodiscard]] bool read_bytes(size_t count, std::string_view* value) {
    if (bytes_.size() < count) return false;
    *value = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return true;
  }

  [[nodiscard]] size_t remaining() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_BYTES_H
