// Reads the small files of a model directory; see file_reader.h.
#include "encoder/file_reader.h"

#include <cerrno>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace pg_semantic::encoder {

namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

Status io_error(const char* action, const std::string& path, int error_number) {
  return {StatusCode::kIoError,
          std::string("could not ") + action + " file \"" + path + "\": " + strerror(error_number)};
}

// Whether `name` stays below the directory it is appended to.
bool is_relative_inside(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != std::string_view::npos) return false;
  size_t start = 0;
  while (start <= name.size()) {
    size_t end = name.find('/', start);
    if (end == std::string_view::npos) end = name.size();
    if (name.substr(start, end - start) == "..") return false;
    start = end + 1;
  }
  return true;
}

}  // namespace

Result<std::optional<std::string>> DirectoryReader::read_small_file(const std::string& name, size_t max_bytes) const {
  if (!is_relative_inside(name)) {
    return Status(StatusCode::kInvalidArgument, "file name \"" + name + "\" leaves the model directory");
  }
  const std::string path = directory_ + "/" + name;
  // O_NONBLOCK: opening a FIFO that nobody writes to must not wait.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<std::string>();
    return io_error("open", path, errno);
  }
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return io_error("stat", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return Status(StatusCode::kCorrupt, "\"" + path + "\" is not a regular file");
  }
  if (info.st_size < 0 || static_cast<uint64_t>(info.st_size) > max_bytes) {
    return Status(StatusCode::kCorrupt, "file \"" + path + "\" is too large",
                  "It has " + std::to_string(info.st_size) + " bytes; at most " + std::to_string(max_bytes) +
                      " are expected of such a file.");
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t got = read(file.get(), content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("read", path, errno);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  if (filled < content.size()) {
    return Status(StatusCode::kCorrupt, "file \"" + path + "\" became shorter while it was read");
  }
  return std::optional<std::string>(std::move(content));
}

}  // namespace pg_semantic::encoder
