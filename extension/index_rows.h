// Rows on their way into an index: from a Datum to a change the worker applies.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_ROWS_H
#define PG_SEMANTIC_EXTENSION_INDEX_ROWS_H

#include "extension/server.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "extension/index_log.h"
#include "extension/index_metapage.h"
#include "index/engine.h"

namespace pg_semantic {

// A row that waits.  Owns its content: UTF-8 text that is still to be
// embedded, or a vector that is ready.
struct IndexRow {
  index::RowId row = 0;
  SubTransactionId subtransaction = InvalidSubTransactionId;
  bool may_be_taken_back = false;  // by INSERT ... ON CONFLICT
  index::RowKind kind = index::RowKind::kVector;
  index::ContentHash hash{};
  std::string text;
  std::vector<float> vector;

  [[nodiscard]] size_t bytes() const { return sizeof(*this) + text.size() + vector.size() * sizeof(float); }
};

// What an indexed Datum holds, in palloc'd memory.
struct IndexedContent {
  index::RowKind kind;
  index::ContentHash hash;
  std::string_view text;
  std::span<const float> vector;
};

inline index::RowId row_id(ItemPointer tid) {
  return static_cast<index::RowId>(ItemPointerGetBlockNumber(tid)) << 16 | ItemPointerGetOffsetNumber(tid);
}
inline void set_item_pointer(ItemPointer tid, index::RowId row) {
  ItemPointerSet(tid, static_cast<BlockNumber>(row >> 16), static_cast<OffsetNumber>(row & 0xFFFF));
}

// A copy of the header of a heap's tuple; false when there is none at this place, which lies within the heap.
bool read_tuple_header(Relation heap, index::RowId row, HeapTupleHeaderData* header);

// Detoasts and checks the column's value.  Errors of vector_from_array; 22000
// when `dimensions` is not 0 and the vector has another number.
IndexedContent read_content(Relation index, const IndexMetapage& metapage, Datum value, bool is_null,
                            uint32 dimensions);

// Makes `out` an owning copy, in the memory that it has if that is enough.  May throw; call inside guarded().
void copy_row(index::RowId row, const IndexedContent& content, IndexRow* out);

// Where rows go, and how a text becomes a vector there.
struct RowTarget {
  index::GenerationId generation;
  const char* fingerprint;  // of the model; "": no text comes
  uint32 dimensions;        // leading ones of an embedding that are kept
  Durability durability;
  int threads = 0;             // that embed; 0: as many as any call may use
  bool may_be_posted = false;  // see make_index_change()
};

// Embeds what is text, in batches, and applies the rows to the generation.
// Raises errors (no exception leaves it); some rows may then be applied or posted already.
void send_rows(const RowTarget& target, std::span<const IndexRow> rows);

// The rows of a table on their way into a generation, sent some thousand at a time.
struct RowCollector {
  RowTarget target;
  MemoryContext row_context;    // for what is made of one row; reset after it
  std::vector<IndexRow>* rows;  // used again and again: faults for memory given back cost more than all else
  size_t count;                 // in use
  size_t bytes;
  int64 sent;
};

// Calls produce(state), which sends what it wants by collect_row() and send_many_collected(), and sends what is left at
// the end.  The collector is a part of the state.
void collect_rows(RowCollector* collector, void (*produce)(void* state), void* state);
// Reads the table as CREATE INDEX does; `collect` is called with `state`, of which `collector` is a part, and sends
// what it wants by collect_row().  What is left is sent at the end.  Returns the number of the table's rows.
double collect_table(RowCollector* collector, Relation heap, Relation index, IndexInfo* info, bool progress,
                     IndexBuildCallback collect, void* state);
void collect_row(RowCollector* collector, ItemPointer tid, const IndexedContent& content);
// Sends what is collected if that is much, and tells whether it was.
bool send_many_collected(RowCollector* collector);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_ROWS_H
