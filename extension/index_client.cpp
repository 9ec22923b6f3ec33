// The backend's end of the request slots.
//
// No C++ object with a destructor lives across a PostgreSQL call here: buffers
// are palloc'd, the slot is given back by a PG_TRY block or at process exit.
#include "extension/index_client.h"

extern "C" {
#include "access/xlogrecovery.h"
#include "postmaster/startup.h"
}

#include <algorithm>
#include <cstring>

#include "extension/guard.h"
#include "extension/index_repair.h"
#include "extension/index_shared_memory.h"
#include "extension/settings.h"

namespace pg_semantic {
namespace {

constexpr int kWorkerStartMilliseconds = 30000;
constexpr int kAttempts = 5;
constexpr int kRepairs = 2;
constexpr long kNapMilliseconds = 10;
constexpr long kPollMilliseconds = 100;
constexpr int kWaitMilliseconds = 10;
constexpr int kWaitsBetweenLooks = 20;
// Rows of one request for distances: a message of half a megabyte, a few milliseconds of the worker's time.
constexpr uint32_t kRowsAtOnce = 65536;

RequestSlot* held_slot = nullptr;

struct Message {
  const void* header;
  size_t header_length;
  const void* body;
  size_t body_length;
};

struct Reply {
  char* data;  // after the ReplyHeader; palloc'd
  size_t length;
};

// What a wait looks at.  Replay has interrupts of its own.
void check_for_interrupts() {
  if (AmStartupProcess()) {
    HandleStartupProcInterrupts();
  } else {
    CHECK_FOR_INTERRUPTS();
  }
}

// A reply whose sizes do not fit what was asked.
[[noreturn]] void refuse_reply() {
  ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("invalid reply from the index worker")));
  pg_unreachable();
}

// Gives the slot back, whoever's turn it is.
void release_slot() {
  RequestSlot* slot = held_slot;
  if (slot == nullptr) return;
  held_slot = nullptr;
  slot->cancel.store(1);
  SlotState state = slot->state.load();
  for (;;) {
    const SlotState next = state == SlotState::kRunning ? SlotState::kAbandoned : SlotState::kFree;
    if (slot->state.compare_exchange_weak(state, next)) break;
  }
  if (state != SlotState::kRunning) ConditionVariableBroadcast(&index_shared_memory()->slot_freed);
}

void release_slot_at_exit(int code, Datum argument) { release_slot(); }

void wait_for_worker() {
  IndexSharedMemory* shared = index_shared_memory();
  if (shared->worker_number.load() >= 0) return;
  int waited = 0;
  ConditionVariablePrepareToSleep(&shared->worker_ready);
  while (shared->worker_number.load() < 0) {
    ConditionVariableTimedSleep(&shared->worker_ready, kPollMilliseconds, PG_WAIT_EXTENSION);
    check_for_interrupts();
    waited += kPollMilliseconds;
    if (waited >= kWorkerStartMilliseconds) {
      ConditionVariableCancelSleep();
      ereport(ERROR,
              (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the pg_semantic index worker is not running"),
               errdetail("No worker became ready within %d seconds.", kWorkerStartMilliseconds / 1000),
               errhint("The server log says why it stopped; it is started again every second.")));
    }
  }
  ConditionVariableCancelSleep();
}

// The first free slot, or nullptr.
RequestSlot* try_to_claim() {
  for (RequestSlot& slot : index_shared_memory()->slots) {
    SlotState expected = SlotState::kFree;
    if (slot.state.load(std::memory_order_relaxed) == expected &&
        slot.state.compare_exchange_strong(expected, SlotState::kClaimed))
      return &slot;
  }
  return nullptr;
}

void claim_slot() {
  static bool exit_callback_registered = false;
  if (!exit_callback_registered) {
    before_shmem_exit(release_slot_at_exit, 0);
    exit_callback_registered = true;
  }
  RequestSlot* slot = try_to_claim();
  if (slot == nullptr) {
    IndexSharedMemory* shared = index_shared_memory();
    ConditionVariablePrepareToSleep(&shared->slot_freed);
    // A slot that the worker frees is not announced.
    while ((slot = try_to_claim()) == nullptr)
      ConditionVariableTimedSleep(&shared->slot_freed, kPollMilliseconds, PG_WAIT_EXTENSION);
    ConditionVariableCancelSleep();
  }
  held_slot = slot;
  slot->cancel.store(0);
  slot->progress.phase.store(0);
  slot->progress.done.store(0);
  slot->progress.total.store(0);
}

void report_build_progress(const RequestSlot* slot) {
  const uint32_t phase = slot->progress.phase.load();
  if (phase == 0) return;
  // Subphase 1 is core's "initializing", 2 the heap scan.
  const int columns[] = {PROGRESS_CREATEIDX_SUBPHASE, PROGRESS_CREATEIDX_TUPLES_TOTAL, PROGRESS_CREATEIDX_TUPLES_DONE};
  const int64 values[] = {static_cast<int64>(phase) + 2, static_cast<int64>(slot->progress.total.load()),
                          static_cast<int64>(slot->progress.done.load())};
  pgstat_progress_update_multi_param(3, columns, values);
}

// Waits for the worker's turn to end.  False: the worker died over it.
bool wait_for_reply(RequestSlot* slot, bool show_progress) {
  for (int waits = 1;; ++waits) {
    const SlotState state = slot->state.load();
    if (state == SlotState::kReply) return true;
    if (state == SlotState::kFailed) return false;
    if (show_progress) report_build_progress(slot);
    // A signal does not end the sleep: what it asks for is looked at this often.
    pgstat_report_wait_start(PG_WAIT_EXTENSION);
    wait_while(slot->state, state, kWaitMilliseconds);
    pgstat_report_wait_end();
    check_for_interrupts();
    if (waits % kWaitsBetweenLooks != 0) continue;
    if (!PostmasterIsAlive()) proc_exit(1);  // as WL_EXIT_ON_PM_DEATH does
    // The next one may not come: whoever asks it waits for it first, and not for ever.
    if (index_shared_memory()->worker_number.load() < 0) return false;
  }
}

void hand_over(RequestSlot* slot) {
  slot->state.store(SlotState::kRequest);
  index_shared_memory()->doorbell.ring();
}

// Sends the message in parts.  False: the worker died.
bool send_message(RequestSlot* slot, RequestKind kind, const Message& message) {
  const size_t total = message.header_length + message.body_length;
  size_t sent = 0;
  do {
    const size_t part = std::min(kSlotBytes, total - sent);
    for (size_t i = 0; i < part;) {
      const size_t position = sent + i;
      const bool in_header = position < message.header_length;
      const char* source = in_header ? static_cast<const char*>(message.header) + position
                                     : static_cast<const char*>(message.body) + (position - message.header_length);
      const size_t length = std::min(part - i, (in_header ? message.header_length : total) - position);
      memcpy(slot->data + i, source, length);
      i += length;
    }
    slot->kind = kind;
    slot->first = sent == 0;
    sent += part;
    slot->more = sent < total;
    slot->length = static_cast<uint32_t>(part);
    hand_over(slot);
    if (slot->more != 0 && !wait_for_reply(slot, false)) return false;
  } while (sent < total);
  return true;
}

// Receives the reply's parts.  False: the worker died.
bool receive_reply(RequestSlot* slot, bool show_progress, char** data, size_t* length) {
  size_t capacity = 0;
  *data = nullptr;
  *length = 0;
  for (;;) {
    if (!wait_for_reply(slot, show_progress)) return false;
    const uint32_t part = slot->length;
    if (part > kSlotBytes) refuse_reply();
    if (*length + part > capacity) {
      capacity = std::max(*length + part, capacity * 2);
      *data = static_cast<char*>(*data == nullptr
                                     ? MemoryContextAllocHuge(CurrentMemoryContext, std::max<size_t>(capacity, 1))
                                     : repalloc_huge(*data, capacity));
    }
    if (part > 0) memcpy(*data + *length, slot->data, part);
    *length += part;
    if (slot->more == 0) return true;
    slot->first = 0;
    slot->more = 0;
    slot->length = 0;
    hand_over(slot);
  }
}

[[noreturn]] void raise_reply_error(StatusCode code, const char* data, size_t length) {
  const char* texts[3] = {"", "", ""};
  size_t position = 0;
  for (auto& text : texts) {
    if (position >= length) break;
    text = data + position;
    position += strnlen(text, length - position) + 1;
  }
  // The last text is ended by a NUL, or the reply is refused as a whole.
  if (length == 0 || data[length - 1] != '\0') {
    refuse_reply();
  }
  ereport(ERROR,
          (errcode(sqlstate_of(code)), errmsg("%s", texts[0]), texts[1][0] == '\0' ? 0 : errdetail("%s", texts[1]),
           texts[2][0] == '\0' ? 0 : errhint("%s", texts[2])));
}

// One request and its reply, whatever its status.
Reply exchange(RequestKind kind, const Message& message, bool show_progress, StatusCode* status) {
  require_index_worker();
  char* data = nullptr;
  size_t length = 0;
  bool done = false;
  for (int attempt = 0; attempt < kAttempts && !done; ++attempt) {
    wait_for_worker();
    claim_slot();
    PG_TRY();
    { done = send_message(held_slot, kind, message) && receive_reply(held_slot, show_progress, &data, &length); }
    PG_FINALLY();
    { release_slot(); }
    PG_END_TRY();
  }
  if (!done) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("the pg_semantic index worker stopped while it worked on the request"),
                    errdetail("The request was sent %d times.", kAttempts),
                    errhint("The server log says why the worker stopped.")));
  }
  ReplyHeader header;
  if (length < sizeof(header)) refuse_reply();
  memcpy(&header, data, sizeof(header));
  *status = static_cast<StatusCode>(header.status_code);
  return {data + sizeof(header), length - sizeof(header)};
}

// The same for those who need an answer: a failure is raised.
Reply request(RequestKind kind, const Message& message, bool show_progress = false) {
  StatusCode status = StatusCode::kOk;
  const Reply reply = exchange(kind, message, show_progress, &status);
  if (status != StatusCode::kOk) {
    CHECK_FOR_INTERRUPTS();
    raise_reply_error(status, reply.data, reply.length);
  }
  return reply;
}

// The same for replay, which goes on whatever the answer.
StatusCode status_of(RequestKind kind, const Message& message) {
  StatusCode status = StatusCode::kOk;
  exchange(kind, message, false, &status);
  return status;
}

void nap() {
  WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kNapMilliseconds, PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
}

// The worker has the store open, knows all that replay could not do, and on a standby the tables are as the store is:
// it may have been ahead of where replay began.
void await_usable_store() {
  await_index_worker();
  IndexSharedMemory* shared = index_shared_memory();
  while (shared->replay_failed.load() != 0) nap();
  if (!RecoveryInProgress()) return;
  while (GetXLogReplayRecPtr(nullptr) < shared->store_position.load() && RecoveryInProgress()) nap();
}

// What a reader asks of an index.
Reply ask(Relation index, RequestKind kind, const Message& message) {
  for (int repairs = 0;;) {
    await_usable_store();
    StatusCode status = StatusCode::kOk;
    const Reply reply = exchange(kind, message, false, &status);
    if (status == StatusCode::kOk) return reply;
    if (status == StatusCode::kNotReady) {
      nap();
    } else if (needs_repair(status) && repairs < kRepairs) {
      repair_index(index, status == StatusCode::kCorrupt);
      ++repairs;
    } else {
      CHECK_FOR_INTERRUPTS();
      raise_reply_error(status, reply.data, reply.length);
    }
  }
}

template <typename T>
T read_reply(const Reply& reply) {
  T value;
  if (reply.length < sizeof(T)) refuse_reply();
  memcpy(&value, reply.data, sizeof(T));
  return value;
}

}  // namespace

void require_index_worker() {
  if (index_shared_memory() == nullptr) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("semantic indexes need pg_semantic to be preloaded"),
                    errdetail("The server was started without pg_semantic in shared_preload_libraries."),
                    errhint("Add pg_semantic to shared_preload_libraries in postgresql.conf and restart the server.")));
  }
}

void await_index_worker() {
  require_index_worker();
  wait_for_worker();
}

void apply_index_change(std::span<const std::byte> change, XLogRecPtr position) {
  const ApplyHeader header = {position, 0, 0};
  const Message message = {&header, sizeof(header), change.data(), change.size()};
  StatusCode status = StatusCode::kOk;
  const Reply reply = exchange(RequestKind::kApply, message, false, &status);
  // Data that was lost is made anew from the table, with these rows, before it is searched.
  if (status != StatusCode::kOk && status != StatusCode::kNotFound) {
    CHECK_FOR_INTERRUPTS();
    raise_reply_error(status, reply.data, reply.length);
  }
  pfree(reply.data - sizeof(ReplyHeader));
}

void sync_index_changes() {
  if (enableFsync) request(RequestKind::kSync, {nullptr, 0, nullptr, 0});
}

void await_abandoned_changes() {
  for (RequestSlot& slot : index_shared_memory()->slots) {
    while (slot.state.load() == SlotState::kAbandoned) {
      wait_for_worker();
      nap();
    }
  }
}

StatusCode replay_index_change(std::span<const std::byte> change, XLogRecPtr position) {
  const ApplyHeader header = {position, 1, 0};
  return status_of(RequestKind::kApply, {&header, sizeof(header), change.data(), change.size()});
}

StatusCode request_index_finish(index::GenerationId generation, XLogRecPtr position) {
  const RequestFinishHeader header = {generation, position};
  return status_of(RequestKind::kRequestFinish, {&header, sizeof(header), nullptr, 0});
}

StatusCode end_index_recovery(XLogRecPtr end) {
  const EndRecoveryHeader header = {end};
  return status_of(RequestKind::kEndRecovery, {&header, sizeof(header), nullptr, 0});
}

void declare_index_repaired(index::GenerationId generation) {
  const GenerationHeader header = {generation};
  request(RequestKind::kDeclareRepaired, {&header, sizeof(header), nullptr, 0});
}

ScanHits search_index(Relation index, index::GenerationId generation, std::span<const float> query, uint32_t k,
                      uint32_t recall_rows) {
  const SearchHeader header = {generation,
                               static_cast<uint32_t>(query.size()),
                               k,
                               static_cast<float>(settings.recall),
                               recall_rows,
                               static_cast<uint32_t>(settings.max_candidates),
                               0};
  const Reply reply = ask(index, RequestKind::kSearch, {&header, sizeof(header), query.data(), query.size_bytes()});
  const auto found = read_reply<SearchReply>(reply);
  const size_t bytes = static_cast<size_t>(found.hits) * sizeof(index::SearchHit);
  if (reply.length != sizeof(found) + bytes) {
    refuse_reply();
  }
  // palloc'd data begins MAXALIGNed, and both headers are multiples of 8 bytes: the hits lie aligned in it.
  static_assert(sizeof(ReplyHeader) % 8 == 0 && sizeof(SearchReply) % 8 == 0 && alignof(index::SearchHit) <= 8);
  return {reinterpret_cast<index::SearchHit*>(reply.data + sizeof(found)), found.hits, found.exhausted != 0};
}

uint64_t score_index_rows(Relation index, index::GenerationId generation, std::span<const float> query,
                          const index::RowId* rows, uint64_t count, index::SearchHit* hits) {
  uint64_t found = 0;
  for (uint64_t first = 0; first < count; first += kRowsAtOnce) {
    const auto asked = static_cast<uint32_t>(std::min<uint64_t>(kRowsAtOnce, count - first));
    const ScoreRowsHeader header = {generation, static_cast<uint32_t>(query.size()), asked};
    const size_t body_length = query.size_bytes() + asked * sizeof(index::RowId);
    auto* body = static_cast<char*>(palloc(body_length));
    memcpy(body, query.data(), query.size_bytes());
    memcpy(body + query.size_bytes(), rows + first, asked * sizeof(index::RowId));
    const Reply reply = ask(index, RequestKind::kScoreRows, {&header, sizeof(header), body, body_length});
    const size_t answered = reply.length / sizeof(index::SearchHit);
    if (answered > asked || reply.length % sizeof(index::SearchHit) != 0) refuse_reply();
    memcpy(static_cast<void*>(hits + found), reply.data, reply.length);
    found += answered;
    pfree(reply.data - sizeof(ReplyHeader));
    pfree(body);
  }
  return found;
}

uint32_t list_index_rows(index::GenerationId generation, index::RowId after, index::ListedRow* rows, uint32_t limit) {
  const ListRowsHeader header = {generation, after, limit, 0};
  const Reply reply = request(RequestKind::kListRows, {&header, sizeof(header), nullptr, 0});
  const size_t count = reply.length / sizeof(index::ListedRow);
  if (count > limit) refuse_reply();
  memcpy(static_cast<void*>(rows), reply.data, count * sizeof(index::ListedRow));
  pfree(reply.data - sizeof(ReplyHeader));
  return static_cast<uint32_t>(count);
}

void finish_index_build(index::GenerationId generation) {
  const FinishBuildHeader header = {generation, static_cast<uint64_t>(maintenance_work_mem) * 1024};
  request(RequestKind::kFinishBuild, {&header, sizeof(header), nullptr, 0}, true);
}

StatisticsReply index_statistics(Relation index, index::GenerationId generation) {
  const GenerationHeader header = {generation};
  return read_reply<StatisticsReply>(ask(index, RequestKind::kStatistics, {&header, sizeof(header), nullptr, 0}));
}

bool find_index_statistics(index::GenerationId generation, StatisticsReply* statistics) {
  const GenerationHeader header = {generation};
  StatusCode status = StatusCode::kOk;
  const Reply reply = exchange(RequestKind::kStatistics, {&header, sizeof(header), nullptr, 0}, false, &status);
  if (status == StatusCode::kNotFound) return false;
  if (status != StatusCode::kOk) raise_reply_error(status, reply.data, reply.length);
  *statistics = read_reply<StatisticsReply>(reply);
  return true;
}

float measure_index_recall(Relation index, index::GenerationId generation, uint32_t k, uint32_t samples) {
  const MeasureRecallHeader header = {generation, k, samples, static_cast<float>(settings.recall), 0};
  return read_reply<float>(ask(index, RequestKind::kMeasureRecall, {&header, sizeof(header), nullptr, 0}));
}

const index::GenerationId* list_index_generations(Oid database, Oid index, uint32_t* count) {
  const IndexHeader header = {database, index};
  const Reply reply = request(RequestKind::kListGenerations, {&header, sizeof(header), nullptr, 0});
  *count = static_cast<uint32_t>(reply.length / sizeof(index::GenerationId));
  return reinterpret_cast<const index::GenerationId*>(reply.data);
}

const GenerationOwner* list_generation_owners(uint32_t* count) {
  const Reply reply = request(RequestKind::kListOwners, {nullptr, 0, nullptr, 0});
  *count = static_cast<uint32_t>(reply.length / sizeof(GenerationOwner));
  return reinterpret_cast<const GenerationOwner*>(reply.data);
}

bool index_is_readable(index::GenerationId generation) {
  const GenerationHeader header = {generation};
  StatusCode status = StatusCode::kOk;
  const Reply reply = exchange(RequestKind::kCheck, {&header, sizeof(header), nullptr, 0}, false, &status);
  if (status == StatusCode::kNotFound) return true;  // there is nothing
  if (status == StatusCode::kCorrupt) return false;
  if (status != StatusCode::kOk) raise_reply_error(status, reply.data, reply.length);
  return reply.length == 0;
}

char* check_index_storage(index::GenerationId generation) {
  const GenerationHeader header = {generation};
  const Reply reply = request(RequestKind::kCheck, {&header, sizeof(header), nullptr, 0});
  return pnstrdup(reply.data, reply.length);
}

}  // namespace pg_semantic
