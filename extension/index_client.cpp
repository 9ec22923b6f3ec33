// What backends ask of the index worker, each with its message.
#include "extension/index_client.h"

extern "C" {
#include "access/xlogrecovery.h"
}

#include <algorithm>
#include <cstring>

#include "extension/index_repair.h"
#include "extension/index_requests.h"
#include "extension/index_shared_memory.h"
#include "extension/settings.h"

namespace pg_semantic {
namespace {

constexpr int kRepairs = 2;
constexpr long kNapMilliseconds = 10;
constexpr long kPlanningMilliseconds = 1000;
// Rows of one request for distances: a message of half a megabyte, a few milliseconds of the worker's time.
constexpr uint32_t kRowsAtOnce = 65536;

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

uint32_t take_listed_rows(const Reply& reply, index::ListedRow* rows, uint32_t limit) {
  const size_t count = reply.length / sizeof(index::ListedRow);
  if (count > limit) refuse_reply();
  memcpy(static_cast<void*>(rows), reply.data, count * sizeof(index::ListedRow));
  pfree(reply.data - sizeof(ReplyHeader));
  return static_cast<uint32_t>(count);
}

}  // namespace

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
      await_index_worker();
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

uint32 count_given_up_changes() { return index_shared_memory()->posted.given_up.load(); }

bool declare_index_repaired(index::GenerationId generation, uint32 given_up) {
  const DeclareRepairedHeader header = {generation, given_up, 0};
  StatusCode status = StatusCode::kOk;
  const Reply reply = exchange(RequestKind::kDeclareRepaired, {&header, sizeof(header), nullptr, 0}, false, &status);
  if (status == StatusCode::kOk) return true;
  if (status == StatusCode::kBehind) return false;
  raise_reply_error(status, reply.data, reply.length);
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

bool find_index_rows(index::GenerationId generation, index::RowId after, index::ListedRow* rows, uint32_t limit,
                     uint32_t* count) {
  const ListRowsHeader header = {generation, after, limit, 0};
  StatusCode status = StatusCode::kOk;
  const Reply reply = exchange(RequestKind::kListRows, {&header, sizeof(header), nullptr, 0}, false, &status);
  if (status == StatusCode::kOk) *count = take_listed_rows(reply, rows, limit);
  return status == StatusCode::kOk;
}

uint32_t list_index_rows(index::GenerationId generation, index::RowId after, index::ListedRow* rows, uint32_t limit) {
  const ListRowsHeader header = {generation, after, limit, 0};
  return take_listed_rows(request(RequestKind::kListRows, {&header, sizeof(header), nullptr, 0}), rows, limit);
}

bool find_index_vectors(index::GenerationId generation, std::span<const index::RowId> rows, IndexVectors* found) {
  const ReadVectorsHeader header = {generation, static_cast<uint32_t>(rows.size()), 0};
  StatusCode status = StatusCode::kOk;
  const Reply reply =
      exchange(RequestKind::kReadVectors, {&header, sizeof(header), rows.data(), rows.size_bytes()}, false, &status);
  if (status != StatusCode::kOk) return false;
  const auto said = read_reply<ReadVectorsReply>(reply);
  const size_t row_bytes = said.rows * sizeof(index::ListedRow);
  if (said.rows > rows.size() || reply.length < sizeof(said) + row_bytes) refuse_reply();
  // They lie aligned (see search_index()).
  static_assert(sizeof(ReadVectorsReply) % 8 == 0 && alignof(index::ListedRow) <= 8);
  const auto* listed = reinterpret_cast<const index::ListedRow*>(reply.data + sizeof(said));
  const auto vectors = static_cast<size_t>(std::count_if(
      listed, listed + said.rows, [](const index::ListedRow& row) { return row.kind == index::RowKind::kVector; }));
  if (reply.length != sizeof(said) + row_bytes + vectors * said.dimensions * sizeof(float)) refuse_reply();
  *found = {listed, said.rows, said.dimensions, reinterpret_cast<const float*>(listed + said.rows)};
  return true;
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

bool needs_repair_by_now(index::GenerationId generation) {
  const long elapsed = TimestampDifferenceMilliseconds(GetCurrentStatementStartTimestamp(), GetCurrentTimestamp());
  const GenerationHeader header = {generation};
  StatusCode status = StatusCode::kOk;
  Reply reply = {};
  if (!exchange_soon(RequestKind::kStatistics, {&header, sizeof(header), nullptr, 0}, kPlanningMilliseconds - elapsed,
                     &reply, &status)) {
    return false;
  }
  return status == StatusCode::kOk ? read_reply<StatisticsReply>(reply).behind != 0 : needs_repair(status);
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
