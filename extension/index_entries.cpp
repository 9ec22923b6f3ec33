#include "extension/index_entries.h"

#include <algorithm>

#include "extension/index_client.h"

namespace pg_semantic {
namespace {

constexpr uint32 kRowsAtOnce = 4096;

}  // namespace

IndexEntries list_index_entries(index::GenerationId generation) {
  IndexEntries entries = {};
  size_t capacity = kRowsAtOnce;
  entries.rows = static_cast<index::ListedRow*>(palloc(capacity * sizeof(index::ListedRow)));
  index::RowId after = 0;
  uint32 count = 0;
  do {
    if (entries.count + kRowsAtOnce > capacity) {
      capacity *= 2;
      entries.rows = static_cast<index::ListedRow*>(repalloc_huge(entries.rows, capacity * sizeof(index::ListedRow)));
    }
    count = list_index_rows(generation, after, entries.rows + entries.count, kRowsAtOnce);
    entries.count += count;
    if (count > 0) after = entries.rows[entries.count - 1].row;
  } while (count == kRowsAtOnce);
  entries.matched = static_cast<bool*>(MemoryContextAllocExtended(
      CurrentMemoryContext, std::max<size_t>(entries.count, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
  return entries;
}

const index::ListedRow* match_entry(IndexEntries* entries, index::RowId row) {
  const index::ListedRow* end = entries->rows + entries->count;
  const index::ListedRow* found =
      std::lower_bound(entries->rows, const_cast<index::ListedRow*>(end), row,
                       [](const index::ListedRow& listed, index::RowId wanted) { return listed.row < wanted; });
  if (found == end || found->row != row) return nullptr;
  entries->matched[found - entries->rows] = true;
  return found;
}

bool agrees(const index::ListedRow& entry, const IndexedContent& content) {
  const bool null = content.kind == index::RowKind::kNull;
  if (null != (entry.kind == index::RowKind::kNull)) return false;
  return null || content.hash == entry.hash;
}

}  // namespace pg_semantic
