// RocksDB's files on a machine whose power fails: what was not synced is forgotten,
// names in a directory as well as bytes in a file.
//
// Nothing is really synced, which makes tests fast; a sync notes how much of the file
// there is.  When the power fails, what would be left is set aside, and everything goes
// on as if nothing had happened until forget(): so no code that handles errors is run.
//
// Thread safety: every function may be called from any thread; use() and forget() when
// nobody else uses the files.
#ifndef PG_SEMANTIC_TESTS_UNIT_FORGETFUL_FILES_H
#define PG_SEMANTIC_TESTS_UNIT_FORGETFUL_FILES_H

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
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

  // The directory whose files these are, and one beside it for what a power failure leaves.
  void use(const std::string& directory, const std::string& left, uint64_t seed) {
    directory_ = directory;
    left_over_ = left;
    random_.seed(seed);
  }
  // The power fails after so many writes and syncs.  Nobody sees it, but what is done from then on counts for nothing.
  void fail_after(int64_t operations) { left_ = operations; }
  [[nodiscard]] bool has_failed() const { return left_ < 0; }

  // The power fails now, if it did not before, and comes again.  Nobody uses the files.
  void forget() {
    if (!has_failed()) fail();
    std::filesystem::remove_all(directory_);
    std::filesystem::rename(left_over_, directory_);
    const std::lock_guard lock(mutex_);
    synced_.clear();
    named_.clear();
    replaced_.clear();
    for (const auto& file : std::filesystem::directory_iterator(directory_)) {
      named_.insert(file.path().string());
      synced_[file.path().string()] = file.file_size();
    }
    left_ = INT64_MAX;
  }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file, Context* context) override {
    count();
    note(path, 0);
    return wrapped(path, target()->NewWritableFile(path, options, file, context), file);
  }
  IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file, Context* context) override {
    count();
    return wrapped(path, target()->ReopenWritableFile(path, options, file, context), file);
  }
  IOStatus NewDirectory(const std::string& path, const Options& options, std::unique_ptr<rocksdb::FSDirectory>* opened,
                        Context* context) override {
    IOStatus status = target()->NewDirectory(path, options, opened, context);
    if (status.ok()) *opened = std::make_unique<Directory>(this, path, std::move(*opened));
    return status;
  }
  IOStatus DeleteFile(const std::string& path, const Options& options, Context* context) override {
    const std::lock_guard lock(mutex_);
    named_.erase(path);
    return target()->DeleteFile(path, options, context);
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const Options& options,
                      Context* context) override {
    count();
    const std::lock_guard lock(mutex_);
    std::string before;
    if (named_.erase(to) > 0 && rocksdb::ReadFileToString(target(), to, &before).ok())
      replaced_.emplace(to, before.substr(0, synced_[to]));
    synced_[to] = synced_[from];
    named_.erase(from);
    return target()->RenameFile(from, to, options, context);
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const Options& options, Context* context) override {
    count();
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
      files_->count();
      return target()->Append(data, options, context);
    }
    IOStatus Append(const rocksdb::Slice& data, const Options& options,
                    const rocksdb::DataVerificationInfo& information, Context* context) override {
      files_->count();
      return target()->Append(data, options, information, context);
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

  void count() {
    if (left_.fetch_sub(1) == 0) fail();
  }

  // Keeps only what was synced, and of the files that were written last perhaps more.
  void fail() {
    left_ = -1;
    const std::lock_guard lock(mutex_);
    std::filesystem::create_directory(left_over_);
    const std::string last_log = newest_log();
    for (const auto& file : std::filesystem::directory_iterator(directory_)) {
      const std::string path = file.path().string(), name = file.path().filename().string();
      std::string content;
      if (!file.is_regular_file() || !named_.contains(path)) continue;
      if (!rocksdb::ReadFileToString(target(), path, &content).ok()) continue;
      const uint64_t synced = std::min<uint64_t>(content.size(), synced_[path]);
      const bool may_have_more = (path == last_log || name.starts_with("collected-")) && random_() % 2 == 0;
      content.resize(synced + (may_have_more ? random_() % (content.size() - synced + 1) : 0));
      keep(name, content);
    }
    for (const auto& [path, content] : replaced_) keep(std::filesystem::path(path).filename().string(), content);
  }
  void keep(const std::string& name, const std::string& content) {
    std::ofstream(left_over_ + "/" + name, std::ios::binary) << content;
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
    count();
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    if (!error) note(path, size);
    return IOStatus::OK();
  }
  IOStatus sync_names(const std::string& directory) {
    count();
    const std::lock_guard lock(mutex_);
    for (const auto& file : std::filesystem::directory_iterator(directory)) {
      named_.insert(file.path().string());
      replaced_.erase(file.path().string());
    }
    return IOStatus::OK();
  }
  // RocksDB syncs a log before it relies on a later one; only of the last may there be more than was synced.
  std::string newest_log() {
    std::string newest;
    for (const auto& file : std::filesystem::directory_iterator(directory_)) {
      const std::string path = file.path().string();
      if (file.path().extension() == ".log" && path > newest) newest = path;
    }
    for (const auto& file : std::filesystem::directory_iterator(directory_)) {
      const std::string path = file.path().string();
      if (file.path().extension() == ".log" && path != newest && synced_[path] < file.file_size()) return "";
    }
    return newest;
  }

  std::string directory_, left_over_;
  std::mt19937_64 random_;
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
