// Decoding of logged changes (the encoders are public, in engine.h).
//
// A change comes from a log, so it is checked whole before anything is applied.
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_CHANGE_H
#define PG_SEMANTIC_INDEX_CHANGE_H

#include <functional>
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
  std::span<const std::byte> bytes;  // what was decoded; not owned
  ChangeKind kind = ChangeKind::kInsertRows;
  GenerationId generation = 0;
  LogPosition position = 0;      // to be noted with the change; 0: no need.  Not decoded
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

// Where a row's content hash and its vector begin in the bytes of a logged row.
inline constexpr size_t kSpooledHashOffset = 8;
inline constexpr size_t kSpooledVectorOffset = 32;

// How many rows that is: visit_rows() visits so many or fails.
Result<uint32_t> count_rows(std::span<const std::byte> change);

// Calls visit(row, kind, its bytes) for the rows of a change that was decoded before, in place: an inserted row's
// bytes are kSpooledVectorOffset and, with a vector, `dimensions` floats long; a deleted row has none (null).
Status visit_rows(std::span<const std::byte> change, size_t dimensions,
                  const std::function<void(RowId row, RowKind kind, const std::byte* bytes)>& visit);

Result<DecodedChange> decode_change(std::span<const std::byte> bytes);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_CHANGE_H
