// The index engine: vectors of many indexes ("generations") in one RocksDB
// directory, found again through FAISS.
//
// One process opens a directory at a time.  A generation is the content of one
// build of one PostgreSQL index; it is named by a random 64-bit number, never by
// an OID.  Rows are named by their TID.  The bytes on disk: index/FORMAT.md.
//
// Sources: SPANN (arXiv 2111.08566) and SPFresh/LIRE (arXiv 2410.14452) for
// lists that grow, split and reassign; Faiss (arXiv 2401.08281) for k-means,
// centroids and inverted lists.
//
// Thread safety: every function of Engine may be called from any thread.
// Writers of one generation are serialised inside, and wait for one short step of
// the background at most; readers wait for neither.
#ifndef PG_SEMANTIC_INDEX_ENGINE_H
#define PG_SEMANTIC_INDEX_ENGINE_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "encoder/status.h"

namespace pg_semantic::index {

using GenerationId = uint64_t;  // 0: none
using RowId = uint64_t;         // TID: block number << 16 | offset number
using LogPosition = uint64_t;   // of the end of a record in PostgreSQL's log, in bytes; 0: none
using ContentHash = std::array<std::byte, 16>;

// Why a row has no vector, or that it has one.  Values are on disk.
enum class RowKind : uint8_t {
  kVector = 0,
  kNull = 1,         // the column is NULL: returned last, without a distance
  kNoDirection = 2,  // a zero vector under cosine: distance NaN, after every number
};

// Values are on disk and on the wire.
enum class Metric : uint8_t { kCosine = 0, kL2 = 1, kInnerProduct = 2 };
enum class Codec : uint8_t { kF32 = 0, kF16 = 1, kSq8 = 2, kBit = 3 };

inline constexpr uint32_t kMaxDimensions = 16000;

struct GenerationOptions {
  uint32_t database_oid = 0;
  uint32_t index_oid = 0;
  uint32_t dimensions = 0;  // 0: taken from the first vector
  Metric metric = Metric::kCosine;
  Codec codec = Codec::kBit;
  bool building = false;  // rows are only collected until finish_build()
};

// One logged change: a self-contained, idempotent record.  `apply` is the only
// way into the data; a resource manager can replay the same bytes.
struct RowChange {
  RowId row = 0;
  RowKind kind = RowKind::kVector;
  ContentHash hash{};             // of what was indexed; compared by check()
  std::span<const float> vector;  // empty unless kVector
};

enum class ChangeKind : uint8_t { kCreateGeneration = 1, kInsertRows = 2, kDeleteRows = 3, kDropGeneration = 4 };

// Serialise a change.  A batch of rows has one generation and one width.
std::vector<std::byte> encode_create(GenerationId generation, const GenerationOptions& options);
std::vector<std::byte> encode_insert(GenerationId generation, std::span<const RowChange> rows);
std::vector<std::byte> encode_delete(GenerationId generation, std::span<const RowId> rows);
std::vector<std::byte> encode_drop(GenerationId generation);

// What a serialised change is about.  Bytes too few for one: nullopt.
struct ChangeHeader {
  ChangeKind kind = ChangeKind::kInsertRows;
  uint32_t count = 0;  // rows
  GenerationId generation = 0;
};
std::optional<ChangeHeader> read_header(std::span<const std::byte> change);

struct LoggedInsertion {
  std::span<const std::byte> change;
  LogPosition position = 0;
};

// How far the directory is known to hold what the log says.
struct Mark {
  LogPosition position = 0;    // every change up to here is on the disk
  LogPosition checkpoint = 0;  // so is every change before this checkpoint's redo position, which may lie farther
  bool complete = false;       // nothing was applied since: the engine was closed in order, or a recovery ended
  uint64_t closing = 0;        // which close in order; 0: none.  For who keeps it elsewhere, too, to tell old copies

  bool operator==(const Mark&) const = default;
};

struct SearchRequest {
  GenerationId generation = 0;
  std::span<const float> query;
  uint32_t k = 10;              // how many rows; more than there are is fine
  float recall = 0.95f;         // aimed at; 1: exact
  uint32_t recall_rows = 10;    // of so many first rows
  uint32_t max_candidates = 0;  // cap on the exact second pass; 0: choose
};

// `distance` is computed in double from the stored vector (index/codec.h):
// cosine 1 - cos; L2 the Euclidean distance; inner product its negative.
struct SearchHit {
  RowId row = 0;
  double distance = 0;
  double error = 0;  // at least the difference from the distance to the vector that was inserted
  RowKind kind = RowKind::kVector;
  ContentHash hash{};
};

struct SearchResult {
  std::vector<SearchHit> hits;  // ascending distance, then kNoDirection, then kNull; ties by row
  bool exhausted = false;       // no row of the generation is missing from hits
};

struct GenerationStatistics {
  GenerationId generation = 0;
  GenerationOptions options;
  uint64_t rows = 0;     // all kinds
  uint64_t vectors = 0;  // kVector
  uint32_t lists = 0;
  uint64_t bytes = 0;         // on disk, estimated by RocksDB, memtables included
  uint64_t memory_bytes = 0;  // centroids and list tables
  // Since the engine was opened: blocks that reads and writes of this generation took from files because the cache
  // did not have them, and their bytes.  The operating system may have had them in memory.
  uint64_t disk_reads = 0;
  uint64_t disk_read_bytes = 0;
  bool behind = false;  // see declare_behind()
};

struct ListedRow {
  RowId row = 0;
  RowKind kind = RowKind::kVector;
  ContentHash hash{};
  uint32_t list =
      0;  // where its vector lay when it was listed: read_vectors() is fastest for rows of one list together
};

struct StoredVectors {
  std::vector<ListedRow> rows;
  uint32_t dimensions = 0;
  std::vector<float> vectors;  // [rows of kVector, dimensions]
};

// Phases of finish_build, for pg_stat_progress_create_index.
enum class BuildPhase : uint32_t { kSampling = 1, kClustering = 2, kAssigning = 3, kWriting = 4, kCalibrating = 5 };

// Written by the engine, read by anybody.
struct BuildProgress {
  std::atomic<uint32_t> phase{0};
  std::atomic<uint64_t> done{0};
  std::atomic<uint64_t> total{0};
};

// What finish_build() may use.
struct BuildRequest {
  GenerationId generation = 0;
  // Bounds the anonymous memory that the build takes, centroids and their graph aside; less than kLeastBuildMemory
  // counts as that.  What grows with the rows lies in temporary files beside RocksDB's, mapped.
  uint64_t memory_bytes = 64ull << 20;
};
inline constexpr uint64_t kLeastBuildMemory = 16ull << 20;

using Interrupted = std::function<bool()>;  // thread-safe; true: stop soon

// Whether the directory can be written.  What has failed once stays so until the directory is opened again; what
// was written before is read all the time.
enum class StoreState {
  kWritable,
  kFailed,   // a file could not be written: no room, perhaps
  kDamaged,  // a file could not be read when it was to be written anew, nor can it be after opening
  kBroken,   // memory was missing while RocksDB wrote: it may wait for ever, even to be closed; the process must end
};

struct EngineOptions {
  std::string path;                      // directory, made if missing
  uint64_t memory_bytes = 256ull << 20;  // block cache and write buffers together
  uint32_t threads = 2;                  // for builds and background work
  bool compacts = true;                  // false: files are not merged before start_compacting()
};

class Engine {
 public:
  // Opens or creates the directory.  Threads it starts inherit the caller's
  // signal mask.
  static Result<std::unique_ptr<Engine>> open(const EngineOptions& options);
  virtual ~Engine() = default;

  // Applies one change.  `sync`: durable when this returns (group commit), but for what a generation that is being
  // built collects, which set_mark() and finish_build() make durable.
  // kInvalidArgument: widths differ (detail says both) or the bytes are not a
  // change; kNotFound: no such generation.  Inserting a row that is there
  // replaces it; deleting one that is not, dropping a generation that is not:
  // no error.
  // `position`: of the change's record in PostgreSQL's log, which may not have reached the disk yet; the change can be
  // undone until a mark covers it.  Positions come in any order, but for changes of one row.
  virtual Status apply(std::span<const std::byte> change, LogPosition position, bool sync) = 0;
  // The same for insertions into one generation, together, for which less is to be done than one by one.  After an
  // error some may be applied. kInvalidArgument as well: a change is no insertion, or of another generation.
  virtual Status apply_insertions(std::span<const LoggedInsertion> insertions) = 0;
  // A change that no log has.
  Status apply(std::span<const std::byte> change, bool sync) { return apply(change, LogPosition{0}, sync); }
  virtual Status sync() = 0;

  [[nodiscard]] virtual StoreState state() const = 0;
  virtual Status start_compacting() = 0;

  // The mark as it was when the directory was opened; {0, 0, true} of a new directory.
  [[nodiscard]] virtual Mark found_mark() const = 0;
  // The greatest position that was applied and not undone, as found when the directory was opened; at least
  // found_mark().position.
  [[nodiscard]] virtual LogPosition found_position() const = 0;

  // Notes how far the directory holds what the log says.  The caller says so for changes whose apply() has returned,
  // and marks do not go back.  A mark that is found after a crash is true: what it covers is on the disk before it is.
  // `sync`: so it is, and every change applied before the call, when this returns.  The next change ends `complete`;
  // a mark that is complete waits for changes that are being applied.
  // kIoError, kDiskFull: the mark may be the old one or the new one.
  virtual Status set_mark(const Mark& mark, bool sync) = 0;

  // PostgreSQL's recovery has replayed its log up to its end.  Changes beyond it, which the log has lost, are undone:
  // inserted rows are deleted, created generations dropped; a generation of which rows were deleted or replaced is
  // declared behind, all are if the mark that was found lies beyond the end.  Then the mark is {end, end, true}, on the
  // disk.  After an error it may be called again.
  virtual Status end_recovery(LogPosition end) = 0;

  // From now on, for all generations (one), on the disk: rows may be missing, or be there that should not.  Searching,
  // scoring and measuring of such a generation are refused (kBehind), all else goes on, until the caller has put its
  // rows right and says so.  The log must be on the disk up to the changes of the repair before: were they lost with
  // the end of the log, they would be undone.  kNotFound: no such generation.
  virtual Status declare_behind() = 0;
  virtual Status declare_behind(GenerationId generation) = 0;
  virtual Status declare_repaired(GenerationId generation) = 0;

  // Turns collected rows into lists: sample, k-means, assign, write, calibrate.  Until then a generation that is
  // `building` is not searched (kBehind) and lists no rows.
  virtual Status finish_build(const BuildRequest& request, BuildProgress* progress, const Interrupted& interrupted) = 0;
  // With the memory that is usual.
  Status finish_build(GenerationId generation, BuildProgress* progress, const Interrupted& interrupted) {
    return finish_build(BuildRequest{.generation = generation}, progress, interrupted);
  }
  // The same in the background, as it is asked for by the log: returns when it is noted that the generation is to be
  // finished, which outlasts a restart as a change does (see apply() for `position`).  Until it is built, changes are
  // collected, and searching, scoring and measuring are refused (kNotReady).  What fails is tried again.  No such
  // generation, or one that is built: no error.
  virtual Status request_finish(GenerationId generation, LogPosition position) = 0;

  // Copies everything that was applied before the call to a new directory on the disk, which is a store of its own;
  // files are shared with this one by hard links where they do not change.  What is applied meanwhile may be in it.
  // kInvalidArgument: there is something under that name.  After an error there is no such directory.
  virtual Status copy_to(const std::string& directory) = 0;

  virtual Result<SearchResult> search(const SearchRequest& request, const Interrupted& interrupted) const = 0;

  // The results of search() for each request, in their order and equal in every bit, all from one view of the
  // generation.  A list that several of them visit is read once or a few times for all; so are rows that are read
  // whole.  Requests of any number: they are run in portions that hold about 16 MB beside their results.
  // kInvalidArgument: their generations differ.  An error that one of them would end with alone is the batch's; a
  // query that is not usable is found before anything is searched.
  virtual Result<std::vector<SearchResult>> search_batch(std::span<const SearchRequest> requests,
                                                         const Interrupted& interrupted) const = 0;

  // Those of `rows` that the generation has, in their order: exact distances, whatever `recall` is.
  virtual Result<std::vector<SearchHit>> score_rows(GenerationId generation, std::span<const float> query,
                                                    std::span<const RowId> rows,
                                                    const Interrupted& interrupted) const = 0;

  // Rows after `after` (0: from the start; row 0 is never used), ascending, at
  // most `limit`; fewer than limit: that was all.
  virtual Result<std::vector<ListedRow>> list_rows(GenerationId generation, RowId after, uint32_t limit) const = 0;

  // Those of `rows` that the generation has, in their order, with their vectors as they are stored: inserted again into
  // a generation of the same options, they are stored with the same values.  Also of a generation that is behind; one
  // that is being built has no rows.
  virtual Result<StoredVectors> read_vectors(GenerationId generation, std::span<const RowId> rows,
                                             const Interrupted& interrupted) const = 0;

  // Compares posting blocks, row records and counters; one line a problem.
  virtual Result<std::vector<std::string>> check(GenerationId generation, const Interrupted& interrupted) const = 0;

  // Share of the true k nearest that search() finds, over `samples` stored
  // vectors, each left out of its own result.  NaN: fewer than two vectors.
  virtual Result<float> measure_recall(GenerationId generation, uint32_t k, uint32_t samples, float recall,
                                       const Interrupted& interrupted) const = 0;

  virtual Result<GenerationStatistics> statistics(GenerationId generation) const = 0;
  virtual std::vector<GenerationStatistics> generations() const = 0;

  // Does what the background has to do without waiting for its time, and returns when that is done: lists split,
  // merged and tidied, recall measured, graphs over centroids made, garbage compacted.  What failed waits to be
  // tried again and is not waited for.  Searches are correct without; tests and benchmarks want a settled index.
  virtual void wait_for_maintenance() = 0;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_ENGINE_H
