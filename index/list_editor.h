// Editing posting lists: one writer's changes to lists, gathered in memory and
// written as one batch.
//
// Invariant of a stored list of n entries: blocks 0 .. ceil(n / B) - 1 exist and
// all but the last are full.  So a list's counter tells where its tail is, an
// append reads and rewrites one block, and check() can verify it all.
//
// Thread safety: used by the holder of the generation's writer mutex only.
#ifndef PG_SEMANTIC_INDEX_LIST_EDITOR_H
#define PG_SEMANTIC_INDEX_LIST_EDITOR_H

#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "index/list_table.h"
#include "index/tuning.h"

namespace pg_semantic::index {

// Lists whose vectors could not be told apart, with their size then: tried again
// only at twice the size.
using Unsplittable = std::unordered_map<ListId, uint32_t>;

class ListEditor {
 public:
  // `draft` is changed along: lists, entries, centroids.
  ListEditor(const Storage& storage, GenerationId generation, ListTable* draft, const Tuning& tuning,
             Unsplittable* unsplittable)
      : storage_(storage), generation_(generation), draft_(*draft), tuning_(tuning), unsplittable_(*unsplittable) {}

  ListId create(const float* centroid);
  Status append(ListId list, RowId row, const std::byte* code);
  // kCorrupt: the row is not in that list.
  Status remove(ListId list, RowId row);

  // Splits lists that are too long, drops empty ones, merges small ones that
  // lost rows, until every touched list fits.
  Status balance();

  // Adds everything to the batch.
  Status write(rocksdb::WriteBatch* batch) const;

  // Adds the lists made here to the draft's graph, which must contain every list
  // of a table that is published with it.
  void extend_graph() const;

  // Has balance() look at a list that nothing was appended to.
  Status touch(ListId list) { return open(list, Extent::kTail).status(); }

 private:
  struct WorkingList {
    std::vector<RowId> rows;
    std::vector<std::byte> codes;
    uint32_t first = 0;   // entry number of rows[0]; the blocks before are as stored
    uint32_t stored = 0;  // entries in the database
    std::set<uint32_t> dirty;
    bool created = false;
    bool removed = false;
    bool shrunk = false;

    [[nodiscard]] uint32_t entries() const { return first + static_cast<uint32_t>(rows.size()); }
  };
  enum class Extent { kTail, kWhole };

  Result<WorkingList*> open(ListId list, Extent extent);
  Status load_tail(ListId list, uint32_t entries, WorkingList* working) const;
  Status load_head(ListId list, WorkingList* working) const;
  Status load_block(ListId list, uint32_t block, uint32_t entries, WorkingList* into) const;

  void append_to(WorkingList* working, ListId list, RowId row, const std::byte* code);
  void erase(WorkingList* working, ListId list, uint32_t entry);
  void drop(ListId list, WorkingList* working);

  [[nodiscard]] uint32_t list_limit() const { return list_limit_for(tuning_, draft_.layout.code_size()); }
  [[nodiscard]] bool should_split(ListId list, const WorkingList& working) const;
  Status split(ListId list);
  Status merge_away(ListId list);
  // Moves the entries of `from` that are nearer to one of the two new lists.
  Status pull_border(ListId from, const ListId (&created)[2]);
  [[nodiscard]] std::vector<ListId> neighbours(const float* centroid, ListId except) const;

  const Storage& storage_;
  GenerationId generation_;
  ListTable& draft_;
  const Tuning& tuning_;
  Unsplittable& unsplittable_;
  std::map<ListId, WorkingList> working_;
  std::unordered_map<RowId, ListId> moved_;  // rows whose location is written
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_LIST_EDITOR_H
