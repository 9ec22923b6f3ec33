// See spool.h.
#include "index/spool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "index/bytes.h"
#include "index/records.h"

namespace pg_semantic::index {
namespace {

constexpr std::string_view kPrefix = "collected-";
constexpr size_t kHeaderBytes = 16;             // length and position
constexpr LogPosition kTakenBack = UINT64_MAX;  // where the position was

// Removed at the next open, like other unfinished files.
constexpr std::string_view kUnfinishedPrefix = "unfinished-collected-";

Status failed_at(const std::string& path, const char* what, int error) {
  return {error == ENOSPC || error == EDQUOT ? StatusCode::kDiskFull : StatusCode::kIoError,
          std::string("could not ") + what + " file \"" + path + "\": " + std::strerror(error)};
}

Status sync_path(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return failed_at(path, "open", errno);
  const int error = ::fsync(descriptor) != 0 ? errno : 0;
  ::close(descriptor);
  return error == 0 ? Status::ok() : failed_at(path, "fsync", error);
}

// Makes the file, which another directory shares, one of its own.  It may be what a mark relies on, so it is durable.
Status separate(const std::string& directory, GenerationId generation, const std::string& path) {
  const std::string copy = directory + "/" + std::string(kUnfinishedPrefix) + std::to_string(generation);
  std::error_code error;
  std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing, error);
  if (error) return failed_at(copy, "write", error.value());
  PG_SEMANTIC_RETURN_IF_ERROR(sync_path(copy));
  if (::rename(copy.c_str(), path.c_str()) != 0) return failed_at(copy, "rename", errno);
  return sync_path(directory);
}

}  // namespace

Spool::Mapping::~Mapping() {
  if (size_ > 0) ::munmap(const_cast<std::byte*>(data_), size_);
}

Status Spool::Mapping::for_each(size_t from, const std::function<Status(std::span<const std::byte>)>& visit) const {
  while (from < size_) {
    if (size_ - from < kHeaderBytes) return corrupt("The collected changes are cut off.");
    const auto length = load<uint64_t>(data_ + from);
    const auto position = load<LogPosition>(data_ + from + sizeof length);
    from += kHeaderBytes;
    if (length > size_ - from) return corrupt("The collected changes are cut off.");
    if (position != kTakenBack) PG_SEMANTIC_RETURN_IF_ERROR(visit({data_ + from, length}));
    from += length;
  }
  return Status::ok();
}

Result<std::unique_ptr<Spool>> Spool::open(const std::string& directory, GenerationId generation) {
  const std::string path = Spool::path(directory, generation);
  struct stat file {};
  if (::stat(path.c_str(), &file) == 0 && file.st_nlink > 1)
    PG_SEMANTIC_RETURN_IF_ERROR(separate(directory, generation, path));
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return failed_at(path, "open", errno);
  std::unique_ptr<Spool> spool(new Spool(path, descriptor));
  PG_SEMANTIC_RETURN_IF_ERROR(spool->cut_off_incomplete_end());
  return spool;
}

Spool::~Spool() { ::close(descriptor_); }

Status Spool::failed(const char* what) const { return failed_at(path_, what, errno); }

Status Spool::cut_off_incomplete_end() {
  struct stat file {};
  if (::fstat(descriptor_, &file) != 0) return failed("look at");
  const auto end = static_cast<uint64_t>(file.st_size);
  uint64_t whole = 0;
  while (end - whole >= kHeaderBytes) {
    Result<Header> header = header_at(whole);
    if (!header) return header.status();
    if (header->length > end - whole - kHeaderBytes) break;
    whole += kHeaderBytes + header->length;
  }
  size_ = end;
  return cut_off(whole);
}

Result<Spool::Header> Spool::header_at(uint64_t offset) const {
  Header header{};
  static_assert(sizeof header == kHeaderBytes);
  if (::pread(descriptor_, &header, sizeof header, static_cast<off_t>(offset)) != sizeof header) return failed("read");
  return header;
}

Status Spool::cut_off(uint64_t size) {
  if (size != size_ && ::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) return failed("truncate");
  size_ = size;
  return Status::ok();
}

Status Spool::take_back_after(LogPosition position) {
  for (uint64_t at = 0; at < size_;) {
    Result<Header> header = header_at(at);
    if (!header) return header.status();
    if (header->position > position && header->position != kTakenBack &&
        ::pwrite(descriptor_, &kTakenBack, sizeof kTakenBack, static_cast<off_t>(at + sizeof header->length)) !=
            sizeof kTakenBack)
      return failed("write");
    at += kHeaderBytes + header->length;
  }
  return Status::ok();
}

Status Spool::cut_off_unknown(const std::function<Result<bool>(LogPosition)>& is_known) {
  for (uint64_t at = 0; at < size_;) {
    Result<Header> header = header_at(at);
    if (!header) return header.status();
    if (header->position != 0 && header->position != kTakenBack) {
      Result<bool> known = is_known(header->position);
      if (!known) return known.status();
      if (!*known) return cut_off(at);
    }
    at += kHeaderBytes + header->length;
  }
  return Status::ok();
}

Status Spool::append(std::span<const std::byte> change, LogPosition position) {
  Header header = {change.size(), position};
  std::array<iovec, 2> parts = {iovec{&header, sizeof header},
                                iovec{const_cast<std::byte*>(change.data()), change.size()}};
  size_t written = 0;
  const size_t total = sizeof header + change.size();
  while (written < total) {
    std::array<iovec, 2> left = parts;
    size_t skip = written;
    for (iovec& part : left) {
      const size_t of_part = std::min(skip, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + of_part;
      part.iov_len -= of_part;
      skip -= of_part;
    }
    const ssize_t now = ::pwritev(descriptor_, left.data(), left.size(), static_cast<off_t>(size_ + written));
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) {
      const Status status = failed("write");
      (void)!::ftruncate(descriptor_, static_cast<off_t>(size_));
      return status;
    }
    written += static_cast<size_t>(now);
  }
  size_ += total;
  return Status::ok();
}

Result<std::unique_ptr<Spool::Mapping>> Spool::map() const {
  if (size_ == 0) return std::make_unique<Mapping>(nullptr, 0);
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (data == MAP_FAILED) return failed("map");
  return std::make_unique<Mapping>(static_cast<const std::byte*>(data), size_);
}

std::string Spool::path(const std::string& directory, GenerationId generation) {
  return directory + "/" + std::string(kPrefix) + std::to_string(generation);
}

Status Spool::share(const std::string& directory, GenerationId generation, const std::string& other) {
  const std::string from = path(directory, generation), to = path(other, generation);
  if (::link(from.c_str(), to.c_str()) == 0 || errno == ENOENT) return Status::ok();
  if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP) return failed_at(to, "make", errno);
  std::error_code error;
  std::filesystem::copy_file(from, to, error);
  return error ? failed_at(to, "write", error.value()) : Status::ok();
}

void Spool::remove(const std::string& directory, GenerationId generation) {
  ::unlink(path(directory, generation).c_str());
}

void Spool::remove_orphans(const std::string& directory, const std::function<bool(GenerationId)>& exists) {
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = file.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    GenerationId generation = 0;
    const char* digits = name.data() + kPrefix.size();
    const auto parsed = std::from_chars(digits, name.data() + name.size(), generation);
    if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size() && !exists(generation))
      ::unlink(file.path().c_str());
  }
}

}  // namespace pg_semantic::index
