// What backends and the index worker share: the request slots in shared memory
// and the messages in them.
//
// A slot belongs to one backend from claim to release.  Its state says whose
// turn it is; only that side touches the rest of the slot (except `cancel` and
// the progress counters, which are atomics on their own):
//
//   kFree ─claim→ kClaimed ─send→ kRequest ─a thread of the worker→ kRunning ─→ kReply ─backend→ kRequest … kFree
//                                    │ backend gives up                │ backend gives up
//                                    └→ kFree                          └→ kAbandoned ─the thread→ kFree
//   kRequest, kRunning ─a new worker finds it→ kFailed ─backend→ kFree
//
// Both sides sleep on futexes: a backend on its slot's state, the worker's threads on
// the doorbell, which is rung for every request.
//
// A logged insertion may instead be posted: left in a place of its own, for which nobody waits (PostedChange).
//
// A message longer than a slot goes in parts: every part but the last has
// `more` set and is answered by the other side with an empty part.
//
// This header is included by both libraries and holds no PostgreSQL type.
#ifndef PG_SEMANTIC_EXTENSION_WORKER_PROTOCOL_H
#define PG_SEMANTIC_EXTENSION_WORKER_PROTOCOL_H

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "extension/futex.h"
#include "index/engine.h"

namespace pg_semantic {

inline constexpr uint32_t kSlotCount = 64;
inline constexpr size_t kSlotBytes = 128 * 1024;
inline constexpr uint32_t kPostedChanges = 32;
inline constexpr size_t kPostedBytes = 64 * 1024;  // a row of kMaxDimensions and the headers
inline constexpr uint32_t kGarbageCapacity = 4096;

enum class SlotState : uint32_t { kFree, kClaimed, kRequest, kRunning, kReply, kFailed, kAbandoned };

enum class RequestKind : uint32_t {
  kApply = 1,        // body: ApplyHeader, then the change's bytes; reply: nothing
  kSync,             // body: nothing; reply: nothing
  kSearch,           // body: SearchHeader, then the query; reply: SearchReply, then hits
  kListRows,         // body: ListRowsHeader; reply: rows
  kFinishBuild,      // body: FinishBuildHeader; reply: nothing
  kStatistics,       // body: GenerationHeader; reply: StatisticsReply
  kMeasureRecall,    // body: MeasureRecallHeader; reply: float
  kCheck,            // body: GenerationHeader; reply: lines, each ended by '\n'
  kListGenerations,  // body: IndexHeader; reply: generations of that index, uint64 each
  kScoreRows,        // body: ScoreRowsHeader, the query, the rows, uint64 each, ascending; reply: hits of those there
  kRequestFinish,    // body: RequestFinishHeader; reply: nothing
  kEndRecovery,      // body: EndRecoveryHeader; reply: nothing
  kListOwners,       // body: nothing; reply: GenerationOwner of every generation
  kDeclareRepaired,  // body: DeclareRepairedHeader; reply: nothing
  kReadVectors,      // body: ReadVectorsHeader, the rows, uint64 each; reply: ReadVectorsReply, those there as rows,
                     // then the vectors of those that have one
};

// First thing of every reply.  An error is followed by message, detail and
// hint, each ended by a NUL.
struct ReplyHeader {
  uint32_t status_code;  // StatusCode
  uint32_t reserved;
};

struct ApplyHeader {
  uint64_t position;  // in PostgreSQL's log; 0: not logged
  uint32_t replayed;  // 1: from the log, by the startup process
  uint32_t reserved;
};

struct RequestFinishHeader {
  uint64_t generation;
  uint64_t position;
};

struct EndRecoveryHeader {
  uint64_t end;
};

struct GenerationHeader {
  uint64_t generation;
};

struct DeclareRepairedHeader {
  uint64_t generation;
  uint32_t given_up;  // of PostedChanges, before the table was read: kBehind if there are more by now
  uint32_t reserved;
};

struct FinishBuildHeader {
  uint64_t generation;
  uint64_t memory_bytes;  // the backend's maintenance_work_mem
};

struct IndexHeader {
  uint32_t database_oid;
  uint32_t index_oid;
};

struct GenerationOwner {
  uint64_t generation;
  uint32_t database_oid;
  uint32_t index_oid;
};

struct SearchHeader {
  uint64_t generation;
  uint32_t dimensions;
  uint32_t k;
  float recall;
  uint32_t recall_rows;
  uint32_t max_candidates;
  uint32_t reserved;
};

struct SearchReply {
  uint32_t hits;
  uint32_t exhausted;
};

struct ScoreRowsHeader {
  uint64_t generation;
  uint32_t dimensions;
  uint32_t rows;
};

struct ListRowsHeader {
  uint64_t generation;
  uint64_t after;
  uint32_t limit;
  uint32_t reserved;
};

// Rows of one such request.
inline constexpr uint32_t kMostVectorRows = 4096;

struct ReadVectorsHeader {
  uint64_t generation;
  uint32_t rows;
  uint32_t reserved;
};

struct ReadVectorsReply {
  uint32_t rows;
  uint32_t dimensions;
};

struct MeasureRecallHeader {
  uint64_t generation;
  uint32_t k;
  uint32_t samples;
  float recall;
  uint32_t reserved;
};

struct StatisticsReply {
  uint64_t rows;
  uint64_t vectors;
  uint64_t bytes;
  uint64_t memory_bytes;
  uint64_t disk_reads;
  uint64_t disk_read_bytes;
  uint32_t lists;
  uint32_t dimensions;
  uint32_t metric;
  uint32_t codec;
  uint32_t building;
  uint32_t behind;
};

struct RequestSlot {
  std::atomic<SlotState> state;
  std::atomic<uint32_t> cancel;
  RequestKind kind;
  uint32_t first;   // 1: a new message starts here
  uint32_t more;    // 1: another part follows
  uint32_t length;  // bytes used of data
  index::BuildProgress progress;
  alignas(64) std::byte data[kSlotBytes];
};

// Counts requests; who finds none sleeps until it has changed.
struct Doorbell {
  std::atomic<uint32_t> rings;
  std::atomic<uint32_t> sleepers;

  // There is a request: wakes a thread that sleeps.
  void ring() {
    rings.fetch_add(1);
    if (sleepers.load() > 0) wake_sleepers(rings, 1);
  }
};

// kFree ─a backend claims it→ kClaimed ─post→ kPosted ─a thread of the worker→ kApplying ─→ kFree
//                                                ↑ time passes, or a new worker │ it cannot be applied now
//                                                └────────── kPostponed ←───────┘
//
// The worker applies what was posted before it answers any later request that reads or removes rows of the same
// generation, and before it marks the store as holding the log up to its position; a change that cannot be applied
// stays, and both fail meanwhile.
enum class PostedState : uint32_t { kFree, kClaimed, kPosted, kApplying, kPostponed };

struct alignas(64) PostedChange {
  std::atomic<PostedState> state;
  std::atomic<uint32_t> trials;  // how often it was begun without an answer
  std::atomic<uint64_t> number;  // of the place's changes: tells one from the next
  std::atomic<uint64_t> generation;
  std::atomic<uint64_t> position;  // in PostgreSQL's log
  std::atomic<uint32_t> length;

  // There is one, which waits to be applied or is being applied.
  [[nodiscard]] bool is_there() const {
    const PostedState now = state.load();
    return now == PostedState::kPosted || now == PostedState::kApplying || now == PostedState::kPostponed;
  }
};

struct PostedChanges {
  std::atomic<uint32_t> refused;   // 1: some could not be applied; no more are to be posted
  std::atomic<uint32_t> given_up;  // how many can never be applied, whose indexes were declared behind instead
  PostedChange changes[kPostedChanges];
  alignas(64) std::byte data[kPostedChanges][kPostedBytes];

  // A thread is at one of the generation's; it looks for another one when it is done.
  [[nodiscard]] bool is_busy(uint64_t generation) const {
    for (const PostedChange& change : changes) {
      if (change.state.load() == PostedState::kApplying && change.generation.load() == generation) return true;
    }
    return false;
  }
};

// Generations that nothing can reach any more, left for the worker to remove.
struct GarbageItem {
  enum Kind : uint32_t {
    kGeneration = 1,  // drop `generation`
    kDatabase,        // drop every generation of `database_oid`
  };
  uint32_t kind;
  uint32_t database_oid;
  uint64_t generation;
};

// What the worker's library is told when it starts.
struct WorkerSettings {
  uint64_t memory_bytes;
  uint32_t threads;
};

// A checkpoint in the log that is being replayed: the store is to be marked and copied.
struct ReplayedCheckpoint {
  uint64_t position;
  uint64_t redo;
  uint32_t complete;
};

// What the startup process says of its replay of the log, for a worker that starts meanwhile.
struct ReplayState {
  uint64_t redo;    // where it begins
  uint64_t backup;  // where the backup began that it starts from; 0: none
};

static_assert(std::atomic<SlotState>::is_always_lock_free);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_WORKER_PROTOCOL_H
