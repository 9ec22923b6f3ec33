// The backend's end of the request slots.
//
// No C++ object with a destructor lives across a PostgreSQL call here: buffers
// are palloc'd, the slot is given back by a PG_TRY block or at process exit.
#include "extension/index_requests.h"

extern "C" {
#include "postmaster/startup.h"
}

#include <algorithm>
#include <cstring>

#include "extension/guard.h"
#include "extension/index_client.h"
#include "extension/index_shared_memory.h"

namespace pg_semantic {
namespace {

constexpr int kWorkerStartMilliseconds = 30000;
constexpr int kAttempts = 5;
constexpr long kPollMilliseconds = 100;
constexpr int kWaitMilliseconds = 10;
constexpr int kWaitsBetweenLooks = 20;

RequestSlot* held_slot = nullptr;

// What a wait looks at.  Replay has interrupts of its own.
void check_for_interrupts() {
  if (AmStartupProcess()) {
    HandleStartupProcInterrupts();
  } else {
    CHECK_FOR_INTERRUPTS();
  }
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

// False: none came in this time.
bool wait_for_worker(long milliseconds) {
  IndexSharedMemory* shared = index_shared_memory();
  if (shared->worker_number.load() >= 0) return true;
  ConditionVariablePrepareToSleep(&shared->worker_ready);
  for (long waited = 0; shared->worker_number.load() < 0 && waited < milliseconds; waited += kPollMilliseconds) {
    // A postmaster that hears of a worker's end just before it goes to sleep starts the next one only when something
    // wakes it, up to a minute later.
    if (waited > 0) SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE);
    ConditionVariableTimedSleep(&shared->worker_ready, kPollMilliseconds, PG_WAIT_EXTENSION);
    check_for_interrupts();
  }
  ConditionVariableCancelSleep();
  return shared->worker_number.load() >= 0;
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
// Sends one request and receives its reply.  False: the worker died over it.
bool attempt(RequestKind kind, const Message& message, bool show_progress, Reply* reply, StatusCode* status) {
  char* data = nullptr;
  size_t length = 0;
  bool done = false;
  claim_slot();
  PG_TRY();
  { done = send_message(held_slot, kind, message) && receive_reply(held_slot, show_progress, &data, &length); }
  PG_FINALLY();
  { release_slot(); }
  PG_END_TRY();
  if (!done) return false;
  ReplyHeader header;
  if (length < sizeof(header)) refuse_reply();
  memcpy(&header, data, sizeof(header));
  *status = static_cast<StatusCode>(header.status_code);
  *reply = {data + sizeof(header), length - sizeof(header)};
  return true;
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
  if (wait_for_worker(kWorkerStartMilliseconds)) return;
  ereport(ERROR,
          (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the pg_semantic index worker is not running"),
           errdetail("No worker became ready within %d seconds.", kWorkerStartMilliseconds / 1000),
           errhint("The server log says why it stopped; it is started again once a second.")));
}

uint32_t await_numbered_worker() {
  await_index_worker();
  return index_shared_memory()->workers.load();
}

bool is_still_ready(uint32_t worker) {
  const IndexSharedMemory* shared = index_shared_memory();
  // In this order: one that becomes ready has its number first.
  return shared->worker_number.load() >= 0 && shared->workers.load() == worker;
}

bool post_change(std::span<const std::byte> change, index::GenerationId generation, XLogRecPtr position,
                 uint32_t worker) {
  IndexSharedMemory* shared = index_shared_memory();
  PostedChanges& posted = shared->posted;
  if (change.size() > kPostedBytes || posted.refused.load() != 0) return false;
  for (PostedChange& place : posted.changes) {
    PostedState expected = PostedState::kFree;
    if (place.state.load(std::memory_order_relaxed) != expected ||
        !place.state.compare_exchange_strong(expected, PostedState::kClaimed))
      continue;
    ++place.number;
    place.trials = 0;
    place.generation = generation;
    place.position = position;
    place.length = static_cast<uint32_t>(change.size());
    memcpy(posted.data[&place - posted.changes], change.data(), change.size());
    place.state = PostedState::kPosted;
    if (!posted.is_busy(generation)) shared->doorbell.ring();
    // A worker applies what was posted before it stops: this was, if it has not begun to.  Else the next one will; but
    // it is not taken back, since by now it may be another's.
    return is_still_ready(worker);
  }
  return false;
}

[[noreturn]] void refuse_reply() {
  ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("invalid reply from the index worker")));
  pg_unreachable();
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

Reply exchange(RequestKind kind, const Message& message, bool show_progress, StatusCode* status) {
  Reply reply = {};
  for (int i = 0; i < kAttempts; ++i) {
    await_index_worker();
    if (attempt(kind, message, show_progress, &reply, status)) return reply;
  }
  ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                  errmsg("the pg_semantic index worker stopped while it worked on the request"),
                  errdetail("The request was sent %d times.", kAttempts),
                  errhint("The server log says why the worker stopped.")));
  pg_unreachable();
}

bool exchange_soon(RequestKind kind, const Message& message, long milliseconds, Reply* reply, StatusCode* status) {
  return wait_for_worker(milliseconds) && attempt(kind, message, false, reply, status);
}

Reply request(RequestKind kind, const Message& message, bool show_progress) {
  StatusCode status = StatusCode::kOk;
  const Reply reply = exchange(kind, message, show_progress, &status);
  if (status != StatusCode::kOk) {
    CHECK_FOR_INTERRUPTS();
    raise_reply_error(status, reply.data, reply.length);
  }
  return reply;
}

StatusCode status_of(RequestKind kind, const Message& message) {
  StatusCode status = StatusCode::kOk;
  exchange(kind, message, false, &status);
  return status;
}

}  // namespace pg_semantic
