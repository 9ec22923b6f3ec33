// The list table: what a generation looks like at one moment.
//
// A table is immutable once published; a writer copies the current one, changes
// the copy together with a write batch, and publishes it after the batch.  Its
// version is also in the catalog record, so a reader can tell that a RocksDB
// snapshot and a table belong together.
#ifndef PG_SEMANTIC_INDEX_LIST_TABLE_H
#define PG_SEMANTIC_INDEX_LIST_TABLE_H

#include <memory>
#include <span>
#include <vector>

#include "index/block_pins.h"
#include "index/centroids.h"
#include "index/storage.h"

namespace pg_semantic::index {

struct ListRef {
  ListId id = 0;
  uint32_t slot = 0;     // of its centroid
  uint32_t entries = 0;  // dead ones too
  uint32_t dead = 0;
  BlockSizes sizes{};

  [[nodiscard]] uint32_t live() const { return entries - dead; }
};

struct ListTable {
  Catalog catalog;
  CodecLayout layout;                              // meaningless while dimensions is 0
  std::vector<ListRef> lists;                      // ascending id
  std::shared_ptr<CentroidStore> store;            // null while dimensions is 0
  std::shared_ptr<CentroidGraph> graph;            // null: few lists; contains at least these lists
  std::shared_ptr<const Calibration> calibration;  // null: not measured
  mutable BlockPins code_pins, vector_pins;        // of this table alone

  [[nodiscard]] const ListRef* find(ListId id) const;
  [[nodiscard]] ListRef* find(ListId id);
  [[nodiscard]] const float* centroid(const ListRef& list) const { return store->at(list.slot); }
  [[nodiscard]] uint64_t memory_bytes() const;
};

// Which order lists are visited in.
enum class Order {
  kDistance,      // nearest centroid first: where a vector belongs
  kInnerProduct,  // greatest inner product first: where a query's best are
};

// Scores of all lists (lower is nearer), in the table's order: squared distances or
// negative inner products.
std::vector<float> score_lists(const ListTable& table, const float* query, Order order);

struct NearList {
  uint32_t position = 0;  // in table.lists
  float score = 0;
};

// A table's lists from a query, nearest first, as many as one comes to ask for.
class ListsByNearness {
 public:
  // `table` and `query` must outlive it.
  ListsByNearness(const ListTable& table, const float* query, Order order)
      : table_(table), query_(query), order_(order) {}

  // The first `count`, at most all.  Through the graph, which may overlook some, where there is one and that is the
  // faster way.  Lives until the next call.
  std::span<const NearList> first(uint32_t count);

 private:
  bool ask_graph(uint32_t count);
  void score_all();

  const ListTable& table_;
  const float* query_;
  Order order_;
  std::vector<NearList> lists_;
  size_t sorted_ = 0;  // of lists_, which are all of them
  bool scored_ = false;
};

std::vector<NearList> nearest_lists(const ListTable& table, const float* query, uint32_t count, Order order);

// Reads a generation's table as of a snapshot (null: now).  kNotFound: no such
// generation.
Result<std::shared_ptr<ListTable>> load_list_table(const Storage& storage, GenerationId generation,
                                                   const rocksdb::Snapshot* snapshot);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_LIST_TABLE_H
