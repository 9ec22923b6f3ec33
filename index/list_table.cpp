// The list table: loading it, and finding the nearest lists in it.
#include "index/list_table.h"

#include <algorithm>
#include <cmath>

#include "index/bytes.h"

namespace pg_semantic::index {
namespace {

Status load_centroids(const Storage& storage, GenerationId generation, const rocksdb::Snapshot* snapshot,
                      ListTable* table) {
  const std::string prefix = generation_key(generation);
  auto lists = storage.iterate(Family::kLists, snapshot, Reading::kPrefix);
  std::vector<float> centroid(table->catalog.options.dimensions);
  for (lists->Seek(prefix); lists->Valid() && lists->key().starts_with(prefix); lists->Next()) {
    Result<ListId> id = list_of_key(view(lists->key()));
    if (!id) return id.status();
    if (*id >= table->catalog.next_list) return corrupt("List " + std::to_string(*id) + " was never made.");
    PG_SEMANTIC_RETURN_IF_ERROR(check_vector(view(lists->value()), table->catalog.options.dimensions));
    std::memcpy(centroid.data(), lists->value().data(), lists->value().size());
    if (!std::all_of(centroid.begin(), centroid.end(), [](float value) { return std::isfinite(value); }))
      return corrupt("The centroid of list " + std::to_string(*id) + " is not finite.");
    table->lists.push_back({.id = *id, .slot = table->store->append(centroid.data())});
  }
  return from_rocksdb(lists->status());
}

Status load_counts(const Storage& storage, GenerationId generation, const rocksdb::Snapshot* snapshot,
                   ListTable* table) {
  const std::string prefix = generation_key(generation);
  auto counts = storage.iterate(Family::kCounts, snapshot, Reading::kPrefix);
  size_t seen = 0;
  for (counts->Seek(prefix); counts->Valid() && counts->key().starts_with(prefix); counts->Next()) {
    Result<ListId> id = list_of_key(view(counts->key()));
    if (!id) return id.status();
    Result<ListRecord> record = decode_list(view(counts->value()), table->layout);
    if (!record) return record.status();
    ListRef* list = table->find(*id);
    if (list == nullptr) return corrupt("List " + std::to_string(*id) + " has a counter and no centroid.");
    list->sizes = record->sizes;
    list->entries = static_cast<uint32_t>(record->sizes.entries(table->layout.entries_per_block()));
    list->dead = record->dead;
    ++seen;
  }
  if (seen != table->lists.size()) return corrupt("A list has no counter.");
  return from_rocksdb(counts->status());
}

// Slots come in runs, which one kernel call covers.
template <typename Visit>
void for_each_run(const ListTable& table, Visit visit) {
  for (size_t first = 0; first < table.lists.size();) {
    const uint32_t slot = table.lists[first].slot;
    const size_t most = std::min<size_t>(table.lists.size() - first, table.store->contiguous(slot));
    size_t count = 1;
    while (count < most && table.lists[first + count].slot == slot + count) ++count;
    visit(first, slot, count);
    first += count;
  }
}

}  // namespace

const ListRef* ListTable::find(ListId id) const {
  const auto at = std::lower_bound(lists.begin(), lists.end(), id,
                                   [](const ListRef& list, ListId wanted) { return list.id < wanted; });
  return at != lists.end() && at->id == id ? &*at : nullptr;
}

ListRef* ListTable::find(ListId id) { return const_cast<ListRef*>(std::as_const(*this).find(id)); }

uint64_t ListTable::memory_bytes() const {
  uint64_t bytes = sizeof(ListTable) + lists.capacity() * sizeof(ListRef);
  if (!lists.empty()) bytes += (uint64_t{lists.back().slot} + 1) * store->dimensions() * sizeof(float);
  // FAISS keeps the centroid, 64 links on the lowest layer, and its tables.
  if (graph) bytes += graph->size() * (store->dimensions() * sizeof(float) + 70 * sizeof(int));
  return bytes;
}

std::vector<float> score_lists(const ListTable& table, const float* query, Order order) {
  std::vector<float> scores(table.lists.size());
  const size_t dimensions = table.store ? table.store->dimensions() : 0;
  for_each_run(table, [&](size_t first, uint32_t slot, size_t count) {
    if (order == Order::kDistance) {
      kernels().squared_distance_rows(query, dimensions, table.store->at(slot), count, scores.data() + first);
    } else {
      kernels().inner_product_rows(query, dimensions, table.store->at(slot), count, scores.data() + first);
      for (size_t i = first; i < first + count; ++i) scores[i] = -scores[i];
    }
  });
  return scores;
}

// The graph is one of distances: a greedy walk by inner product loses its way.
bool ListsByNearness::ask_graph(uint32_t count) {
  if (!table_.graph || order_ != Order::kDistance || scored_ || !table_.graph->is_faster(count, table_.lists.size()))
    return false;
  // Splits leave about one dead list for each that lives.
  lists_.clear();
  for (const CentroidGraph::Near& near : table_.graph->nearest(query_, count * 2 + 32)) {
    const ListRef* list = table_.find(near.list);
    if (list != nullptr) lists_.push_back({static_cast<uint32_t>(list - table_.lists.data()), near.squared_distance});
    if (lists_.size() == count) return true;
  }
  return false;
}

void ListsByNearness::score_all() {
  const std::vector<float> scores = score_lists(table_, query_, order_);
  lists_.resize(scores.size());
  // Not-a-number sorts last, so that the order is strict.
  for (uint32_t i = 0; i < lists_.size(); ++i) lists_[i] = {i, std::isnan(scores[i]) ? INFINITY : scores[i]};
  scored_ = true;
}

std::span<const NearList> ListsByNearness::first(uint32_t count) {
  if (ask_graph(count)) return lists_;
  if (!scored_) score_all();
  const size_t wanted = std::min<size_t>(count, lists_.size());
  if (sorted_ < wanted) {
    const auto nearer = [](const NearList& a, const NearList& b) {
      return a.score != b.score ? a.score < b.score : a.position < b.position;
    };
    const auto begin = lists_.begin() + static_cast<std::ptrdiff_t>(sorted_);
    const auto end = lists_.begin() + static_cast<std::ptrdiff_t>(wanted);
    if (end != lists_.end()) std::nth_element(begin, end, lists_.end(), nearer);
    std::sort(begin, end, nearer);
    sorted_ = wanted;
  }
  return std::span(lists_).first(wanted);
}

std::vector<NearList> nearest_lists(const ListTable& table, const float* query, uint32_t count, Order order) {
  ListsByNearness lists(table, query, order);
  const std::span<const NearList> nearest = lists.first(count);
  return {nearest.begin(), nearest.end()};
}

Result<std::shared_ptr<ListTable>> load_list_table(const Storage& storage, GenerationId generation,
                                                   const rocksdb::Snapshot* snapshot) {
  const std::string key = generation_key(generation);
  rocksdb::PinnableSlice value;
  Result<bool> found = storage.get(Family::kGenerations, key, snapshot, &value);
  if (!found) return found.status();
  if (!*found)
    return Status(StatusCode::kNotFound, "semantic index has no data",
                  "There is no generation " + std::to_string(generation) + ".", "REINDEX the index.");
  Result<Catalog> catalog = decode_catalog(view(value));
  if (!catalog) return catalog.status();
  auto table = std::make_shared<ListTable>();
  table->catalog = *catalog;
  const uint32_t dimensions = table->catalog.options.dimensions;
  if (dimensions == 0) return table;
  table->layout = CodecLayout(table->catalog.options.codec, table->catalog.options.metric, dimensions);
  table->store = std::make_shared<CentroidStore>(dimensions);
  if (table->catalog.options.building) return table;  // lists of a build that was cut off mean nothing
  PG_SEMANTIC_RETURN_IF_ERROR(load_centroids(storage, generation, snapshot, table.get()));
  PG_SEMANTIC_RETURN_IF_ERROR(load_counts(storage, generation, snapshot, table.get()));
  rocksdb::PinnableSlice measured;
  found = storage.get(Family::kCalibrations, key, snapshot, &measured);
  if (!found) return found.status();
  if (*found) {
    Result<Calibration> calibration = decode_calibration(view(measured));
    if (!calibration) return calibration.status();
    table->calibration = std::make_shared<const Calibration>(std::move(*calibration));
  }
  return table;
}

}  // namespace pg_semantic::index
