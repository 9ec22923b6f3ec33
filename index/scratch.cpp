// See scratch.h.
#include "index/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace pg_semantic::index {
namespace {

Status failed(const char* what, const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return {full ? StatusCode::kDiskFull : StatusCode::kIoError,
          std::string("could not ") + what + " temporary file \"" + path + "\": " + std::strerror(error)};
}

}  // namespace

ScratchFile::~ScratchFile() {
  if (size_ > 0) ::munmap(data_, size_);
}

ScratchFile::ScratchFile(ScratchFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

ScratchFile& ScratchFile::operator=(ScratchFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Result<ScratchFile> ScratchFile::create(std::string pattern, uint64_t bytes) {
  if (bytes == 0) return ScratchFile();
  if (bytes > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) return failed("extend", pattern, EFBIG);
  const int descriptor = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (descriptor < 0) return failed("create", pattern, errno);
  ::unlink(pattern.c_str());
  int error = 0;
  do {
    error = ::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  void* data = MAP_FAILED;
  if (error == 0) data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  const int map_error = errno;
  ::close(descriptor);  // the mapping keeps the file
  if (error != 0) return failed("extend", pattern, error);
  if (data == MAP_FAILED) return failed("map", pattern, map_error);
  return ScratchFile(static_cast<std::byte*>(data), bytes);
}

}  // namespace pg_semantic::index
