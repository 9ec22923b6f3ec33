// Planning a split: the two halves of a list, and which border vectors belong to
// another list than before (LIRE, arXiv 2410.14452).
//
// A plan takes most of a split's time and changes nothing, so that it can be made
// from a snapshot while others write.  It names rows; where they are when it is
// carried out, ListEditor::split() finds out.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_LIST_SPLIT_H
#define PG_SEMANTIC_INDEX_LIST_SPLIT_H

#include <array>
#include <functional>
#include <map>
#include <unordered_map>
#include <vector>

#include "index/list_table.h"
#include "index/tuning.h"

namespace pg_semantic::index {

// Rows and their stored vectors, side by side.
struct Entries {
  std::vector<RowId> rows;
  std::vector<std::byte> vectors;  // [rows][vector_size]

  [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(rows.size()); }
  void add(RowId row, const std::byte* vector, size_t vector_size);
  void erase(size_t entry, size_t vector_size);  // the last takes its place
};

struct SplitPlan {
  ListId list = 0;
  bool possible = false;  // false: its vectors cannot be told apart
  std::array<std::vector<float>, 2> centroids;
  std::unordered_map<RowId, uint8_t> sides;                              // of the list's rows
  std::unordered_map<RowId, ListId> away;                                // of these, to a neighbour
  std::map<ListId, std::unordered_map<RowId, uint8_t>> from_neighbours;  // to a side
};

// `entries`: the list's.  `entries_of`: a neighbour's.
Result<SplitPlan> plan_split(const ListTable& table, const Tuning& tuning, ListId list, const Entries& entries,
                             const std::function<Result<Entries>(const ListRef&)>& entries_of);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_LIST_SPLIT_H
