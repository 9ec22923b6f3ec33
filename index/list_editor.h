// Editing posting lists: one writer's changes to lists, gathered in memory and
// written as one batch.
//
// What is appended becomes blocks of its own, with the short tails before it
// (records.h, BlockSizes).  What is removed is marked dead in its block of codes,
// where its row becomes 0.  Lists are split, merged and written anew in the
// background (upkeep.h), a few in a batch.
//
// Thread safety: used by the holder of the generation's writer mutex only.
#ifndef PG_SEMANTIC_INDEX_LIST_EDITOR_H
#define PG_SEMANTIC_INDEX_LIST_EDITOR_H

#include <map>
#include <unordered_map>
#include <vector>

#include "index/list_split.h"
#include "index/list_table.h"
#include "index/tuning.h"
#include "index/vector_block.h"

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
  // `vector`: as CodecLayout stores it.
  Status append(ListId list, RowId row, const std::byte* vector);
  // kCorrupt: the row is not in that list.
  Status remove(ListId list, RowId row);

  // Splits the touched lists that are so long that the background must be behind.
  Status bound_lists();

  // What the background does.  Lists and rows that a plan names may be gone or have moved since it was made.
  Status split(const SplitPlan& plan);
  // Its entries go to these lists, others than it, if they are there, or to the nearest.
  Status merge_away(ListId list, const std::unordered_map<RowId, ListId>& targets = {});
  Status rewrite(ListId list);  // without dead entries, into as few blocks as they take

  // Adds everything to the batch, the records of appended rows too.
  Status write(rocksdb::WriteBatch* batch);

  // Adds the lists made here to the draft's graph, which must contain every list
  // of a table that is published with it.
  void extend_graph() const;

 private:
  struct WorkingList {
    BlockSizes stored;                            // as in the database
    std::map<uint32_t, std::vector<RowId>> rows;  // of stored blocks that were looked at
    std::map<uint32_t, bool> changed;             // stored blocks with newly dead entries
    Entries appended;                             // after the stored blocks, or all there is
    bool rewritten = false;                       // the stored blocks go
    bool created = false;
    bool removed = false;
  };

  Result<WorkingList*> open(ListId list);
  Result<std::vector<RowId>*> rows_of_block(ListId list, WorkingList* working, uint32_t block) const;
  // As they lie in `value`.
  Result<VectorBlockView> vectors_of_block(ListId list, const WorkingList& working, uint32_t block,
                                           rocksdb::PinnableSlice* value) const;
  // Adds the live entries of a stored block.
  Status load_block(ListId list, WorkingList* working, uint32_t block, Entries* into,
                    std::vector<std::byte>* codes) const;
  // Live entries of stored blocks, then appended ones.
  Result<Entries> live_entries(ListId list, WorkingList* working) const;
  // Moves those of the rows that are in the list.
  Status move_rows(ListId from, const std::unordered_map<RowId, ListId>& targets);
  void append_to(WorkingList* working, ListId list, RowId row, const std::byte* vector);
  void drop(ListId list, WorkingList* working);

  Status write_list(ListId list, WorkingList* working, rocksdb::WriteBatch* batch);
  Status write_appended(ListId list, WorkingList* working, rocksdb::WriteBatch* batch);
  Status put_blocks(ListId list, uint32_t first_block, const BlockSizes& sizes, const Entries& entries,
                    const std::vector<std::byte>& codes, rocksdb::WriteBatch* batch) const;
  Status delete_blocks(ListId list, uint32_t first, uint32_t last, rocksdb::WriteBatch* batch) const;

  [[nodiscard]] bool is_beyond_bound(ListId list, const WorkingList& working) const;

  const Storage& storage_;
  GenerationId generation_;
  ListTable& draft_;
  const Tuning& tuning_;
  Unsplittable& unsplittable_;
  std::map<ListId, WorkingList> working_;
  std::unordered_map<RowId, RowRecord> placed_;  // rows whose record is written
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_LIST_EDITOR_H
