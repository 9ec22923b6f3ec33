// What an index holds, listed to be compared with its table.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_ENTRIES_H
#define PG_SEMANTIC_EXTENSION_INDEX_ENTRIES_H

#include "extension/server.h"

#include "extension/index_rows.h"

namespace pg_semantic {

struct IndexEntries {
  index::ListedRow* rows;  // ascending by row
  bool* matched;           // by a row of the table
  size_t count;
};

// All of a generation, in the current memory context.
IndexEntries list_index_entries(index::GenerationId generation);

// The same of one that may be gone or damaged: false when it cannot be listed.
bool find_index_entries(index::GenerationId generation, IndexEntries* entries);

// The place of a row's entry among them; their number: it has none.
size_t find_entry(const IndexEntries& entries, index::RowId row);

// The entry of a row, marked as matched, or nullptr.
const index::ListedRow* match_entry(IndexEntries* entries, index::RowId row);

// Whether the entry was made from this content.
bool agrees(const index::ListedRow& entry, const IndexedContent& content);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_ENTRIES_H
