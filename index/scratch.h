// Arrays that may be larger than memory: in temporary files without a name, mapped.
//
// Their pages are the operating system's to keep or to write out; they are not the
// process's anonymous memory.  A file's blocks are allocated before it is mapped, so
// that a full disk is a Status here, not a signal at the first write.
//
// Thread safety: that of a plain array.
#ifndef PG_SEMANTIC_INDEX_SCRATCH_H
#define PG_SEMANTIC_INDEX_SCRATCH_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "encoder/status.h"

namespace pg_semantic::index {

class ScratchFile {
 public:
  ScratchFile() = default;
  ~ScratchFile();
  ScratchFile(ScratchFile&& other) noexcept;
  ScratchFile& operator=(ScratchFile&& other) noexcept;

  // Zeros.  `pattern`: a path that ends in XXXXXX, for the moment in which the file has a name.
  // kDiskFull, kIoError: nothing is left.
  static Result<ScratchFile> create(std::string pattern, uint64_t bytes);

  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  ScratchFile(std::byte* data, size_t size) : data_(data), size_(size) {}

  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

template <typename T>
class ScratchArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  ScratchArray() = default;
  static Result<ScratchArray> create(const std::string& pattern, uint64_t count) {
    if (count > UINT64_MAX / sizeof(T)) return Status(StatusCode::kDiskFull, "too many rows for a temporary file");
    Result<ScratchFile> file = ScratchFile::create(pattern, count * sizeof(T));
    if (!file) return file.status();
    ScratchArray result;
    result.file_ = std::move(*file);
    result.count_ = count;
    return result;
  }

  [[nodiscard]] size_t size() const { return count_; }
  [[nodiscard]] std::span<T> span() const { return {reinterpret_cast<T*>(file_.data()), count_}; }
  T& operator[](size_t i) const { return reinterpret_cast<T*>(file_.data())[i]; }

 private:
  ScratchFile file_;
  size_t count_ = 0;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_SCRATCH_H
