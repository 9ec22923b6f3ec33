// Generations in memory: publishing list tables, tying them to snapshots.
#include "index/generation.h"

#include <thread>

namespace pg_semantic::index {
namespace {

// Between a batch becoming visible and its table being published lie
// microseconds; after so many tries the writer must have failed in between.
constexpr int kTries = 200;

Result<uint64_t> version_at(const Storage& storage, GenerationId generation, const rocksdb::Snapshot* snapshot) {
  rocksdb::PinnableSlice value;
  Result<bool> found = storage.get(Family::kGenerations, generation_key(generation), snapshot, &value);
  if (!found) return found.status();
  if (!*found)
    return Status(StatusCode::kNotFound, "semantic index has no data",
                  "There is no generation " + std::to_string(generation) + ".", "REINDEX the index.");
  Result<Catalog> catalog = decode_catalog(view(value));
  if (!catalog) return catalog.status();
  return catalog->version;
}

}  // namespace

std::shared_ptr<const ListTable> Generation::table() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

void Generation::publish(std::shared_ptr<const ListTable> table) {
  const std::lock_guard lock(mutex_);
  table_.swap(table);
}

void Generation::publish_if_absent(std::shared_ptr<const ListTable> table) {
  const std::lock_guard lock(mutex_);
  if (!table_) table_ = std::move(table);
}

Result<ReadView> read_view(const Storage& storage, Generation& generation) {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    ReadView result{generation.id(), generation.table(), nullptr};
    if (!result.table) break;
    result.snapshot = std::make_shared<const Snapshot>(storage);
    Result<uint64_t> version = version_at(storage, generation.id(), result.at());
    if (!version) return version.status();
    if (*version == result.table->catalog.version) return result;
    if (attempt < 20) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  auto snapshot = std::make_shared<const Snapshot>(storage);
  Result<std::shared_ptr<ListTable>> table = load_list_table(storage, generation.id(), snapshot->get());
  if (!table) return table.status();
  generation.publish_if_absent(*table);
  return ReadView{generation.id(), *table, std::move(snapshot)};
}

Result<std::shared_ptr<const ListTable>> table_for_writing(const Storage& storage, Generation& generation) {
  if (std::shared_ptr<const ListTable> table = generation.table()) {
    Result<uint64_t> version = version_at(storage, generation.id(), nullptr);
    if (!version) return version.status();
    if (*version == table->catalog.version) return table;
  }
  Result<std::shared_ptr<ListTable>> table = load_list_table(storage, generation.id(), nullptr);
  if (!table) return table.status();
  generation.publish(*table);
  return std::shared_ptr<const ListTable>(*table);
}

}  // namespace pg_semantic::index
