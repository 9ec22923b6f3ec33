// The engine behind engine.h: the generations of a directory, and three threads for
// work that no statement should wait for: one keeps lists at their size, in short
// steps, one trains lists anew, and one does what else takes long.
//
// Lock order: marking_, LogState's, generations_mutex_, then Generation::build, then
// Generation::writer, then Storage::spools_mutex().  generations_mutex_ is never held while another is waited
// for.
#ifndef PG_SEMANTIC_INDEX_ENGINE_IMPL_H
#define PG_SEMANTIC_INDEX_ENGINE_IMPL_H

#include <exception>
#include <new>
#include <set>
#include <shared_mutex>
#include <system_error>

#include "index/change.h"
#include "index/generation.h"
#include "index/log_state.h"
#include "index/maintenance.h"
#include "index/tuning.h"
#include "index/upkeep.h"

namespace pg_semantic::index {

// Runs `body`; an exception of a library becomes a Status.
template <typename Body>
auto guarded(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory in semantic index");
  } catch (const std::system_error& error) {
    const bool no_threads = error.code() == std::errc::resource_unavailable_try_again;
    return Status(no_threads ? StatusCode::kOutOfMemory : StatusCode::kInternal,
                  no_threads ? "out of memory in semantic index" : "unexpected failure in semantic index",
                  error.what());
  } catch (const std::exception& error) {
    return Status(StatusCode::kInternal, "unexpected failure in semantic index", error.what());
  }
}

class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineOptions options, const Tuning& tuning, std::unique_ptr<Storage> storage)
      : options_(std::move(options)), tuning_(tuning), storage_(std::move(storage)) {}
  Status load_generations();

  Status apply(std::span<const std::byte> change, LogPosition position, bool sync) override;
  Status apply_insertions(std::span<const LoggedInsertion> insertions) override;
  Status sync() override;
  Status finish_build(const BuildRequest& request, BuildProgress* progress, const Interrupted& interrupted) override;
  StoreState state() const override { return storage_->state(); }
  Status start_compacting() override;
  Mark found_mark() const override { return log_.found_mark(); }
  LogPosition found_position() const override { return log_.found_position(); }
  Status set_mark(const Mark& mark, bool sync) override;
  Status end_recovery(LogPosition end) override;
  Status declare_behind() override;
  Status declare_behind(GenerationId generation) override;
  Status declare_repaired(GenerationId generation) override;
  Status request_finish(GenerationId generation, LogPosition position) override;
  Status copy_to(const std::string& directory) override;
  Result<SearchResult> search(const SearchRequest& request, const Interrupted& interrupted) const override;
  Result<std::vector<SearchResult>> search_batch(std::span<const SearchRequest> requests,
                                                 const Interrupted& interrupted) const override;
  Result<std::vector<SearchHit>> score_rows(GenerationId generation, std::span<const float> query,
                                            std::span<const RowId> rows, const Interrupted& interrupted) const override;
  Result<std::vector<ListedRow>> list_rows(GenerationId generation, RowId after, uint32_t limit) const override;
  Result<StoredVectors> read_vectors(GenerationId generation, std::span<const RowId> rows,
                                     const Interrupted& interrupted) const override;
  Result<std::vector<std::string>> check(GenerationId generation, const Interrupted& interrupted) const override;
  Result<float> measure_recall(GenerationId generation, uint32_t k, uint32_t samples, float recall,
                               const Interrupted& interrupted) const override;
  Result<GenerationStatistics> statistics(GenerationId generation) const override;
  std::vector<GenerationStatistics> generations() const override;
  void wait_for_maintenance() override;

 private:
  Result<std::shared_ptr<Generation>> find(GenerationId generation) const;
  // Charges what `reads` counts to the generation.
  Result<ReadView> view_of(GenerationId generation, DiskReadScope* reads) const;
  // Only of a generation that may be searched.
  Result<ReadView> search_view_of(GenerationId generation, DiskReadScope* reads) const;
  Status apply_decoded(const DecodedChange& change);
  Status write(std::span<const DecodedChange> changes);
  Status create(const DecodedChange& change);
  Status drop(GenerationId id, LogPosition position);
  [[nodiscard]] std::vector<std::shared_ptr<Generation>> all_generations() const;
  Status build(const BuildRequest& request, BuildProgress* progress, const Interrupted& interrupted);
  // engine_log.cpp
  Status take_up_builds();
  Status take_up_spool(Generation* generation);
  Status take_back_collected(LogPosition end, std::set<GenerationId>* collecting);
  Status sync_spools();
  Status undo(const LoggedChange& change);
  Status set_behind(const std::shared_ptr<Generation>& generation, bool behind);
  Status declare(GenerationId generation, bool behind);
  Status make_copy(const std::string& directory);
  void schedule_finish(const std::shared_ptr<Generation>& generation);
  // engine_upkeep.cpp
  void schedule_upkeep(const std::shared_ptr<Generation>& generation) const;
  void schedule_retraining(const std::shared_ptr<Generation>& generation, bool settled) const;
  Status measure(const std::shared_ptr<Generation>& generation, const Interrupted& interrupted) const;
  void schedule_measuring(const std::shared_ptr<Generation>& generation, bool settled) const;
  void schedule_graph(const std::shared_ptr<Generation>& generation) const;
  void schedule_compaction(const std::shared_ptr<Generation>& generation) const;

  const EngineOptions options_;
  const Tuning tuning_;
  std::unique_ptr<Storage> storage_;
  LogState log_;
  std::mutex marking_;  // held while a mark is set; taken before all others
  mutable std::shared_mutex generations_mutex_;
  std::unordered_map<GenerationId, std::shared_ptr<Generation>> generations_;
  // Destroyed first, because their work uses the members above; the work of the later ones schedules some for
  // the earlier.
  mutable Maintenance long_;
  mutable Maintenance training_;
  mutable Maintenance lists_;
};

// engine_write.cpp: writes and publishes a draft with what an editor and a batch hold.
Status commit_lists(const Storage& storage, Generation* generation, const std::shared_ptr<ListTable>& draft,
                    ListEditor* editor, rocksdb::WriteBatch* batch);
// Insert or delete rows of a generation: insertions, or one deletion.
Status write_rows(const Storage& storage, const Tuning& tuning, Generation* generation,
                  std::span<const DecodedChange> changes);
// The rest, too, is for the holder of Generation::writer.
// Writes and publishes another catalog record, with what else the batch holds; its version is seen to.
Status write_catalog(const Storage& storage, Generation* generation, const ListTable& table, const Catalog& catalog,
                     rocksdb::WriteBatch* batch);
Status write_behind(const Storage& storage, Generation* generation, bool behind);
Status open_spool(const Storage& storage, Generation* generation);
void remove_spool(const Storage& storage, Generation* generation);
// Applies what was collected while the generation was built, and is done with the spool.
Status catch_up(const Storage& storage, const Tuning& tuning, Generation* generation);

// A vector of zeros has no direction under cosine.
RowKind kind_of(RowKind kind, Metric metric, std::span<const float> vector);

// engine_build.cpp
struct BuildContext {
  const Storage& storage;
  const Tuning& tuning;
  const EngineOptions& options;
  uint64_t memory_bytes;  // of BuildRequest
};
Status build_generation(const BuildContext& context, const std::shared_ptr<Generation>& generation,
                        BuildProgress* progress, const Interrupted& interrupted);

// Makes or completes the graph over a generation's centroids.
Status build_graph(const Storage& storage, const Tuning& tuning, Generation* generation,
                   const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_ENGINE_IMPL_H
