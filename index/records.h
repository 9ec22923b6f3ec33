// Keys and values of the RocksDB directory (index/FORMAT.md).
//
// Every decoder checks sizes and ranges and answers kCorrupt, never crashes: the
// bytes come from a disk.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_INDEX_RECORDS_H
#define PG_SEMANTIC_INDEX_RECORDS_H

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "index/codec.h"
#include "index/engine.h"

namespace pg_semantic::index {

inline constexpr uint32_t kFormatVersion = 4;

using ListId = uint32_t;

// Column families, in the order they are created.
enum class Family : uint8_t {
  kDefault,       // "format" -> u32; what ties the directory to a log (log_records.h)
  kGenerations,   // generation -> catalog record
  kLists,         // generation | list -> centroid
  kCounts,        // generation | list -> list record
  kCodes,         // generation | list | block -> rows and codes
  kVectors,       // generation | list | block -> stored vectors, in the same order
  kRows,          // generation | row -> kind, content hash, list
  kCalibrations,  // generation -> measured thresholds
};
inline constexpr size_t kFamilies = 8;

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
  uint64_t trained = 0;    // vectors there were when the lists were trained by k-means; 0: never
  bool finishing = false;  // while options.building: it is to be finished in the background
  bool behind = false;     // rows may be missing, or be there that should not
};
std::string encode_catalog(const Catalog& catalog);
Result<Catalog> decode_catalog(std::string_view value);

struct RowRecord {
  RowKind kind = RowKind::kVector;
  ContentHash hash{};
  ListId list = 0;  // kVector only
};
std::string encode_row(const RowRecord& row);
Result<RowRecord> decode_row(std::string_view value);

std::string encode_u32(uint32_t value);
Result<uint32_t> decode_u32(std::string_view value, const char* what);

// How the entries of a list lie in blocks: full ones, then tails, each but the
// last more than twice as long as the next.  An append makes a new tail of its own
// and takes up those before it that are no longer than that; so an entry is
// rewritten a number of times that grows with the logarithm of a block's size
// (Bentley and Saxe, "Decomposable searching problems", 1980).
struct BlockSizes {
  static constexpr uint32_t kMostTails = 8;
  uint32_t full = 0;
  uint32_t tail_count = 0;
  std::array<uint32_t, kMostTails> tails{};

  [[nodiscard]] uint32_t blocks() const { return full + tail_count; }
  [[nodiscard]] uint32_t of_block(uint32_t block, uint32_t full_size) const {
    return block < full ? full_size : tails[block - full];
  }
  [[nodiscard]] uint64_t entries(uint32_t full_size) const;
  // Whether an append of so many entries takes up the last tail.
  [[nodiscard]] bool takes_up_tail(uint64_t appended) const {
    return tail_count > 0 && (tails[tail_count - 1] <= 2 * appended || tail_count == kMostTails);
  }
  void remove_tail() { tails[--tail_count] = 0; }
  // When no tail is taken up (any more).
  void append(uint64_t appended, uint32_t full_size);
};

// What the counter of a list says.
struct ListRecord {
  BlockSizes sizes;
  uint32_t dead = 0;  // entries whose row is 0
};
std::string encode_list(const ListRecord& list);
Result<ListRecord> decode_list(std::string_view value, const CodecLayout& layout);

// A posting block as it lies in the value: nothing is copied, nothing aligned.
struct BlockView {
  uint32_t count = 0;
  const char* rows = nullptr;  // count u64; 0: a dead entry
  const std::byte* codes = nullptr;

  [[nodiscard]] RowId row(uint32_t i) const;
};
std::string encode_block(const RowId* rows, const std::byte* codes, uint32_t count, size_t code_size);
Result<BlockView> decode_block(std::string_view value, const CodecLayout& layout);

// A block begins with the number of its entries and the size of an element.
inline constexpr size_t kBlockHeaderBytes = 2 * sizeof(uint32_t);

// Reads these; of what is left of the value each
// entry has `bytes_of_entry`.
Result<uint32_t> decode_block_header(std::string_view value, const char* what, size_t element_size,
                                     size_t bytes_of_entry, const CodecLayout& layout);

// `value` has exactly so many floats.
Status check_vector(std::string_view value, uint32_t dimensions);

// Found by measuring: how far lists must be visited to find a share of the true ten
// nearest.  A list's cost is what lies in the lists before it, times how much farther
// from the query it is than the nearest one (probing.h, probing_cost()); lists are
// visited up to a cost.  Queries that lie between many lists so see more of them.
// The same is measured for kDeepRows rows; for other numbers the cost is taken to
// grow as a power of them.
struct Calibration {
  static constexpr size_t kRows = 10;
  static constexpr size_t kDeepRows = 200;
  struct Point {
    float recall = 0;
    float cost = 0;       // of the first kRows
    float deep_cost = 0;  // of the first kDeepRows
  };
  uint64_t vectors = 0;  // when it was measured
  uint32_t lists = 0;
  float gap = 0;              // what counts as far: the mean gap of the kGapRank-th nearest list
  std::vector<Point> points;  // ascending recall
};
std::string encode_calibration(const Calibration& calibration);
Result<Calibration> decode_calibration(std::string_view value);

Status corrupt(std::string detail);

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_RECORDS_H
