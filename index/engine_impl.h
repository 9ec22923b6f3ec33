// The engine behind engine.h: the generations of a directory, and one thread for
// work that no statement should wait for.
//
// Lock order: generations_mutex_, then Generation::build, then
// Generation::writer.  generations_mutex_ is never held while another is waited
// for.
#ifndef PG_SEMANTIC_INDEX_ENGINE_IMPL_H
#define PG_SEMANTIC_INDEX_ENGINE_IMPL_H

#include <condition_variable>
#include <deque>
#include <exception>
#include <new>
#include <shared_mutex>
#include <thread>

#include "index/change.h"
#include "index/generation.h"
#include "index/tuning.h"

namespace pg_semantic::index {

// Runs `body`; an exception of a library becomes a Status.
template <typename Body>
auto guarded(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory in semantic index");
  } catch (const std::exception& error) {
    return Status(StatusCode::kInternal, "unexpected failure in semantic index", error.what());
  }
}

// Work in the background: measuring, graphs, compaction.
class Maintenance {
 public:
  using Work = std::function<void(const Interrupted&)>;

  Maintenance();
  ~Maintenance();

  // `key`: work that waits under the same key is not queued again.
  void schedule(const std::string& key, Work work);
  void wait_idle();
  [[nodiscard]] std::atomic<bool>* stopping() { return &stopping_; }

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<std::string, Work>> queue_;
  bool busy_ = false;
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // the last member: starts when the others are there
};

class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineOptions options, const Tuning& tuning, std::unique_ptr<Storage> storage)
      : options_(std::move(options)), tuning_(tuning), storage_(std::move(storage)) {}
  Status load_generations();

  Status apply(std::span<const std::byte> change, bool sync) override;
  Status sync() override;
  Status finish_build(GenerationId generation, BuildProgress* progress, const Interrupted& interrupted) override;
  Result<SearchResult> search(const SearchRequest& request, const Interrupted& interrupted) const override;
  Result<std::vector<SearchHit>> score_rows(GenerationId generation, std::span<const float> query,
                                            std::span<const RowId> rows, const Interrupted& interrupted) const override;
  Result<std::vector<ListedRow>> list_rows(GenerationId generation, RowId after, uint32_t limit) const override;
  Result<std::vector<std::string>> check(GenerationId generation, const Interrupted& interrupted) const override;
  Result<float> measure_recall(GenerationId generation, uint32_t k, uint32_t samples, float recall,
                               const Interrupted& interrupted) const override;
  Result<GenerationStatistics> statistics(GenerationId generation) const override;
  std::vector<GenerationStatistics> generations() const override;
  void wait_for_maintenance() override { maintenance_.wait_idle(); }

 private:
  Result<std::shared_ptr<Generation>> find(GenerationId generation) const;
  Result<ReadView> view_of(GenerationId generation) const;
  Status create(const DecodedChange& change);
  Status drop(GenerationId id);
  void schedule_maintenance(const std::shared_ptr<Generation>& generation);

  const EngineOptions options_;
  const Tuning tuning_;
  std::unique_ptr<Storage> storage_;
  mutable std::shared_mutex generations_mutex_;
  std::unordered_map<GenerationId, std::shared_ptr<Generation>> generations_;
  Maintenance maintenance_;  // destroyed first: its work uses the members above
};

// engine_write.cpp: insert or delete rows of a generation; `bytes` is the change as it was logged.
Status write_rows(const Storage& storage, const Tuning& tuning, Generation* generation, const DecodedChange& change,
                  std::span<const std::byte> bytes);
// The same for the holder of Generation::writer.
Status write_rows_locked(const Storage& storage, const Tuning& tuning, Generation* generation,
                         const DecodedChange& change, std::span<const std::byte> bytes);
// A vector of zeros has no direction under cosine.
RowKind kind_of(RowKind kind, Metric metric, std::span<const float> vector);

// engine_build.cpp
struct BuildContext {
  const Storage& storage;
  const Tuning& tuning;
  const EngineOptions& options;
};
Status build_generation(const BuildContext& context, const std::shared_ptr<Generation>& generation,
                        BuildProgress* progress, const Interrupted& interrupted);

// Makes or completes the graph over a generation's centroids.
Status build_graph(const Storage& storage, Generation* generation, const Interrupted& interrupted);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_ENGINE_IMPL_H
