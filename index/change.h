// Decoding of logged changes (the encoders are public, in engine.h).
//
// A change comes from a log, so it is checked whole before anything is applied.
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_CHANGE_H
#define PG_SEMANTIC_INDEX_CHANGE_H

#include <span>
#include <vector>

#include "index/engine.h"

namespace pg_semantic::index {

// One row of an insert; the vector is owned, because the log's bytes are not
// aligned for floats.
struct DecodedRow {
  RowId row = 0;
  RowKind kind = RowKind::kVector;
  ContentHash hash{};
  size_t vector_offset = 0;  // into DecodedChange::floats
};

struct DecodedChange {
  ChangeKind kind = ChangeKind::kInsertRows;
  GenerationId generation = 0;
  GenerationOptions options;     // kCreateGeneration
  uint32_t dimensions = 0;       // kInsertRows: width of every vector; 0: no vector in it
  std::vector<DecodedRow> rows;  // kInsertRows
  std::vector<float> floats;     // kInsertRows
  std::vector<RowId> deleted;    // kDeleteRows

  [[nodiscard]] std::span<const float> vector(const DecodedRow& row) const {
    if (row.kind != RowKind::kVector) return {};
    return {floats.data() + row.vector_offset, dimensions};
  }
};

Result<DecodedChange> decode_change(std::span<const std::byte> bytes);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CHANGE_H
