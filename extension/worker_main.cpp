// The index worker's process: PostgreSQL on the main thread, the engine on the
// request threads.
//
// The main thread alone calls PostgreSQL: it waits for its latch, takes garbage and keeps the store beside the log.
// It calls the engine through another thread, so that it can end the process even where RocksDB hangs.
// Request threads take requests out of the slots, compute, put replies back and wake
// the backends, which sleep on futexes: a request costs two changes of context.  They also
// apply the changes that backends have posted, for which nobody sleeps.  Every
// thread but the main one runs with all signals blocked.
#include "extension/index_shared_memory.h"

extern "C" {
#include "access/xlogrecovery.h"
#include "postmaster/interrupt.h"
}

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "encoder/blocked_signals.h"
#include "extension/log_records.h"
#include "extension/worker_aside.h"
#include "extension/worker_log.h"
#include "extension/worker_posted.h"
#include "extension/worker_requests.h"
#include "extension/worker_store.h"
#include "index/thread_failure.h"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void pg_semantic_worker_main(Datum argument, pg_semantic::IndexSharedMemory* shared,
                                         const pg_semantic::WorkerSettings* settings);
}

namespace pg_semantic {
namespace {

constexpr uint32_t kRequestThreads = 6;
constexpr int kSleepMilliseconds = 1000;
constexpr size_t kKeptBytes = 2 << 20;
constexpr long kStartMilliseconds = 10;
constexpr unsigned kEndSeconds = 5;
constexpr uint32_t kFirstPauseSeconds = 10;
constexpr uint32_t kLongestPauseSeconds = 600;

// A slot's conversation, as the worker sees it.  Owned by the thread that has set the
// slot to kRunning.
struct Conversation {
  std::vector<std::byte> request;  // keeps room for another one of its size, within kKeptBytes
  std::vector<std::byte> reply;
  size_t sent = 0;  // of reply
  bool begun = false;

  void begin() {
    end();
    begun = true;
  }
  void end() {
    request.clear();
    if (request.capacity() > kKeptBytes) request.shrink_to_fit();
    reply = {};
    sent = 0;
    begun = false;
  }
};

// A failure that each compaction meets would end one worker after another.  So the next one does without for a while,
// twice as long each time, and forgets about it when compactions have gone well for as long.
class CompactionPause {
 public:
  explicit CompactionPause(std::atomic<uint32_t>* seconds) : seconds_(*seconds) {}

  void lengthen() { seconds_ = std::clamp(2 * seconds_, kFirstPauseSeconds, kLongestPauseSeconds); }
  [[nodiscard]] uint32_t seconds() const { return seconds_; }

  // To be called now and then.
  void tick(index::Engine* engine, Aside& aside) {
    const auto passed = std::chrono::steady_clock::now() - begin_;
    const std::chrono::seconds pause(seconds_.load());
    if (seconds_ == 0 || passed < pause) return;
    if (!is_over_) {
      is_over_ = aside([engine] { return engine->start_compacting(); }).is_ok();
      if (is_over_) ereport(LOG, (errmsg("the semantic index store is compacted again")));
    } else if (passed >= 2 * pause) {
      seconds_ = 0;
    }
  }

 private:
  std::atomic<uint32_t>& seconds_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  bool is_over_ = false;
};

class Worker {
 public:
  Worker(IndexSharedMemory* shared, std::unique_ptr<index::Engine> engine, Aside* aside, uint64_t redo)
      : shared_(shared),
        engine_(std::move(engine)),
        aside_(*aside),
        posted_(&shared->posted, &shared->doorbell, engine_.get(), &changes_),
        keeper_(shared, engine_.get(), &posted_, aside, &changes_, redo) {}

  ~Worker() { stop(); }

  void start_threads() {
    for (uint32_t i = 0; i < kRequestThreads; ++i) threads_.emplace_back([this] { run(); });
  }

  // Requests that a predecessor left unanswered: their senders ask again.  What was posted, nobody else has.
  void take_requests_over() {
    posted_.take_over();
    shared_->doorbell.sleepers.store(0);
    for (RequestSlot& slot : shared_->slots) {
      for (SlotState state = slot.state.load();
           state == SlotState::kRequest || state == SlotState::kRunning || state == SlotState::kAbandoned;) {
        const SlotState next = state == SlotState::kAbandoned ? SlotState::kFree : SlotState::kFailed;
        if (!slot.state.compare_exchange_weak(state, next)) continue;
        wake_sleepers(slot.state);
        break;
      }
    }
  }

  // Cancels what runs, joins the threads, applies what is posted, closes the engine.  Nobody posts any more.
  void stop() {
    stopping_ = true;
    shared_->doorbell.rings.fetch_add(1);
    wake_sleepers(shared_->doorbell.rings);
    const Status settled = aside_([this] {
      for (std::thread& thread : threads_) thread.join();
      return posted_.settle(0, [] { return false; });
    });
    threads_.clear();
    keeper_.finish(settled.is_ok());
    aside_.end_if_broken();  // a store that the last mark has broken may not be closed
    std::unique_ptr<index::Engine> engine = std::move(engine_);
    aside_([&engine] { engine.reset(); });
  }

  // Whether threads may wait for ever, because RocksDB could not go on.
  bool is_broken() const { return engine_ != nullptr && engine_->state() == index::StoreState::kBroken; }

  // Whether the store could not be written but a successor could open it, which alone helps, or it is damaged.
  bool must_reopen() {
    if (engine_->state() == index::StoreState::kWritable) return false;
    return engine_->state() == index::StoreState::kDamaged || store_may_be_opened();
  }

  index::Engine* engine() { return engine_.get(); }
  LogKeeper& keeper() { return keeper_; }

  // What could not be applied is tried again.
  void retry_posted_changes() {
    const bool has_room = engine_->state() == index::StoreState::kWritable && store_has_room();
    if (posted_.retry(has_room)) shared_->doorbell.ring();
    const std::string complaint = posted_.take_complaint();
    if (complaint.empty()) return;
    ereport(LOG, (errmsg("could not apply a change of a semantic index: %s", complaint.c_str()),
                  errdetail("Its transaction may have committed: the index is not read before the change is applied "
                            "or the index repaired.")));
  }

  // Hands garbage to the threads.
  void take_garbage() {
    for (;;) {
      GarbageItem item = {};
      SpinLockAcquire(&shared_->garbage_lock);
      const bool found = shared_->garbage_count > 0;
      if (found) {
        item = shared_->garbage[shared_->garbage_head];
        shared_->garbage_head = (shared_->garbage_head + 1) % kGarbageCapacity;
        --shared_->garbage_count;
      }
      SpinLockRelease(&shared_->garbage_lock);
      if (!found) return;
      if (item.kind == GarbageItem::kGeneration) {
        drop(item.generation);
        continue;
      }
      for (const index::GenerationStatistics& one : aside_([this] { return engine_->generations(); })) {
        if (one.options.database_oid == item.database_oid) drop(one.generation);
      }
    }
  }

 private:
  // Ends this thread's turn: for the backend, or, when it has given up, for nobody.
  void hand_over(RequestSlot& slot, SlotState next = SlotState::kReply) {
    SlotState expected = SlotState::kRunning;
    if (slot.state.compare_exchange_strong(expected, next)) {
      wake_sleepers(slot.state);
    } else {
      conversations_[&slot - shared_->slots] = {};
      slot.state.store(SlotState::kFree);
    }
  }

  void send_part(RequestSlot& slot, Conversation& conversation) {
    const size_t part = std::min(kSlotBytes, conversation.reply.size() - conversation.sent);
    std::memcpy(slot.data, conversation.reply.data() + conversation.sent, part);
    conversation.sent += part;
    slot.length = static_cast<uint32_t>(part);
    slot.more = conversation.sent < conversation.reply.size() ? 1 : 0;
    if (slot.more == 0) conversation.end();
    hand_over(slot);
  }

  void serve(RequestSlot& slot) {
    Conversation& conversation = conversations_[&slot - shared_->slots];
    if (slot.first == 0 && conversation.sent < conversation.reply.size()) {
      send_part(slot, conversation);  // the backend has taken a part of the reply
      return;
    }
    if (slot.first != 0) conversation.begin();
    if (!conversation.begun) {  // a part for a worker that is no more
      hand_over(slot, SlotState::kFailed);
      return;
    }
    const uint32_t length = slot.length <= kSlotBytes ? slot.length : 0;
    conversation.request.insert(conversation.request.end(), slot.data, slot.data + length);
    if (slot.more != 0) {
      slot.length = 0;
      hand_over(slot);
      return;
    }
    const auto interrupted = [this, &slot] { return slot.cancel.load() != 0 || stopping_.load(); };
    conversation.reply = answer(slot, conversation.request, interrupted);
    if (slot.kind == RequestKind::kApply || slot.kind == RequestKind::kRequestFinish) ++changes_;
    if (stopping_) return;  // it may have been cut off: the next worker has its sender ask again
    send_part(slot, conversation);
  }

  std::vector<std::byte> answer(RequestSlot& slot, const std::vector<std::byte>& request,
                                const index::Interrupted& interrupted) {
    index::GenerationId generation = 0;
    if (asks_after_posted_changes(slot.kind, request, &generation)) {
      const Status settled = posted_.settle(generation, interrupted);
      if (!settled.is_ok()) return refuse_request(settled);
    }
    std::unique_lock<std::mutex> no_more_given_up;
    if (slot.kind == RequestKind::kDeclareRepaired && request.size() == sizeof(DeclareRepairedHeader)) {
      no_more_given_up = posted_.keep_from_giving_up();
      DeclareRepairedHeader header;
      std::memcpy(&header, request.data(), sizeof(header));
      if (header.given_up != shared_->posted.given_up)
        return refuse_request({StatusCode::kBehind, "semantic index lacks changes made while it was repaired"});
    }
    return execute_request(*engine_, slot.kind, request, &slot.progress, interrupted);
  }

  bool serve_a_slot() {
    for (RequestSlot& slot : shared_->slots) {
      SlotState expected = SlotState::kRequest;
      if (slot.state.load(std::memory_order_relaxed) != expected ||
          !slot.state.compare_exchange_strong(expected, SlotState::kRunning))
        continue;
      serve(slot);
      return true;
    }
    return false;
  }

  // A removed generation: logged, for standbys, and left to the threads.
  void drop(index::GenerationId generation) {
    const std::vector<std::byte> change = index::encode_drop(generation);
    const uint64_t position = write_log_record(LogRecord::kDrop, change.data(), change.size());
    {
      const std::lock_guard lock(mutex_);
      garbage_.push_back({generation, position});
    }
    shared_->doorbell.ring();
  }

  bool remove_garbage() {
    Garbage garbage;
    {
      const std::lock_guard lock(mutex_);
      if (garbage_.empty()) return false;
      garbage = garbage_.front();
      garbage_.pop_front();
    }
    drop_generation(*engine_, garbage.generation, garbage.position);
    ++changes_;
    return true;
  }

  // A request thread.
  void run() {
    Doorbell& doorbell = shared_->doorbell;
    while (!stopping_) {
      const uint32_t rings = doorbell.rings.load();
      // Requests first: somebody waits for them, and they see to what is posted themselves.
      if (serve_a_slot() || posted_.apply_one() || remove_garbage()) continue;
      if (is_broken()) index::wait_for_the_end();
      doorbell.sleepers.fetch_add(1);
      if (!stopping_) wait_while(doorbell.rings, rings, kSleepMilliseconds);
      doorbell.sleepers.fetch_sub(1);
    }
  }

  IndexSharedMemory* shared_;
  std::unique_ptr<index::Engine> engine_;
  Aside& aside_;
  Conversation conversations_[kSlotCount];
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  struct Garbage {
    index::GenerationId generation;
    uint64_t position;
  };
  std::deque<Garbage> garbage_;  // under mutex_
  std::atomic<uint64_t> changes_{0};
  PostedApplier posted_;
  LogKeeper keeper_;
  std::atomic<bool> stopping_{false};
};

Aside* aside = nullptr;
Worker* worker = nullptr;

bool is_broken() { return index::a_thread_has_failed() || (worker != nullptr && worker->is_broken()); }

// Threads go on until the process is gone, and nothing of theirs is taken from them.
void end_without_teardown(int code, Datum argument) { _exit(code); }

// However the process ends, no thread may run while it is torn down, unless nothing is.
void stop_worker(int code, Datum argument) {
  auto* shared = reinterpret_cast<IndexSharedMemory*>(DatumGetPointer(argument));
  shared->worker_number.store(-1);
  if (is_broken()) {
    on_proc_exit(end_without_teardown, 0);
  } else {
    delete worker;
    delete aside;
  }
  worker = nullptr;
  aside = nullptr;
}

// Left alone, glibc raises both to tens of megabytes once something large was freed, and each thread's heap keeps as
// much.  Blocks of the index and messages stay below the first: the pages of one that has been done with serve the
// next.  (With 1 and 2 MB, faults for pages just given back were half of what collecting the rows of a build took.)
void give_freed_memory_back() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 2 << 20);
  mallopt(M_TRIM_THRESHOLD, 4 << 20);
#endif
}

// Ends the process so that the next one opens the store again; until then whoever asks waits.
[[noreturn]] void reopen_store(IndexSharedMemory* shared) {
  const bool failed = index::a_thread_has_failed();
  const bool damaged = !is_broken() && worker->engine()->state() == index::StoreState::kDamaged;
  ereport(LOG, (errmsg("the semantic index store is opened again, because %s",
                       failed        ? "a thread of the index worker has called abort()"
                       : is_broken() ? "there was no memory to write it"
                                     : "it could not be written"),
                failed ? errdetail("What the thread said, if anything, stands above.") : 0));
  if (!damaged) CompactionPause(&shared->compaction_pause).lengthen();
  ShutdownRequestPending = true;  // nobody is waited for
  stop_worker(0, PointerGetDatum(shared));
  if (damaged) give_store_up();
  proc_exit(1);
}

// Until the startup process has said from where it replays the log, or does not replay it.
void wait_for_recovery_to_begin(IndexSharedMemory* shared) {
  while (shared->recovery_begun.load() == 0 && RecoveryInProgress()) {
    if (ShutdownRequestPending) proc_exit(1);
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kStartMilliseconds, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
  }
}

// From here on requests are served.  Recovery that ended before is taken note of first; one that ends after asks for
// it.
void get_ready(IndexSharedMemory* shared, index::Engine* engine) {
#if PG_VERSION_NUM >= 170000
  const int number = MyProcNumber;
#else
  const int number = MyProc->pgprocno;
#endif
  for (;;) {
    SpinLockAcquire(&shared->recovery_lock);
    const uint64_t end = shared->recovery_end;
    shared->recovery_end = 0;
    if (end == 0) {
      ++shared->workers;
      shared->worker_number.store(number);
    }
    SpinLockRelease(&shared->recovery_lock);
    if (end == 0) break;
    const Status status = (*aside)([&] { return engine->end_recovery(end); });
    if (!status.is_ok()) shared->replay_failed.store(1);
  }
  ConditionVariableBroadcast(&shared->worker_ready);
  ereport(LOG, (errmsg("pg_semantic index worker is ready")));
}

}  // namespace
}  // namespace pg_semantic

extern "C" void pg_semantic_worker_main(Datum argument, pg_semantic::IndexSharedMemory* shared,
                                        const pg_semantic::WorkerSettings* settings) {
  using namespace pg_semantic;
  give_freed_memory_back();
  index::outlive_threads(kEndSeconds);
  wait_for_recovery_to_begin(shared);
  const ReplayState recovery = shared->recovery;
  aside = new Aside([shared] {
    if (is_broken()) reopen_store(shared);
  });
  before_shmem_exit(stop_worker, PointerGetDatum(shared));
  CompactionPause pause(&shared->compaction_pause);
  if (pause.seconds() != 0) {
    ereport(LOG, (errmsg("the semantic index store is not compacted for %u seconds", pause.seconds()),
                  errdetail("It had to be opened again after a failure.")));
  }
  std::unique_ptr<index::Engine> engine =
      open_store(*settings, recovery, shared->workers == 0, pause.seconds() == 0, *aside);
  shared->store_position.store(engine->found_position());
  worker = new Worker(shared, std::move(engine), aside, recovery.redo);
  worker->take_requests_over();  // before there are new ones
  get_ready(shared, worker->engine());
  {
    const encoder::BlockedSignals blocked;
    worker->start_threads();
  }

#if PG_VERSION_NUM >= 170000
  WaitEventSet* events = CreateWaitEventSet(nullptr, 2);
#else
  WaitEventSet* events = CreateWaitEventSet(TopMemoryContext, 2);
#endif
  AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
  AddWaitEventToSet(events, WL_POSTMASTER_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
  while (!ShutdownRequestPending) {
    if (is_broken() || worker->must_reopen()) reopen_store(shared);
    pause.tick(worker->engine(), *aside);
    worker->retry_posted_changes();
    worker->take_garbage();
    worker->keeper().tick();
    WaitEvent event;
    const int count = WaitEventSetWait(events, LogKeeper::kTickMilliseconds, &event, 1, PG_WAIT_EXTENSION);
    if (count == 0) continue;
    if (event.events & WL_POSTMASTER_DEATH) {
      worker->keeper().let_checkpoints_go();
      _exit(1);  // acknowledged changes are in RocksDB's log
    }
    if (event.events & WL_LATCH_SET) ResetLatch(MyLatch);
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
  }
  proc_exit(1);  // 0 would mean: never start it again
}
