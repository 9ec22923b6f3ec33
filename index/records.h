// Keys and values of the RocksDB directory (index/FORMAT.md).
//
// Every decoder checks sizes and ranges and answers kCorrupt, never crashes: the
// bytes come from a disk.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_RECORDS_H
#define PG_SEMANTIC_INDEX_RECORDS_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "index/codec.h"
#include "index/engine.h"

namespace pg_semantic::index {

inline constexpr uint32_t kFormatVersion = 1;

using ListId = uint32_t;

// Column families, in the order they are created.
enum class Family : uint8_t {
  kDefault,       // "format" -> u32
  kGenerations,   // generation -> catalog record
  kLists,         // generation | list -> centroid
  kCounts,        // generation | list -> entries
  kBlocks,        // generation | list | block -> rows and codes
  kRows,          // generation | row -> kind and content hash
  kLocations,     // generation | row -> list
  kVectors,       // generation | row -> full-precision vector
  kCalibrations,  // generation -> measured probes
};
inline constexpr size_t kFamilies = 9;

std::string generation_key(GenerationId generation);
std::string list_key(GenerationId generation, ListId list);
std::string block_key(GenerationId generation, ListId list, uint32_t block);
std::string row_key(GenerationId generation, RowId row);
// The smallest key above every key of a generation; empty: there is none.
std::string generation_end_key(GenerationId generation);

Result<GenerationId> generation_of_key(std::string_view key);
Result<ListId> list_of_key(std::string_view key);
Result<RowId> row_of_key(std::string_view key);

// What a generation is and how much is in it; rewritten with every change.
struct Catalog {
  GenerationOptions options;
  ListId next_list = 0;
  uint64_t version = 0;  // counts changes: ties a list table in memory to a snapshot
  uint64_t rows = 0;
  uint64_t vectors = 0;
};
std::string encode_catalog(const Catalog& catalog);
Result<Catalog> decode_catalog(std::string_view value);

struct RowRecord {
  RowKind kind = RowKind::kVector;
  ContentHash hash{};
};
std::string encode_row(const RowRecord& row);
Result<RowRecord> decode_row(std::string_view value);

std::string encode_u32(uint32_t value);
Result<uint32_t> decode_u32(std::string_view value, const char* what);

// A posting block as it lies in the value: nothing is copied, nothing aligned.
struct BlockView {
  uint32_t count = 0;
  const char* rows = nullptr;  // count u64
  const std::byte* codes = nullptr;

  [[nodiscard]] RowId row(uint32_t i) const;
};
std::string encode_block(const RowId* rows, const std::byte* codes, uint32_t count, size_t code_size);
Result<BlockView> decode_block(std::string_view value, const CodecLayout& layout);

// `value` has exactly so many floats.
Status check_vector(std::string_view value, uint32_t dimensions);

// Probes found by measuring: the lists to visit so that this share of the true
// ten nearest is found.
struct Calibration {
  struct Point {
    float recall = 0;
    uint32_t probes = 0;
  };
  uint64_t vectors = 0;  // when it was measured
  uint32_t lists = 0;
  std::vector<Point> points;  // ascending recall
};
std::string encode_calibration(const Calibration& calibration);
Result<Calibration> decode_calibration(std::string_view value);

Status corrupt(std::string detail);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_RECORDS_H
