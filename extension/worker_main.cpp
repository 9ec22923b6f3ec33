// The index worker's process: PostgreSQL on the main thread, the engine on the
// request threads.
//
// The main thread alone calls PostgreSQL: it waits for its latch, takes complete
// requests out of the slots and puts replies back.  Request threads compute; an
// eventfd tells the main thread that a reply is there.  Every thread but the
// main one runs with all signals blocked.
#include "extension/index_shared_memory.h"

extern "C" {
#include "postmaster/interrupt.h"
}

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "extension/worker_requests.h"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void pg_semantic_worker_main(Datum argument, pg_semantic::IndexSharedMemory* shared,
                                         const pg_semantic::WorkerSettings* settings);
}

namespace pg_semantic {
namespace {

constexpr uint32_t kRequestThreads = 6;

// A slot's conversation, as the worker sees it.  Owned by the main thread,
// lent to a request thread between dispatch and completion.
struct Conversation {
  std::vector<std::byte> request;
  std::vector<std::byte> reply;
  size_t sent = 0;  // of reply
  bool running = false;
};

// What a request thread is asked to do: a slot's request, or a piece of garbage.
struct Job {
  int32_t slot = -1;
  RequestKind kind{};
  GarbageItem garbage{};
};

class Worker {
 public:
  Worker(IndexSharedMemory* shared, std::unique_ptr<index::Engine> engine)
      : shared_(shared), engine_(std::move(engine)), completed_event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

  ~Worker() { stop(); }

  [[nodiscard]] int completed_event() const { return completed_event_; }

  void start_threads() {
    for (uint32_t i = 0; i < kRequestThreads; ++i) threads_.emplace_back([this] { run_jobs(); });
  }

  // Cancels what runs, joins the threads, closes the engine.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    job_added_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    engine_.reset();
  }

  // Requests that a predecessor left unanswered: their senders ask again.
  void fail_orphaned_requests() {
    for (RequestSlot& slot : shared_->slots) {
      SlotState expected = SlotState::kRequest;
      if (slot.state.compare_exchange_strong(expected, SlotState::kFailed)) {
        SetLatch(&GetPGProcByNumber(slot.backend_number)->procLatch);
      } else if (expected == SlotState::kAbandoned) {
        free_slot(slot);
      }
    }
  }

  void serve() {
    drain_event();
    finish_completed();
    for (uint32_t i = 0; i < kSlotCount; ++i) serve_slot(i);
    take_garbage();
  }

 private:
  void free_slot(RequestSlot& slot) {
    slot.state.store(SlotState::kFree);
    ConditionVariableBroadcast(&shared_->slot_freed);
  }

  void serve_slot(uint32_t number) {
    RequestSlot& slot = shared_->slots[number];
    Conversation& conversation = conversations_[number];
    if (conversation.running) return;
    const SlotState state = slot.state.load();
    if (state == SlotState::kAbandoned) {
      free_slot(slot);
      return;
    }
    if (state != SlotState::kRequest) return;
    if (conversation.sent < conversation.reply.size() && slot.first == 0) {
      send_part(slot, conversation);  // the backend has taken a part of the reply
      return;
    }
    if (slot.first != 0) conversation = {};
    const uint32_t length = slot.length <= kSlotBytes ? slot.length : 0;
    conversation.request.insert(conversation.request.end(), slot.data, slot.data + length);
    if (slot.more != 0) {
      slot.length = 0;
      hand_over(slot);
      return;
    }
    conversation.running = true;
    add_job({static_cast<int32_t>(number), slot.kind, {}});
  }

  void send_part(RequestSlot& slot, Conversation& conversation) {
    const size_t part = std::min(kSlotBytes, conversation.reply.size() - conversation.sent);
    std::memcpy(slot.data, conversation.reply.data() + conversation.sent, part);
    conversation.sent += part;
    slot.length = static_cast<uint32_t>(part);
    slot.more = conversation.sent < conversation.reply.size() ? 1 : 0;
    if (slot.more == 0) conversation = {};
    hand_over(slot);
  }

  void hand_over(RequestSlot& slot) {
    const int32_t backend = slot.backend_number;
    SlotState expected = SlotState::kRequest;
    if (slot.state.compare_exchange_strong(expected, SlotState::kReply)) {
      SetLatch(&GetPGProcByNumber(backend)->procLatch);
    } else if (expected == SlotState::kAbandoned) {
      free_slot(slot);
    }
  }

  void finish_completed() {
    std::deque<int32_t> completed;
    {
      const std::lock_guard lock(mutex_);
      completed.swap(completed_);
    }
    for (const int32_t number : completed) {
      conversations_[number].running = false;
      send_part(shared_->slots[number], conversations_[number]);
    }
  }

  void take_garbage() {
    for (;;) {
      GarbageItem item;
      SpinLockAcquire(&shared_->garbage_lock);
      const bool found = shared_->garbage_count > 0;
      if (found) {
        item = shared_->garbage[shared_->garbage_head];
        shared_->garbage_head = (shared_->garbage_head + 1) % kGarbageCapacity;
        --shared_->garbage_count;
      }
      SpinLockRelease(&shared_->garbage_lock);
      if (!found) return;
      add_job({-1, {}, item});
    }
  }

  void add_job(Job job) {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(job);
    }
    job_added_.notify_one();
  }

  void drain_event() {
    uint64_t count = 0;
    while (read(completed_event_, &count, sizeof(count)) == sizeof(count)) {
    }
  }

  // A request thread.
  void run_jobs() {
    for (;;) {
      Job job;
      {
        std::unique_lock lock(mutex_);
        job_added_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (stopping_) return;
        job = jobs_.front();
        jobs_.pop_front();
      }
      if (job.slot < 0) {
        execute_garbage(*engine_, job.garbage);
        continue;
      }
      RequestSlot& slot = shared_->slots[job.slot];
      Conversation& conversation = conversations_[job.slot];
      const auto interrupted = [this, &slot] { return slot.cancel.load() != 0 || stopping_.load(); };
      conversation.reply = execute_request(*engine_, job.kind, conversation.request, &slot.progress, interrupted);
      conversation.request.clear();
      {
        const std::lock_guard lock(mutex_);
        completed_.push_back(job.slot);
      }
      const uint64_t one = 1;
      (void)!write(completed_event_, &one, sizeof(one));
    }
  }

  IndexSharedMemory* shared_;
  std::unique_ptr<index::Engine> engine_;
  Conversation conversations_[kSlotCount];
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable job_added_;
  std::deque<Job> jobs_;           // under mutex_
  std::deque<int32_t> completed_;  // under mutex_
  std::atomic<bool> stopping_{false};
  int completed_event_;
};

Worker* worker = nullptr;

// However the process ends, no thread may run while it is torn down.
void stop_worker(int code, Datum argument) {
  auto* shared = reinterpret_cast<IndexSharedMemory*>(DatumGetPointer(argument));
  shared->worker_number.store(-1);
  delete worker;
  worker = nullptr;
}

std::string index_directory() { return std::string(DataDir) + "/pg_semantic/index"; }

// Opens the engine with every signal blocked, so that its threads inherit that.
Worker* open_worker(IndexSharedMemory* shared, const WorkerSettings& settings, Status* status) {
  index::EngineOptions options;
  options.path = index_directory();
  options.memory_bytes = settings.memory_bytes;
  options.threads = settings.threads;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  Worker* opened = nullptr;
  try {
    Result<std::unique_ptr<index::Engine>> engine = index::Engine::open(options);
    if (engine) {
      opened = new Worker(shared, std::move(engine).value());
      opened->start_threads();
    } else {
      *status = engine.status();
    }
  } catch (const std::exception& error) {
    *status = {StatusCode::kInternal, "could not start the index engine", error.what()};
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return opened;
}

// A damaged store (restored from an inconsistent copy, for example), or one of another
// version's format, is put aside, not removed: its indexes are then "lost" until they are built again,
// and everything else goes on.
void put_damaged_store_aside(const Status& status) {
  const std::string from = index_directory();
  const std::string to = from + ".damaged." + std::to_string(static_cast<long>(time(nullptr)));
  if (rename(from.c_str(), to.c_str()) != 0) {
    ereport(FATAL,
            (errcode_for_file_access(), errmsg("could not rename \"%s\" to \"%s\": %m", from.c_str(), to.c_str())));
  }
  ereport(
      LOG,
      (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the semantic index store cannot be used: %s", status.message().c_str()),
       status.detail().empty() ? 0 : errdetail("%s", status.detail().c_str()),
       errhint("It was renamed to \"%s\". REINDEX the indexes that semantic_indexes shows as lost, then remove it.",
               to.c_str())));
}

void make_directory(const std::string& path) {
  if (MakePGDirectory(path.c_str()) != 0 && errno != EEXIST) {
    ereport(FATAL, (errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path.c_str())));
  }
}

}  // namespace
}  // namespace pg_semantic

extern "C" void pg_semantic_worker_main(Datum argument, pg_semantic::IndexSharedMemory* shared,
                                        const pg_semantic::WorkerSettings* settings) {
  using namespace pg_semantic;
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  BackgroundWorkerUnblockSignals();

  make_directory(std::string(DataDir) + "/pg_semantic");
  Status status;
  worker = open_worker(shared, *settings, &status);
  if (worker == nullptr && (status.code() == StatusCode::kCorrupt || status.code() == StatusCode::kUnsupported)) {
    put_damaged_store_aside(status);
    worker = open_worker(shared, *settings, &status);
  }
  if (worker == nullptr) {
    ereport(FATAL,
            (errcode(ERRCODE_IO_ERROR), errmsg("could not open the semantic index store: %s", status.message().c_str()),
             status.detail().empty() ? 0 : errdetail("%s", status.detail().c_str()),
             status.hint().empty() ? 0 : errhint("%s", status.hint().c_str())));
  }
  before_shmem_exit(stop_worker, PointerGetDatum(shared));

  worker->fail_orphaned_requests();
#if PG_VERSION_NUM >= 170000
  shared->worker_number.store(MyProcNumber);
#else
  shared->worker_number.store(MyProc->pgprocno);
#endif
  ConditionVariableBroadcast(&shared->worker_ready);
  ereport(LOG, (errmsg("pg_semantic index worker is ready")));

#if PG_VERSION_NUM >= 170000
  WaitEventSet* events = CreateWaitEventSet(nullptr, 3);
#else
  WaitEventSet* events = CreateWaitEventSet(TopMemoryContext, 3);
#endif
  AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
  AddWaitEventToSet(events, WL_POSTMASTER_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
  AddWaitEventToSet(events, WL_SOCKET_READABLE, worker->completed_event(), nullptr, nullptr);
  while (!ShutdownRequestPending) {
    worker->serve();
    WaitEvent event;
    const int count = WaitEventSetWait(events, -1, &event, 1, PG_WAIT_EXTENSION);
    if (count == 0) continue;
    if (event.events & WL_POSTMASTER_DEATH) _exit(1);  // acknowledged changes are in RocksDB's log
    if (event.events & WL_LATCH_SET) ResetLatch(MyLatch);
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
  }
  proc_exit(1);  // 0 would mean: never start it again
}
