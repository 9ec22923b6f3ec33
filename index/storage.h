// The RocksDB directory: opening it within a memory bound, reading and writing
// it with Status instead of exceptions, and making writes durable in groups.
//
// Thread safety: every function may be called from any thread.
#ifndef PG_SEMANTIC_INDEX_STORAGE_H
#define PG_SEMANTIC_INDEX_STORAGE_H

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/block_pins.h"
#include "index/records.h"

namespace pg_semantic::index {

Status from_rocksdb(const rocksdb::Status& status);

inline std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// How an iterator will be used.
enum class Reading {
  kPrefix,  // one family prefix (generation, or generation and list), kept in the cache
  kRange,   // any range of keys in order, kept in the cache
  kSweep,   // any range of keys in order, once: not kept in the cache
};

class Storage {
 public:
  // `env`: the files and threads that RocksDB uses; null: the usual ones.
  static Result<std::unique_ptr<Storage>> open(const EngineOptions& options, rocksdb::Env* env = nullptr);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  [[nodiscard]] rocksdb::DB* db() const { return db_.get(); }
  [[nodiscard]] StoreState state() const { return *state_; }
  [[nodiscard]] const std::string& directory() const { return directory_; }
  [[nodiscard]] rocksdb::ColumnFamilyHandle* family(Family which) const {
    // cppcheck-suppress CastIntegerToAddressAtReturn ; the cast is the array's index
    return handles_[static_cast<size_t>(which)];
  }

  [[nodiscard]] PinBudget* code_pin_budget() const { return &code_pin_budget_; }
  [[nodiscard]] PinBudget* vector_pin_budget() const { return &vector_pin_budget_; }

  // Not yet durable: see sync().
  Status write(rocksdb::WriteBatch* batch) const;
  // By write(), since the directory was opened.
  [[nodiscard]] uint64_t bytes_written() const { return bytes_written_; }
  // Everything written before the call is durable after it.  Concurrent callers
  // share one fsync.
  Status sync() const;

  // False: no such key.  A null snapshot reads the newest state.
  Result<bool> get(Family which, std::string_view key, const rocksdb::Snapshot* snapshot,
                   rocksdb::PinnableSlice* value) const;

  // Calls `visit(position, value)` for each key that is there; a visitor's error
  // ends the reading.  The value lives until the visitor returns.
  using Visit = std::function<Status(size_t position, std::string_view value)>;
  Status multi_get(Family which, std::span<const std::string> keys, const rocksdb::Snapshot* snapshot,
                   const Visit& visit) const;

  // The caller checks the iterator's status() at its end.
  [[nodiscard]] std::unique_ptr<rocksdb::Iterator> iterate(Family which, const rocksdb::Snapshot* snapshot,
                                                           Reading reading) const;

  // Makes a file durable that lies beside RocksDB's, and that there is such a file.  No error: there is none.
  Status sync_file(const std::string& path) const;
  // Makes durable which files a directory has.
  Status sync_directory(const std::string& directory) const;
  // Shared by those who sync or copy spools, held by those who remove one; taken after Generation::writer.
  [[nodiscard]] std::shared_mutex* spools_mutex() const { return &spools_mutex_; }
  // Copies what has been written to a new directory; files that do not change are shared.
  Status copy_to(const std::string& directory) const;

  // Sorted files that ingest() takes over, each of one family.
  struct SortedFiles {
    Family family;
    std::vector<std::string> paths;
  };
  // A name for such a file, unique in the directory; files that were not ingested are removed at the next open.
  [[nodiscard]] std::string unfinished_file(GenerationId generation, Family which, size_t number) const;
  // For the file of a build's scratch array (index/scratch.h), which has a name for a moment only.
  [[nodiscard]] std::string unfinished_file_pattern() const;
  void remove_unfinished_files() const;
  void remove_unfinished_files_of(GenerationId generation) const;
  // All or none; durable when it returns.
  Status ingest(const std::vector<SortedFiles>& files) const;

  [[nodiscard]] bool has_contents(GenerationId generation, std::span<const Family> families) const;
  // Deletes a generation's keys in these families.
  Status delete_contents(rocksdb::WriteBatch* batch, GenerationId generation, std::span<const Family> families) const;
  // Removes the files that hold nothing but a generation's deleted contents, without reading them: they may be damaged.
  // Views of it, whatever their snapshot, lack them from then on.
  Status delete_files(GenerationId generation, std::span<const Family> families) const;
  // Gives the space of deleted ranges back.  Slow; `cancelled` ends it early.  False: not before start_compacting().
  bool compact(GenerationId generation, std::atomic<bool>* cancelled) const;
  Status start_compacting();
  [[nodiscard]] uint64_t approximate_bytes(GenerationId generation) const;

 private:
  Storage() = default;
  // Refuses what would flush or sync after RocksDB has failed to write: doing so again with what failed before is an
  // assertion of RocksDB, which ends the process.
  [[nodiscard]] Status may_flush() const;
  template <typename Work>
  Status written(const Work& work) const;

  std::string directory_;
  std::atomic<bool> compacts_{true};
  mutable std::atomic<uint64_t> bytes_written_{0};
  std::shared_ptr<rocksdb::Cache> cache_;
  std::shared_ptr<std::atomic<StoreState>> state_ = std::make_shared<std::atomic<StoreState>>(StoreState::kWritable);
  mutable PinBudget code_pin_budget_, vector_pin_budget_;
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilies> handles_{};  // owned by db_, closed in the destructor

  mutable std::shared_mutex spools_mutex_;

  // Group commit: a caller's ticket is served by any fsync begun after it.
  mutable std::mutex sync_mutex_;
  mutable std::condition_variable sync_done_;
  mutable uint64_t sync_tickets_ = 0;
  mutable uint64_t synced_ = 0;
  mutable bool sync_running_ = false;
};

// A snapshot that is released.
class Snapshot {
 public:
  explicit Snapshot(const Storage& storage) : db_(storage.db()), snapshot_(db_->GetSnapshot()) {}
  ~Snapshot() { db_->ReleaseSnapshot(snapshot_); }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  [[nodiscard]] const rocksdb::Snapshot* get() const { return snapshot_; }

 private:
  rocksdb::DB* db_;
  const rocksdb::Snapshot* snapshot_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_STORAGE_H
