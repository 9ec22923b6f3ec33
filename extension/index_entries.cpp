#include "extension/index_entries.h"

#include <algorithm>

#include "extension/index_client.h"

namespace pg_semantic {
namespace {

constexpr uint32 kRowsAtOnce = 4096;

// `list`: list_index_rows() or one like it, which returns false when it cannot.
template <typename List>
bool collect_entries(IndexEntries* entries, const List& list) {
  *entries = {};
  size_t capacity = kRowsAtOnce;
  entries->rows = static_cast<index::ListedRow*>(palloc(capacity * sizeof(index::ListedRow)));
  index::RowId after = 0;
  uint32 count = 0;
  do {
    if (entries->count + kRowsAtOnce > capacity) {
      capacity *= 2;
      entries->rows = static_cast<index::ListedRow*>(repalloc_huge(entries->rows, capacity * sizeof(index::ListedRow)));
    }
    if (!list(after, entries->rows + entries->count, &count)) return false;
    entries->count += count;
    if (count > 0) after = entries->rows[entries->count - 1].row;
  } while (count == kRowsAtOnce);
  entries->matched = static_cast<bool*>(MemoryContextAllocExtended(
      CurrentMemoryContext, std::max<size_t>(entries->count, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
  return true;
}

}  // namespace

IndexEntries list_index_entries(index::GenerationId generation) {
  IndexEntries entries;
  collect_entries(&entries, [generation](index::RowId after, index::ListedRow* rows, uint32* count) {
    *count = list_index_rows(generation, after, rows, kRowsAtOnce);
    return true;
  });
  return entries;
}

bool find_index_entries(index::GenerationId generation, IndexEntries* entries) {
  return collect_entries(entries, [generation](index::RowId after, index::ListedRow* rows, uint32* count) {
    return find_index_rows(generation, after, rows, kRowsAtOnce, count);
  });
}

size_t find_entry(const IndexEntries& entries, index::RowId row) {
  const index::ListedRow* end = entries.rows + entries.count;
  const index::ListedRow* found =
      std::lower_bound(static_cast<const index::ListedRow*>(entries.rows), end, row,
                       [](const index::ListedRow& listed, index::RowId wanted) { return listed.row < wanted; });
  return found == end || found->row != row ? entries.count : static_cast<size_t>(found - entries.rows);
}

const index::ListedRow* match_entry(IndexEntries* entries, index::RowId row) {
  const size_t found = find_entry(*entries, row);
  if (found == entries->count) return nullptr;
  entries->matched[found] = true;
  return &entries->rows[found];
}

bool agrees(const index::ListedRow& entry, const IndexedContent& content) {
  const bool null = content.kind == index::RowKind::kNull;
  if (null != (entry.kind == index::RowKind::kNull)) return false;
  return null || content.hash == entry.hash;
}

}  // namespace pg_semantic
