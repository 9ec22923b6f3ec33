// The engine's background work: when lists are looked after, recall is measured,
// graphs are made and garbage is compacted.
#include <algorithm>

#include "index/clustering.h"
#include "index/engine_impl.h"
#include "index/measure.h"
#include "index/retraining.h"
#include "index/upkeep.h"

namespace pg_semantic::index {
namespace {

using Milliseconds = Maintenance::Milliseconds;

// Lists are looked after while changes come, for many changes at once.
constexpr Maintenance::Delay kSoon{Milliseconds(10), Milliseconds(10)};
// They are tidied when changes have stopped coming, and now and then while they do not stop.
constexpr Maintenance::Delay kWhenSettled{Milliseconds(1000), Milliseconds(10000)};

// Rows that come and go are made up for by a share of what was measured, but not for ever; an index that has
// settled is measured earlier.
bool needs_measuring(const ListTable& table, const Tuning& tuning, bool settled) {
  const uint64_t vectors = table.catalog.vectors;
  if (table.catalog.options.building || vectors <= tuning.exact_vectors) return false;
  if (!table.calibration) return true;
  const uint64_t before = table.calibration->vectors;
  if (settled) return vectors >= before + before / 4 || vectors <= before - before / 4;
  return vectors >= 2 * before || 2 * vectors <= before;
}

// Garbage that is worth a compaction: RocksDB keeps some by itself.
bool is_much_garbage(const ListTable& table, uint64_t garbage, uint64_t left_by_compaction) {
  constexpr uint64_t kSpare = 256 << 10;
  return garbage > left_by_compaction + least_bytes(table) / 6 + kSpare;
}

uint64_t garbage_of(const Storage& storage, const Generation& generation) {
  const std::shared_ptr<const ListTable> table = generation.table();
  const uint64_t bytes = storage.approximate_bytes(generation.id());
  const uint64_t least = table ? least_bytes(*table) : bytes;
  return bytes - std::min(bytes, least);
}

}  // namespace

void EngineImpl::schedule_upkeep(const std::shared_ptr<Generation>& generation) const {
  const std::string name = std::to_string(generation->id());
  generation->looked_after = true;
  lists_.schedule("keep " + name, kSoon, [this, generation](const Interrupted& interrupted) {
    const OpenMpThreads threads(1);
    DiskReadScope reads;
    reads.charge_to(generation->disk_reads);
    PG_SEMANTIC_RETURN_IF_ERROR(keep_lists(*storage_, tuning_, generation.get(), Tidiness::kUrgent, interrupted));
    schedule_retraining(generation, false);
    schedule_measuring(generation, false);
    schedule_graph(generation);
    return Status::ok();
  });
  lists_.schedule("tidy " + name, kWhenSettled, [this, generation](const Interrupted& interrupted) {
    const OpenMpThreads threads(1);
    DiskReadScope reads;
    reads.charge_to(generation->disk_reads);
    PG_SEMANTIC_RETURN_IF_ERROR(keep_lists(*storage_, tuning_, generation.get(), Tidiness::kTidy, interrupted));
    schedule_retraining(generation, true);
    schedule_measuring(generation, true);
    schedule_graph(generation);
    schedule_compaction(generation);
    return Status::ok();
  });
}

// What comes after it is done by the same work: new lists are tidied, and recall is measured, which the old measurement
// would give too much of.
void EngineImpl::schedule_retraining(const std::shared_ptr<Generation>& generation, bool settled) const {
  const std::shared_ptr<const ListTable> table = generation->table();
  if (!table || !needs_retraining(*table, tuning_, settled)) return;
  const std::string name = (settled ? "retrain settled " : "retrain ") + std::to_string(generation->id());
  training_.schedule(name, {}, [this, generation, settled](const Interrupted& interrupted) -> Status {
    const Interrupted stop = [&] { return interrupted() || generation->dropped.load(); };
    const OpenMpThreads threads(1);
    DiskReadScope reads;
    reads.charge_to(generation->disk_reads);
    const std::shared_ptr<const ListTable> now = generation->table();
    if (stop() || !now || !needs_retraining(*now, tuning_, settled)) return Status::cancelled();
    PG_SEMANTIC_RETURN_IF_ERROR(retrain_lists(*storage_, tuning_, generation.get(), stop));
    PG_SEMANTIC_RETURN_IF_ERROR(keep_lists(*storage_, tuning_, generation.get(), Tidiness::kTidy, stop));
    generation->left_by_compaction = 0;  // one during the training left what its snapshots saw
    schedule_graph(generation);
    schedule_compaction(generation);
    return measure(generation, stop);
  });
}

Status EngineImpl::measure(const std::shared_ptr<Generation>& generation, const Interrupted& interrupted) const {
  Result<ReadView> view = read_view(*storage_, *generation);
  if (!view) return generation->dropped ? Status::cancelled() : view.status();
  Result<Calibration> calibration = calibrate(*storage_, *view, tuning_, {}, nullptr, interrupted);
  if (!calibration) return calibration.status();
  return store_calibration(*storage_, generation.get(), *calibration);
}

void EngineImpl::schedule_measuring(const std::shared_ptr<Generation>& generation, bool settled) const {
  const std::shared_ptr<const ListTable> table = generation->table();
  if (!table || !needs_measuring(*table, tuning_, settled)) return;
  const std::string name = (settled ? "measure settled " : "measure ") + std::to_string(generation->id());
  long_.schedule(name, {}, [this, generation, settled](const Interrupted& interrupted) -> Status {
    const Interrupted stop = [&] { return interrupted() || generation->dropped.load(); };
    if (stop()) return Status::cancelled();
    DiskReadScope reads;
    reads.charge_to(generation->disk_reads);
    const std::shared_ptr<const ListTable> now = generation->table();
    if (now && !needs_measuring(*now, tuning_, settled)) return Status::ok();
    return measure(generation, stop);
  });
}

void EngineImpl::schedule_graph(const std::shared_ptr<Generation>& generation) const {
  const std::shared_ptr<const ListTable> table = generation->table();
  if (!table || table->graph || table->lists.size() <= tuning_.graph_lists) return;
  long_.schedule("graph " + std::to_string(generation->id()), {}, [this, generation](const Interrupted& interrupted) {
    const OpenMpThreads threads(1);
    return build_graph(*storage_, tuning_, generation.get(), interrupted);
  });
}

void EngineImpl::schedule_compaction(const std::shared_ptr<Generation>& generation) const {
  const std::shared_ptr<const ListTable> table = generation->table();
  const GenerationId id = generation->id();
  if (!table || !table->store || table->catalog.options.building) return;
  if (!is_much_garbage(*table, garbage_of(*storage_, *generation), generation->left_by_compaction)) return;
  long_.schedule("compact " + std::to_string(id), {}, [this, generation, id](const Interrupted&) {
    if (generation->dropped) return Status::cancelled();
    const uint64_t written = storage_->bytes_written();
    if (!storage_->compact(id, long_.stopping())) return Status::ok();
    // What has come about meanwhile the next one removes.
    const uint64_t garbage = garbage_of(*storage_, *generation), since = storage_->bytes_written() - written;
    generation->left_by_compaction = garbage - std::min(garbage, since);
    return Status::ok();
  });
}

Status EngineImpl::start_compacting() {
  return guarded([&] { return storage_->start_compacting(); });
}

void EngineImpl::wait_for_maintenance() {
  lists_.wait_idle();
  training_.wait_idle();
  long_.wait_idle();
}

}  // namespace pg_semantic::index
