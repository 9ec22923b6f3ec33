// RocksDB's files on a machine whose power fails: what was not synced is forgotten,
// names in a directory as well as bytes in a file.
//
// Nothing is really synced, which makes tests fast; a sync notes how much of the file
// there is.  From fail_after() on everything fails that would change a file that counts.
//
// Thread safety: every function may be called from any thread; forget() when nobody
// else uses the files.
#ifndef PG_SEMANTIC_TESTS_UNIT_FORGETFUL_FILES_H
#define PG_SEMANTIC_TESTS_UNIT_FORGETFUL_FILES_H

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>

namespace pg_semantic::index::testing {

class ForgetfulFiles : public rocksdb::FileSystemWrapper {
 public:
  using Options = rocksdb::IOOptions;
  using Context = rocksdb::IODebugContext;
  using IOStatus = rocksdb::IOStatus;

  ForgetfulFiles() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  [[nodiscard]] const char* Name() const override { return "ForgetfulFiles"; }

  // So many writes and syncs still work.
  void fail_after(int64_t operations) { left_ = operations; }
  [[nodiscard]] bool has_failed() const { return left_ <= 0; }

  // The power failed: only what was synced is there, and of the files that were written last perhaps more.
  void forget(const std::string& directory, std::mt19937_64& random) {
    const std::lock_guard lock(mutex_);
    const std::string last_log = newest_log(directory);
    for (const auto& file : std::filesystem::directory_iterator(directory)) {
      if (!file.is_regular_file()) continue;
      const std::string path = file.path().string();
      if (!named_.contains(path)) {
        std::filesystem::remove(path);
        continue;
      }
      const uint64_t size = file.file_size(), synced = std::min(size, synced_[path]);
      const bool may_have_more = path == last_log || file.path().filename().string().starts_with("collected-");
      const uint64_t more = may_have_more && random() % 2 == 0 ? random() % (size - synced + 1) : 0;
      std::filesystem::resize_file(path, synced + more);
      synced_[path] = synced + more;
    }
    for (const auto& [path, content] : replaced_) {
      rocksdb::WriteStringToFile(target(), content, path);
      named_.insert(path);
      synced_[path] = content.size();
    }
    replaced_.clear();
    left_ = INT64_MAX;
  }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file, Context* context) override {
    if (!may_go_on(path)) return failure();
    note(path, 0);
    return wrapped(path, target()->NewWritableFile(path, options, file, context), file);
  }
  IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file, Context* context) override {
    if (!may_go_on(path)) return failure();
    return wrapped(path, target()->ReopenWritableFile(path, options, file, context), file);
  }
  IOStatus NewDirectory(const std::string& path, const Options& options, std::unique_ptr<rocksdb::FSDirectory>* opened,
                        Context* context) override {
    IOStatus status = target()->NewDirectory(path, options, opened, context);
    if (status.ok()) *opened = std::make_unique<Directory>(this, path, std::move(*opened));
    return status;
  }
  IOStatus DeleteFile(const std::string& path, const Options& options, Context* context) override {
    if (has_failed()) return failure();
    {
      const std::lock_guard lock(mutex_);
      named_.erase(path);
    }
    return target()->DeleteFile(path, options, context);
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const Options& options,
                      Context* context) override {
    if (!may_go_on(to)) return failure();
    const std::lock_guard lock(mutex_);
    std::string before;
    if (named_.erase(to) > 0 && rocksdb::ReadFileToString(target(), to, &before).ok())
      replaced_.emplace(to, before.substr(0, synced_[to]));
    synced_[to] = synced_[from];
    named_.erase(from);
    return target()->RenameFile(from, to, options, context);
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const Options& options, Context* context) override {
    if (!may_go_on(to)) return failure();
    const std::lock_guard lock(mutex_);
    synced_[to] = synced_[from];
    return target()->LinkFile(from, to, options, context);
  }

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(ForgetfulFiles* files, std::string path, std::unique_ptr<rocksdb::FSWritableFile>&& file)
        : FSWritableFileOwnerWrapper(std::move(file)), files_(files), path_(std::move(path)) {}
    using FSWritableFileOwnerWrapper::Append;
    IOStatus Append(const rocksdb::Slice& data, const Options& options, Context* context) override {
      return files_->may_go_on(path_) ? target()->Append(data, options, context) : failure();
    }
    IOStatus Append(const rocksdb::Slice& data, const Options& options,
                    const rocksdb::DataVerificationInfo& information, Context* context) override {
      return files_->may_go_on(path_) ? target()->Append(data, options, information, context) : failure();
    }
    IOStatus Sync(const Options&, Context*) override { return files_->sync(path_); }
    IOStatus Fsync(const Options&, Context*) override { return files_->sync(path_); }
    IOStatus RangeSync(uint64_t, uint64_t, const Options&, Context*) override { return IOStatus::OK(); }

   private:
    ForgetfulFiles* files_;
    std::string path_;
  };

  class Directory : public rocksdb::FSDirectoryWrapper {
   public:
    Directory(ForgetfulFiles* files, std::string path, std::unique_ptr<rocksdb::FSDirectory>&& directory)
        : FSDirectoryWrapper(std::move(directory)), files_(files), path_(std::move(path)) {}
    IOStatus Fsync(const Options&, Context*) override { return files_->sync_names(path_); }
    IOStatus FsyncWithDirOptions(const Options&, Context*, const rocksdb::DirFsyncOptions&) override {
      return files_->sync_names(path_);
    }

   private:
    ForgetfulFiles* files_;
    std::string path_;
  };

  static IOStatus failure() { return IOStatus::IOError("the power has failed"); }
  // Sorted files mean nothing without an entry in a manifest, and RocksDB 7.8 with assertions, as Debian builds it,
  // aborts where a compaction cannot write its first one.
  bool may_go_on(const std::string& path) {
    return std::filesystem::path(path).extension() == ".sst" || left_.fetch_sub(1) > 0;
  }

  IOStatus wrapped(const std::string& path, IOStatus opened, std::unique_ptr<rocksdb::FSWritableFile>* file) {
    if (opened.ok()) *file = std::make_unique<File>(this, path, std::move(*file));
    return opened;
  }
  void note(const std::string& path, uint64_t synced) {
    const std::lock_guard lock(mutex_);
    synced_[path] = synced;
  }
  IOStatus sync(const std::string& path) {
    if (!may_go_on(path)) return failure();
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    if (!error) note(path, size);
    return IOStatus::OK();
  }
  IOStatus sync_names(const std::string& directory) {
    if (!may_go_on(directory)) return failure();
    const std::lock_guard lock(mutex_);
    for (const auto& file : std::filesystem::directory_iterator(directory)) {
      named_.insert(file.path().string());
      replaced_.erase(file.path().string());
    }
    return IOStatus::OK();
  }
  // RocksDB syncs a log before it relies on a later one; only of the last may there be more than was synced.
  std::string newest_log(const std::string& directory) {
    std::string newest;
    for (const auto& file : std::filesystem::directory_iterator(directory)) {
      const std::string path = file.path().string();
      if (file.path().extension() == ".log" && path > newest) newest = path;
    }
    for (const auto& file : std::filesystem::directory_iterator(directory)) {
      const std::string path = file.path().string();
      if (file.path().extension() == ".log" && path != newest && synced_[path] < file.file_size()) return "";
    }
    return newest;
  }

  std::atomic<int64_t> left_{INT64_MAX};
  std::mutex mutex_;
  std::map<std::string, uint64_t> synced_;       // bytes of each file
  std::set<std::string> named_;                  // files whose name was synced
  std::map<std::string, std::string> replaced_;  // contents that a rename replaced, whose name was not synced again
};

// With these files, and without RocksDB's pause of a second after a failure.
class ForgetfulEnvironment : public rocksdb::EnvWrapper {
 public:
  explicit ForgetfulEnvironment(const std::shared_ptr<ForgetfulFiles>& files)
      : EnvWrapper(rocksdb::NewCompositeEnv(files)) {
    system_clock_ = std::make_shared<Clock>(system_clock_);
  }

 private:
  class Clock : public rocksdb::SystemClockWrapper {
   public:
    using SystemClockWrapper::SystemClockWrapper;
    [[nodiscard]] const char* Name() const override { return "ForgetfulEnvironment"; }
    void SleepForMicroseconds(int micros) override { SystemClockWrapper::SleepForMicroseconds(std::min(micros, 1000)); }
  };
};

}  // namespace pg_semantic::index::testing

#endif  // PG_SEMANTIC_TESTS_UNIT_FORGETFUL_FILES_H
