// What is collected for a build: the changes of a generation one after the other in
// a file beside RocksDB's, because they are read once and then are in the index.
//
// A change is in the operating system's hands when append() returns; the file is made
// durable by Engine::set_mark.  A copy of the directory shares it by a hard link: who
// opens a file that has two names first makes one of its own.
//
// Format: index/FORMAT.md, "Collected changes".
//
// Thread safety: used under the generation's writer mutex; a Mapping by anybody.
#ifndef PG_SEMANTIC_INDEX_SPOOL_H
#define PG_SEMANTIC_INDEX_SPOOL_H

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "index/engine.h"

namespace pg_semantic::index {

class Spool {
 public:
  // A spool's beginning in memory, read-only.
  class Mapping {
   public:
    Mapping(const std::byte* data, size_t size) : data_(data), size_(size) {}
    ~Mapping();
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    // Calls visit(change) for each that was not taken back; a Status that is not ok ends it.
    Status for_each(size_t from, const std::function<Status(std::span<const std::byte>)>& visit) const;
    [[nodiscard]] const std::byte* data() const { return data_; }
    [[nodiscard]] size_t size() const { return size_; }

   private:
    const std::byte* data_;
    size_t size_;
  };

  // Opens or creates the file of a generation in the directory; what a killed process left half written is cut off.
  static Result<std::unique_ptr<Spool>> open(const std::string& directory, GenerationId generation);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // `position`: in the log; 0: not logged.  kDiskFull, kIoError: nothing was added.
  Status append(std::span<const std::byte> change, LogPosition position = 0);
  // Takes changes beyond a position back, which the log has lost.
  Status take_back_after(LogPosition position);
  // Cuts off what comes from the first logged change on that `is_known` denies.
  Status cut_off_unknown(const std::function<Result<bool>(LogPosition)>& is_known);
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] Result<std::unique_ptr<Mapping>> map() const;

  static std::string path(const std::string& directory, GenerationId generation);
  // Gives a generation's file, if there is one, a second name in another directory.
  static Status share(const std::string& directory, GenerationId generation, const std::string& other);
  // Removes a generation's file, if there is one.
  static void remove(const std::string& directory, GenerationId generation);
  // Removes files of generations that `exists` does not know.
  static void remove_orphans(const std::string& directory, const std::function<bool(GenerationId)>& exists);

 private:
  Spool(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  struct Header {
    uint64_t length;
    LogPosition position;
  };
  [[nodiscard]] Result<Header> header_at(uint64_t offset) const;
  Status cut_off(uint64_t size);
  Status cut_off_incomplete_end();
  [[nodiscard]] Status failed(const char* what) const;

  std::string path_;
  int descriptor_;
  size_t size_ = 0;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_SPOOL_H
