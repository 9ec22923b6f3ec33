// The engine: opening, generations coming and going, and the questions that are
// answered from one consistent view.
#include <malloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "index/check.h"
#include "index/clustering.h"
#include "index/engine_impl.h"
#include "index/given_rows.h"
#include "index/measure.h"
#include "index/search.h"
#include "index/spool.h"

// OpenBLAS has no header for this.
extern "C" void openblas_set_num_threads(int threads);

namespace pg_semantic::index {
namespace {

Status make_directory(const std::string& path) {
  // Less what the umask takes away: a server sets it so that files and directories are its own, or its group's to read.
  if (::mkdir(path.c_str(), 0777) == 0 || errno == EEXIST) return Status::ok();
  return {errno == ENOSPC ? StatusCode::kDiskFull : StatusCode::kIoError,
          "could not create directory \"" + path + "\": " + std::strerror(errno)};
}

// What was found in a view of a generation that is still there; files of a dropped one go while it is read.
template <typename T>
Result<T> unless_dropped(const ReadView& view, Result<T> found) {
  if (!view.owner->dropped) return found;
  return Status(StatusCode::kNotFound, "semantic index has no data",
                "The generation " + std::to_string(view.generation) + " was dropped.");
}

constexpr Family kContents[] = {Family::kLists,   Family::kCounts, Family::kCodes,
                                Family::kVectors, Family::kRows,   Family::kCalibrations};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::open(const EngineOptions& options) { return open_engine(options, Tuning()); }

Result<std::unique_ptr<Engine>> open_engine(const EngineOptions& options, const Tuning& tuning) {
  return guarded([&]() -> Result<std::unique_ptr<Engine>> {
    PG_SEMANTIC_RETURN_IF_ERROR(make_directory(options.path));
    openblas_set_num_threads(static_cast<int>(std::clamp<uint32_t>(options.threads, 1, 1024)));
    Result<std::unique_ptr<Storage>> storage = Storage::open(options, tuning.env);
    if (!storage) return storage.status();
    auto engine = std::make_unique<EngineImpl>(options, tuning, std::move(*storage));
    PG_SEMANTIC_RETURN_IF_ERROR(engine->load_generations());
    return std::unique_ptr<Engine>(std::move(engine));
  });
}

// Only the keys: a catalog record that cannot be read makes its own generation
// unusable, not the others.
Status EngineImpl::load_generations() {
  auto catalog = storage_->iterate(Family::kGenerations, nullptr, Reading::kRange);
  for (catalog->SeekToFirst(); catalog->Valid(); catalog->Next()) {
    Result<GenerationId> id = generation_of_key(view(catalog->key()));
    if (!id) return id.status();
    generations_.emplace(*id, std::make_shared<Generation>(*id));
  }
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(catalog->status()));
  PG_SEMANTIC_RETURN_IF_ERROR(log_.load(*storage_, generations_.empty()));
  storage_->remove_unfinished_files();
  return take_up_builds();
}

Result<std::shared_ptr<Generation>> EngineImpl::find(GenerationId generation) const {
  const std::shared_lock lock(generations_mutex_);
  const auto at = generations_.find(generation);
  if (at == generations_.end())
    return Status(StatusCode::kNotFound, "semantic index has no data",
                  "There is no generation " + std::to_string(generation) + ".", "REINDEX the index.");
  return at->second;
}

Result<ReadView> EngineImpl::view_of(GenerationId generation, DiskReadScope* reads) const {
  Result<std::shared_ptr<Generation>> found = find(generation);
  if (!found) return found.status();
  reads->charge_to((*found)->disk_reads);
  Result<ReadView> view = read_view(*storage_, **found);
  if (view) view->owner = *found;
  // What the last process left undone is found again when a generation is first used.
  if (view && !(*found)->looked_after.exchange(true)) schedule_upkeep(*found);
  return view;
}

Result<ReadView> EngineImpl::search_view_of(GenerationId generation, DiskReadScope* reads) const {
  Result<ReadView> view = view_of(generation, reads);
  if (!view) return view;
  const Catalog& catalog = view->table->catalog;
  const std::string name = "generation " + std::to_string(generation);
  if (catalog.finishing)
    return Status(StatusCode::kNotReady, "semantic index is being built",
                  "The lists of " + name + " are made in the background.");
  if (catalog.options.building)
    return Status(StatusCode::kBehind, "semantic index is behind its table",
                  "The rows of " + name + " are being collected.");
  if (catalog.behind)
    return Status(StatusCode::kBehind, "semantic index is behind its table",
                  "Changes of " + name + " were lost, and its rows are not put right yet.");
  return view;
}

std::vector<std::shared_ptr<Generation>> EngineImpl::all_generations() const {
  const std::shared_lock lock(generations_mutex_);
  std::vector<std::shared_ptr<Generation>> result;
  for (const auto& [id, generation] : generations_) result.push_back(generation);
  return result;
}

Status EngineImpl::create(const DecodedChange& change) {
  const std::unique_lock lock(generations_mutex_);
  if (generations_.contains(change.generation)) return Status::ok();
  Catalog catalog;
  catalog.options = change.options;
  rocksdb::WriteBatch batch;
  // A generation dropped under this number may have left something behind.
  if (storage_->has_contents(change.generation, kContents))
    PG_SEMANTIC_RETURN_IF_ERROR(storage_->delete_contents(&batch, change.generation, kContents));
  PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(
      batch.Put(storage_->family(Family::kGenerations), generation_key(change.generation), encode_catalog(catalog))));
  PG_SEMANTIC_RETURN_IF_ERROR(note_change(*storage_, &batch, change.position, change.generation, LoggedKind::kCreate));
  PG_SEMANTIC_RETURN_IF_ERROR(storage_->write(&batch));
  generations_.emplace(change.generation, std::make_shared<Generation>(change.generation));
  return Status::ok();
}

Status EngineImpl::drop(GenerationId id, LogPosition position) {
  Result<std::shared_ptr<Generation>> found = find(id);
  if (!found) return Status::ok();
  const std::shared_ptr<Generation> generation = *found;
  generation->dropped = true;  // a running build gives up
  {
    const std::lock_guard build_lock(generation->build);
    const std::lock_guard writer_lock(generation->writer);
    rocksdb::WriteBatch batch;
    Status status = storage_->delete_contents(&batch, id, kContents);
    if (status.is_ok()) status = from_rocksdb(batch.Delete(storage_->family(Family::kGenerations), generation_key(id)));
    if (status.is_ok()) status = from_rocksdb(batch.Delete(storage_->family(Family::kDefault), catch_up_key(id)));
    if (status.is_ok()) status = note_change(*storage_, &batch, position, id, LoggedKind::kDrop);
    if (status.is_ok()) status = storage_->write(&batch);
    if (!status.is_ok()) {
      generation->dropped = false;  // it is still there
      return status;
    }
    generation->publish(nullptr);
    generation->catch_up_from.reset();
    (void)storage_->delete_files(id, kContents);  // else a compaction gives their space back
    // Were the drop forgotten in a power loss, the spool would be missed; else it is removed when the directory is
    // opened.
    const bool is_spooling = std::filesystem::exists(Spool::path(options_.path, id));
    if (is_spooling && storage_->sync().is_ok()) remove_spool(*storage_, generation.get());
  }
  {
    const std::unique_lock lock(generations_mutex_);
    const auto at = generations_.find(id);
    if (at != generations_.end() && at->second == generation) generations_.erase(at);
  }
  long_.schedule("compact dropped " + std::to_string(id), {}, [this, id](const Interrupted&) {
    storage_->compact(id, long_.stopping());
    return Status::ok();
  });
  return Status::ok();
}

Status EngineImpl::apply(std::span<const std::byte> change, LogPosition position, bool sync) {
  return guarded([&]() -> Status {
    Result<DecodedChange> decoded = decode_change(change);
    if (!decoded) return decoded.status();
    decoded->position = position;
    {
      Result<LogState::Changing> changing = log_.begin_changes(*storage_, {&decoded->position, 1});
      if (!changing) return changing.status();
      PG_SEMANTIC_RETURN_IF_ERROR(apply_decoded(*decoded));
    }
    return sync ? storage_->sync() : Status::ok();
  });
}

Status EngineImpl::apply_insertions(std::span<const LoggedInsertion> insertions) {
  return guarded([&]() -> Status {
    std::vector<DecodedChange> changes;
    std::vector<LogPosition> positions;
    for (const LoggedInsertion& insertion : insertions) {
      Result<DecodedChange> decoded = decode_change(insertion.change);
      if (!decoded) return decoded.status();
      if (decoded->kind != ChangeKind::kInsertRows ||
          (!changes.empty() && decoded->generation != changes.front().generation))
        return {StatusCode::kInvalidArgument, "changes that are applied together must be insertions into one index"};
      changes.push_back(std::move(*decoded));
      positions.push_back(insertion.position);
    }
    if (changes.empty()) return Status::ok();
    Result<LogState::Changing> changing = log_.begin_changes(*storage_, positions);
    if (!changing) return changing.status();
    for (size_t i = 0; i < changes.size(); ++i) changes[i].position = positions[i];
    return write(changes);
  });
}

Status EngineImpl::apply_decoded(const DecodedChange& change) {
  if (change.kind == ChangeKind::kCreateGeneration) return create(change);
  if (change.kind == ChangeKind::kDropGeneration) return drop(change.generation, change.position);
  return write({&change, 1});
}

Status EngineImpl::write(std::span<const DecodedChange> changes) {
  const OpenMpThreads threads(1);
  Result<std::shared_ptr<Generation>> generation = find(changes.front().generation);
  if (!generation) return generation.status();
  DiskReadScope reads;
  reads.charge_to((*generation)->disk_reads);
  PG_SEMANTIC_RETURN_IF_ERROR(write_rows(*storage_, tuning_, generation->get(), changes));
  schedule_upkeep(*generation);
  return Status::ok();
}

Status EngineImpl::sync() {
  return guarded([&] { return storage_->sync(); });
}

Status EngineImpl::finish_build(const BuildRequest& request, BuildProgress* progress, const Interrupted& interrupted) {
  return guarded([&] { return build(request, progress, interrupted); });
}

Status EngineImpl::build(const BuildRequest& request, BuildProgress* progress, const Interrupted& interrupted) {
  const OpenMpThreads threads(options_.threads);
  Result<std::shared_ptr<Generation>> generation = find(request.generation);
  if (!generation) return generation.status();
  const Interrupted stop = [&] { return is_interrupted(interrupted) || (*generation)->dropped.load(); };
  DiskReadScope reads;
  reads.charge_to((*generation)->disk_reads);
  const uint64_t memory_bytes = std::max(request.memory_bytes, kLeastBuildMemory);
  const Status built = build_generation({*storage_, tuning_, options_, memory_bytes}, *generation, progress, stop);
#ifdef __GLIBC__
  ::malloc_trim(0);  // what the build's buffers leave in the allocator
#endif
  return built;
}

Result<SearchResult> EngineImpl::search(const SearchRequest& request, const Interrupted& interrupted) const {
  return guarded([&]() -> Result<SearchResult> {
    DiskReadScope reads;
    Result<ReadView> view = search_view_of(request.generation, &reads);
    if (!view) return view.status();
    return unless_dropped(*view, search_view(*storage_, *view, tuning_, request, interrupted));
  });
}

Result<std::vector<SearchResult>> EngineImpl::search_batch(std::span<const SearchRequest> requests,
                                                           const Interrupted& interrupted) const {
  return guarded([&]() -> Result<std::vector<SearchResult>> {
    if (requests.empty()) return std::vector<SearchResult>();
    const GenerationId generation = requests.front().generation;
    for (const SearchRequest& request : requests) {
      if (request.generation != generation)
        return Status(
            StatusCode::kInvalidArgument, "searches of a batch must be of one index",
            "There are generations " + std::to_string(generation) + " and " + std::to_string(request.generation) + ".");
    }
    DiskReadScope reads;
    Result<ReadView> view = search_view_of(generation, &reads);
    if (!view) return view.status();
    return unless_dropped(*view, search_batch_of_view(*storage_, *view, tuning_, requests, interrupted));
  });
}

Result<std::vector<SearchHit>> EngineImpl::score_rows(GenerationId generation, std::span<const float> query,
                                                      std::span<const RowId> rows,
                                                      const Interrupted& interrupted) const {
  return guarded([&]() -> Result<std::vector<SearchHit>> {
    DiskReadScope reads;
    Result<ReadView> view = search_view_of(generation, &reads);
    if (!view) return view.status();
    return unless_dropped(*view, score_rows_of_view(*storage_, *view, query, rows, interrupted));
  });
}

Result<std::vector<ListedRow>> EngineImpl::list_rows(GenerationId generation, RowId after, uint32_t limit) const {
  return guarded([&]() -> Result<std::vector<ListedRow>> {
    Result<std::shared_ptr<Generation>> found = find(generation);
    if (!found) return found.status();
    DiskReadScope reads;
    reads.charge_to((*found)->disk_reads);
    std::vector<ListedRow> result;
    if (after == UINT64_MAX) return result;
    const std::string prefix = generation_key(generation);
    auto rows = storage_->iterate(Family::kRows, nullptr, Reading::kSweep);
    for (rows->Seek(row_key(generation, after + 1));
         rows->Valid() && rows->key().starts_with(prefix) && result.size() < limit; rows->Next()) {
      Result<RowId> row = row_of_key(view(rows->key()));
      if (!row) return row.status();
      Result<RowRecord> record = decode_row(view(rows->value()));
      if (!record) return record.status();
      result.push_back({*row, record->kind, record->hash, record->list});
    }
    PG_SEMANTIC_RETURN_IF_ERROR(from_rocksdb(rows->status()));
    return result;
  });
}

Result<StoredVectors> EngineImpl::read_vectors(GenerationId generation, std::span<const RowId> rows,
                                               const Interrupted& interrupted) const {
  return guarded([&]() -> Result<StoredVectors> {
    DiskReadScope reads;
    Result<ReadView> view = view_of(generation, &reads);
    if (!view) return view.status();
    return unless_dropped(*view, read_vectors_of_view(*storage_, *view, rows, interrupted));
  });
}

Result<std::vector<std::string>> EngineImpl::check(GenerationId generation, const Interrupted& interrupted) const {
  return guarded([&]() -> Result<std::vector<std::string>> {
    DiskReadScope reads;
    Result<ReadView> view = view_of(generation, &reads);
    // A table that cannot be loaded is what check() is there to tell.
    if (!view && view.status().code() == StatusCode::kCorrupt) return std::vector<std::string>{view.status().detail()};
    if (!view) return view.status();
    return check_view(*storage_, *view, interrupted);
  });
}

Result<float> EngineImpl::measure_recall(GenerationId generation, uint32_t k, uint32_t samples, float recall,
                                         const Interrupted& interrupted) const {
  return guarded([&]() -> Result<float> {
    DiskReadScope reads;
    Result<ReadView> view = search_view_of(generation, &reads);
    if (!view) return view.status();
    return measure_recall_of_view(*storage_, *view, tuning_, k, samples, recall, options_.threads, interrupted);
  });
}

Result<GenerationStatistics> EngineImpl::statistics(GenerationId generation) const {
  return guarded([&]() -> Result<GenerationStatistics> {
    Result<std::shared_ptr<Generation>> found = find(generation);
    if (!found) return found.status();
    Result<ReadView> view = read_view(*storage_, **found);
    if (!view) return view.status();
    const ListTable& table = *view->table;
    GenerationStatistics result;
    result.generation = generation;
    result.options = table.catalog.options;
    result.rows = table.catalog.rows;
    result.vectors = table.catalog.vectors;
    result.lists = static_cast<uint32_t>(table.lists.size());
    result.bytes = storage_->approximate_bytes(generation);
    result.memory_bytes = table.memory_bytes();
    const DiskReads reads = (*found)->disk_reads->total();
    result.disk_reads = reads.blocks;
    result.disk_read_bytes = reads.bytes;
    result.behind = table.catalog.behind;
    return result;
  });
}

std::vector<GenerationStatistics> EngineImpl::generations() const {
  std::vector<GenerationId> ids;
  {
    const std::shared_lock lock(generations_mutex_);
    for (const auto& [id, generation] : generations_) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  std::vector<GenerationStatistics> result;
  for (const GenerationId id : ids) {
    Result<GenerationStatistics> one = statistics(id);
    if (one) {
      result.push_back(std::move(*one));
    } else if (one.status().code() != StatusCode::kNotFound) {
      // Unreadable, but there: it can still be dropped.
      GenerationStatistics unreadable;
      unreadable.generation = id;
      result.push_back(unreadable);
    }
  }
  return result;
}

}  // namespace pg_semantic::index
