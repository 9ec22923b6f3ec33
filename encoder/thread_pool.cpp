// See thread_pool.h.
#include "encoder/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "encoder/blocked_signals.h"
#include "encoder/model.h"

namespace pg_semantic::encoder {

namespace {

// Moves the calling thread off a processor, if it is on it and may be on others.
// A thread that is woken often stays on the processor of who wakes it, and would
// wait there until the caller waits.
void leave_processor(int processor) {
  if (processor < 0 || processor >= CPU_SETSIZE || sched_getcpu() != processor) return;
  cpu_set_t allowed;
  if (sched_getaffinity(getpid(), sizeof(allowed), &allowed) != 0) return;  // of the process's main thread
  CPU_CLR(processor, &allowed);
  if (CPU_COUNT(&allowed) > 0) sched_setaffinity(0, sizeof(allowed), &allowed);
}

class ThreadPool {
 public:
  ThreadPool() : owner_(getpid()) {}

  bool belongs_to_this_process() const { return owner_ == getpid(); }
  int size() const { return static_cast<int>(threads_.size()); }

  void run(int helpers, const std::function<void(int)>& work) {
    start_threads(helpers);
    {
      const std::lock_guard lock(mutex_);
      work_ = &work;
      caller_processor_ = sched_getcpu();
      wanted_ = helpers;
      ++round_;
    }
    start_.notify_all();
    work(0);
    std::unique_lock lock(mutex_);
    wanted_ = 0;  // who has not begun need not
    done_.wait(lock, [this] { return running_ == 0; });
    work_ = nullptr;
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    start_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void start_threads(int helpers) {
    if (helpers <= size()) return;
    const BlockedSignals blocked;  // a new thread inherits the mask
    try {
      threads_.reserve(helpers);
      while (size() < helpers) {
        const int index = size() + 1;
        // Started in this round, a thread must still see it: round_ is read here.
        threads_.emplace_back([this, index, seen = round_] { serve(index, seen); });
        pthread_setname_np(threads_.back().native_handle(), "pg_semantic");
      }
    } catch (const std::system_error&) {
      return;  // EAGAIN: as many as there are must do
    } catch (const std::bad_alloc&) {
      return;
    }
  }

  void serve(int index, unsigned long seen) {
    std::unique_lock lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
      if (index > wanted_) continue;
      ++running_;
      const std::function<void(int)>& work = *work_;
      const int caller_processor = caller_processor_;
      lock.unlock();
      leave_processor(caller_processor);
      work(index);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  const pid_t owner_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  const std::function<void(int)>* work_ = nullptr;
  int caller_processor_ = -1;
  unsigned long round_ = 0;
  int wanted_ = 0;
  int running_ = 0;
  bool stopping_ = false;
};

// Never destroyed by the C++ runtime: exit() must not wait for, nor terminate
// over, threads that nobody joined; a forked child drops its parent's pool whole,
// because the threads are not there and the mutex may be held.
ThreadPool* process_pool = nullptr;

ThreadPool& pool_of_this_process() {
  if (process_pool == nullptr || !process_pool->belongs_to_this_process()) process_pool = new ThreadPool();
  return *process_pool;
}

}  // namespace

void run_on_threads(int threads, const std::function<void(int)>& work) {
  threads = std::clamp(threads, 1, kMaxThreads);
  if (threads == 1) {
    work(0);
    return;
  }
  pool_of_this_process().run(threads - 1, work);
}

int pool_threads() {
  return process_pool != nullptr && process_pool->belongs_to_this_process() ? process_pool->size() : 0;
}

void shut_down_threads() {
  if (process_pool == nullptr) return;
  if (process_pool->belongs_to_this_process()) {
    process_pool->stop();
    delete process_pool;
  }
  process_pool = nullptr;
}

}  // namespace pg_semantic::encoder
