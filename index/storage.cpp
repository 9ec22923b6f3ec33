// The RocksDB directory.
#include "index/storage.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_buffer_manager.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <thread>

namespace pg_semantic::index {
namespace {

constexpr std::array<const char*, kFamilies> kFamilyNames = {"default", "generations", "lists", "counts",
                                                             "codes",   "vectors",     "rows",  "calibrations"};
constexpr uint64_t kLeastMemory = 8ull << 20;
constexpr uint64_t kLeastShard = 16ull << 20;  // the largest block, a file's filter, has a few megabytes
constexpr uint64_t kLogCopied = 16ull << 20;   // a longer log is made sorted files when the directory is copied
constexpr const char* kFormatKey = "format";
constexpr const char* kUnfinishedPrefix = "unfinished-";

rocksdb::ColumnFamilyOptions family_options(Family which, const EngineOptions& engine_options, uint64_t memory_bytes,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 16 << 10;
  table.format_version = 5;
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));

  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;  // codes and floats do not compress
  options.write_buffer_size = std::clamp<uint64_t>(memory_bytes / 16, 1 << 20, 32 << 20);
  options.level_compaction_dynamic_level_bytes = true;
  options.disable_auto_compactions = !engine_options.compacts;  // nor are writes then slowed down for many files
  switch (which) {
    case Family::kCodes:
    case Family::kVectors:
      options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(12));  // generation | list
      options.memtable_prefix_bloom_size_ratio = 0.02;
      break;
    case Family::kDefault:
      break;
    default:
      options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(8));  // generation
      options.memtable_prefix_bloom_size_ratio = 0.02;
      options.memtable_whole_key_filtering = true;
      break;
  }
  return options;
}

// A cache's shards are caches of their own: small ones could not hold a large block.
int cache_shard_bits(uint64_t memory_bytes) {
  int bits = 0;
  while (bits < 4 && memory_bytes >> (bits + 1) >= kLeastShard) ++bits;
  return bits;
}

// RocksDB's warnings in the file LOG.  Its own logger ends the process by a failed assertion when it is used after a
// full disk.
class WarningLog : public rocksdb::Logger {
 public:
  explicit WarningLog(const std::string& directory)
      : Logger(rocksdb::WARN_LEVEL),
        descriptor_(::open((directory + "/LOG").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666)) {}
  ~WarningLog() override {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    constexpr off_t kMostBytes = 4 << 20;
    std::array<char, 1024> line;
    const int length = std::vsnprintf(line.data(), line.size() - 1, format, arguments);
    if (descriptor_ < 0 || length < 0) return;
    const size_t written = std::min(static_cast<size_t>(length), line.size() - 2);
    line[written] = '\n';
    if (::lseek(descriptor_, 0, SEEK_END) > kMostBytes) (void)!::ftruncate(descriptor_, 0);
    (void)!::write(descriptor_, line.data(), written + 1);
  }

 private:
  const int descriptor_;
};

rocksdb::DBOptions database_options(const EngineOptions& options, uint64_t memory_bytes,
                                    const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::DBOptions result;
  result.create_if_missing = true;
  result.max_bgerror_resume_count = 0;  // see FailureListener
  result.create_missing_column_families = true;
  result.max_background_jobs = static_cast<int>(std::clamp<uint32_t>(options.threads, 2, 16));
  // Memtables are charged to the cache, so that one bound holds for both.
  result.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(memory_bytes / 4, cache);
  result.max_total_wal_size = std::max<uint64_t>(memory_bytes / 2, 16 << 20);
  result.max_open_files = 500;
  result.bytes_per_sync = 1 << 20;
  result.info_log = std::make_shared<WarningLog>(options.path);
  result.max_manifest_file_size = 16 << 20;
  result.stats_dump_period_sec = 0;
  result.stats_persist_period_sec = 0;
  return result;
}

class FailureListener : public rocksdb::EventListener {
 public:
  explicit FailureListener(std::shared_ptr<std::atomic<StoreState>> state) : state_(std::move(state)) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override {
    StoreState writable = StoreState::kWritable;
    if (error->IsCorruption()) {
      *state_ = StoreState::kDamaged;
    } else {
      state_->compare_exchange_strong(writable, StoreState::kFailed);
    }
  }
  // What RocksDB 7.8 does to recover by itself when there is room again ends in hangs and failed assertions.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* automatically) override {
    *automatically = false;
  }

 private:
  std::shared_ptr<std::atomic<StoreState>> state_;
};

// Creates the shared threads under the caller's signal mask, which they keep.
void start_background_threads(const EngineOptions& options, rocksdb::Env* env) {
  const int threads = static_cast<int>(std::clamp<uint32_t>(options.threads, 1, 16));
  env->IncBackgroundThreadsIfNeeded(threads, rocksdb::Env::LOW);
  env->IncBackgroundThreadsIfNeeded(1, rocksdb::Env::HIGH);
}

Status unknown_format(std::string detail) {
  return {StatusCode::kUnsupported, "semantic index directory has an unknown format", std::move(detail),
          "REINDEX after removing the directory, or use the version that wrote it."};
}

// Whether RocksDB's directory has families that this format does not know.
bool has_other_families(const std::string& path) {
  std::vector<std::string> names;
  if (!rocksdb::DB::ListColumnFamilies(rocksdb::DBOptions(), path, &names).ok()) return false;
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return std::find(kFamilyNames.begin(), kFamilyNames.end(), name) == kFamilyNames.end();
  });
}

Status check_format(const Storage& storage) {
  rocksdb::PinnableSlice value;
  Result<bool> found = storage.get(Family::kDefault, kFormatKey, nullptr, &value);
  if (!found) return found.status();
  if (!*found) {
    rocksdb::WriteBatch batch;
    PG_SEMANTIC_RETURN_IF_ERROR(
        from_rocksdb(batch.Put(storage.family(Family::kDefault), kFormatKey, encode_u32(kFormatVersion))));
    PG_SEMANTIC_RETURN_IF_ERROR(storage.write(&batch));
    return storage.sync();
  }
  Result<uint32_t> version = decode_u32(view(value), "format version");
  if (!version) return version.status();
  if (*version != kFormatVersion)
    return unknown_format("Its format version is " + std::to_string(*version) + "; this build reads " +
                          std::to_string(kFormatVersion) + ".");
  return Status::ok();
}

std::string unfinished_prefix(GenerationId generation) { return kUnfinishedPrefix + std::to_string(generation) + "-"; }

void remove_files(const std::string& directory, const std::string& prefix) {
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(directory, ignored)) {
    if (file.path().filename().string().starts_with(prefix)) std::filesystem::remove(file.path(), ignored);
  }
}

}  // namespace

Status from_rocksdb(const rocksdb::Status& status) {
  if (status.ok()) return Status::ok();
  const std::string detail = "RocksDB says: " + status.ToString() + ".";
  if (status.IsNoSpace()) return {StatusCode::kDiskFull, "could not write semantic index: no space left", detail};
  if (status.IsMemoryLimit()) return {StatusCode::kOutOfMemory, "out of memory in semantic index", detail};
  if (status.IsCorruption()) return corrupt(detail);
  if (status.IsIOError()) return {StatusCode::kIoError, "could not read or write semantic index", detail};
  if (status.IsNotFound()) return {StatusCode::kNotFound, "semantic index data is missing", detail};
  if (status.IsShutdownInProgress() || status.IsAborted() || status.IsIncomplete()) return Status::cancelled();
  return {StatusCode::kInternal, "unexpected failure of the semantic index storage", detail};
}

Result<std::unique_ptr<Storage>> Storage::open(const EngineOptions& options, rocksdb::Env* env) {
  if (env == nullptr) env = rocksdb::Env::Default();
  start_background_threads(options, env);
  std::unique_ptr<Storage> storage(new Storage);
  const uint64_t memory_bytes = std::max(options.memory_bytes, kLeastMemory);
  storage->directory_ = options.path;
  storage->compacts_ = options.compacts;
  storage->cache_ = rocksdb::NewLRUCache(memory_bytes, cache_shard_bits(memory_bytes), false, 0.2);
  // Pinned blocks lie in the cache and count there, but are not its to give up: it keeps the larger part.
  storage->code_pin_budget_.limit = memory_bytes / 4;
  storage->vector_pin_budget_.limit = memory_bytes / 4;
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  families.reserve(kFamilies);
  for (size_t i = 0; i < kFamilies; ++i)
    families.emplace_back(kFamilyNames[i],
                          family_options(static_cast<Family>(i), options, memory_bytes, storage->cache_));
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  rocksdb::DBOptions database = database_options(options, memory_bytes, storage->cache_);
  database.env = env;
  database.listeners.push_back(std::make_shared<FailureListener>(storage->state_));
  const rocksdb::Status opened = rocksdb::DB::Open(database, options.path, families, &handles, &db);
  if (!opened.ok()) {
    if (opened.IsInvalidArgument() && has_other_families(options.path))
      return unknown_format("Its column families are others.");
    return from_rocksdb(opened);
  }
  storage->db_.reset(db);
  std::copy(handles.begin(), handles.end(), storage->handles_.begin());
  PG_SEMANTIC_RETURN_IF_ERROR(check_format(*storage));
  return storage;
}

Storage::~Storage() {
  if (!db_) return;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
  db_->Close().PermitUncheckedError();
}

Status Storage::may_flush() const {
  if (state() == StoreState::kWritable) return Status::ok();
  return {StatusCode::kIoError, "could not write semantic index",
          "Writing failed before; the directory must be opened again."};
}

// What RocksDB does when it writes; it is not made for exceptions.
template <typename Work>
Status Storage::written(const Work& work) const {
  try {
    return from_rocksdb(work());
  } catch (...) {
    *state_ = StoreState::kBroken;
    return {StatusCode::kOutOfMemory, "out of memory in semantic index", "RocksDB was writing."};
  }
}

Status Storage::write(rocksdb::WriteBatch* batch) const {
  bytes_written_ += batch->GetDataSize();
  return written([&] { return db_->Write(rocksdb::WriteOptions(), batch); });
}

Status Storage::sync() const {
  PG_SEMANTIC_RETURN_IF_ERROR(may_flush());
  std::unique_lock lock(sync_mutex_);
  const uint64_t ticket = ++sync_tickets_;
  while (synced_ < ticket) {
    if (sync_running_) {
      sync_done_.wait(lock);
      continue;
    }
    sync_running_ = true;
    const uint64_t covered = sync_tickets_;
    lock.unlock();
    Status status = written([&] { return db_->SyncWAL(); });
    lock.lock();
    sync_running_ = false;
    if (status.is_ok()) synced_ = std::max(synced_, covered);
    sync_done_.notify_all();
    if (!status.is_ok()) return status;
  }
  return Status::ok();
}

Result<bool> Storage::get(Family which, std::string_view key, const rocksdb::Snapshot* snapshot,
                          rocksdb::PinnableSlice* value) const {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  const rocksdb::Status status = db_->Get(options, family(which), rocksdb::Slice(key.data(), key.size()), value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return from_rocksdb(status);
  return true;
}

Status Storage::multi_get(Family which, std::span<const std::string> keys, const rocksdb::Snapshot* snapshot,
                          const Visit& visit) const {
  constexpr size_t kKeysAtOnce = 32;  // RocksDB's own batch
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  std::array<rocksdb::Slice, kKeysAtOnce> slices;
  std::array<rocksdb::PinnableSlice, kKeysAtOnce> values;
  std::array<rocksdb::Status, kKeysAtOnce> statuses;
  for (size_t first = 0; first < keys.size(); first += kKeysAtOnce) {
    const size_t count = std::min(kKeysAtOnce, keys.size() - first);
    for (size_t i = 0; i < count; ++i) {
      slices[i] = keys[first + i];
      values[i].Reset();
    }
    db_->MultiGet(options, family(which), count, slices.data(), values.data(), statuses.data());
    for (size_t i = 0; i < count; ++i) {
      if (statuses[i].IsNotFound()) continue;
      PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(statuses[i]));
      PG_SEMANTIC_RETURN_IF_ERROR(visit(first + i, view(values[i])));
    }
  }
  return Status::ok();
}

std::unique_ptr<rocksdb::Iterator> Storage::iterate(Family which, const rocksdb::Snapshot* snapshot,
                                                    Reading reading) const {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  options.total_order_seek = reading != Reading::kPrefix;
  options.prefix_same_as_start = reading == Reading::kPrefix;
  options.fill_cache = reading != Reading::kSweep;
  if (reading == Reading::kSweep) options.readahead_size = 2 << 20;
  return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(options, family(which)));
}

Status Storage::sync_file(const std::string& path) const {
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return Status::ok();
  std::unique_ptr<rocksdb::WritableFile> file;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(db_->GetEnv()->ReopenWritableFile(path, &file, rocksdb::EnvOptions())));
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(file->Fsync()));
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(file->Close()));
  return sync_directory(std::filesystem::path(path).parent_path().string());
}

Status Storage::sync_directory(const std::string& directory) const {
  std::unique_ptr<rocksdb::Directory> opened;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(db_->GetEnv()->NewDirectory(directory, &opened)));
  return from_rocksdb(opened->Fsync());
}

Status Storage::copy_to(const std::string& directory) const {
  PG_SEMANTIC_RETURN_IF_ERROR(may_flush());
  rocksdb::Checkpoint* made = nullptr;
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(rocksdb::Checkpoint::Create(db_.get(), &made)));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  return written([&] { return checkpoint->CreateCheckpoint(directory, kLogCopied); });
}

std::string Storage::unfinished_file(GenerationId generation, Family which, size_t number) const {
  return directory_ + "/" + unfinished_prefix(generation) + kFamilyNames[static_cast<size_t>(which)] + "-" +
         std::to_string(number) + ".sst";
}

std::string Storage::unfinished_file_pattern() const { return directory_ + "/" + kUnfinishedPrefix + "XXXXXX"; }

void Storage::remove_unfinished_files() const { remove_files(directory_, kUnfinishedPrefix); }

void Storage::remove_unfinished_files_of(GenerationId generation) const {
  remove_files(directory_, unfinished_prefix(generation));
}

Status Storage::ingest(const std::vector<SortedFiles>& files) const {
  std::vector<rocksdb::IngestExternalFileArg> arguments;
  for (const SortedFiles& of_family : files) {
    if (of_family.paths.empty()) continue;
    rocksdb::IngestExternalFileArg argument;
    argument.column_family = family(of_family.family);
    argument.external_files = of_family.paths;
    argument.options.move_files = true;
    arguments.push_back(std::move(argument));
  }
  if (arguments.empty()) return Status::ok();
  PG_SEMANTIC_RETURN_IF_ERROR(may_flush());
  return written([&] { return db_->IngestExternalFiles(arguments); });
}

bool Storage::has_contents(GenerationId generation, std::span<const Family> families) const {
  const std::string prefix = generation_key(generation);
  for (const Family which : families) {
    auto keys = iterate(which, nullptr, Reading::kRange);
    keys->Seek(prefix);
    // What cannot be read is taken for something to delete.
    if (!keys->status().ok() || (keys->Valid() && keys->key().starts_with(prefix))) return true;
  }
  return false;
}

Status Storage::delete_contents(rocksdb::WriteBatch* batch, GenerationId generation,
                                std::span<const Family> families) const {
  const std::string first = generation_key(generation), end = generation_end_key(generation);
  for (const Family which : families)
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(batch->DeleteRange(family(which), first, end)));
  return Status::ok();
}

Status Storage::delete_files(GenerationId generation, std::span<const Family> families) const {
  PG_SEMANTIC_RETURN_IF_ERROR(sync());
  const std::string first = generation_key(generation), end = generation_end_key(generation);
  const rocksdb::Slice first_key(first), end_key(end);
  for (const Family which : families)
    PG_SEMANTIC_RETURN_IF_ERROR(
        written([&] { return rocksdb::DeleteFilesInRange(db_.get(), family(which), &first_key, &end_key, false); }));
  return Status::ok();
}

Status Storage::start_compacting() {
  PG_SEMANTIC_RETURN_IF_ERROR(may_flush());
  PG_SEMANTIC_RETURN_IF_ERROR(written([&] { return db_->EnableAutoCompaction({handles_.begin(), handles_.end()}); }));
  compacts_ = true;
  return Status::ok();
}

bool Storage::compact(GenerationId generation, std::atomic<bool>* cancelled) const {
  if (!compacts_) return false;
  const std::string first_key = generation_key(generation), end_key = generation_end_key(generation);
  const rocksdb::Slice first(first_key), end(end_key);
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = cancelled;
  for (const Family which : {Family::kVectors, Family::kCodes, Family::kRows, Family::kLists, Family::kCounts}) {
    if (cancelled->load() || !may_flush().is_ok()) break;
    // A hint: what is not given back now is given back by a later compaction.
    (void)written([&] { return db_->CompactRange(options, family(which), &first, &end); });
  }
  return true;
}

uint64_t Storage::approximate_bytes(GenerationId generation) const {
  const std::string first = generation_key(generation), end = generation_end_key(generation);
  const rocksdb::Range range(first, end);
  rocksdb::SizeApproximationOptions options;
  options.include_memtables = true;
  uint64_t total = 0;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    uint64_t bytes = 0;
    if (db_->GetApproximateSizes(options, handle, &range, 1, &bytes).ok()) total += bytes;
  }
  return total;
}

}  // namespace pg_semantic::index
