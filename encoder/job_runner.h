// Jobs of one call spread over the process's threads.
//
// Thread safety: a JobRunner belongs to the thread that makes it.
#ifndef PG_SEMANTIC_ENCODER_JOB_RUNNER_H
#define PG_SEMANTIC_ENCODER_JOB_RUNNER_H

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "encoder/model.h"
#include "encoder/status.h"
#include "encoder/thread_pool.h"

namespace pg_semantic::encoder {

// Runs jobs 0 … count - 1 on threads, stopping at the first failure.
class JobRunner {
 public:
  JobRunner(const EmbedOptions& options, size_t count)
      : interrupted_(options.interrupted),
        count_(count),
        threads_(std::min(static_cast<size_t>(std::clamp(options.threads, 1, kMaxThreads)), count)),
        statuses_(threads_) {}

  // job(index, worker, interrupted)
  template <typename Job>
  Status run(const Job& job) {
    if (count_ == 0) return Status::ok();
    run_on_threads(static_cast<int>(threads_),
                   [&](int worker) { statuses_[static_cast<size_t>(worker)] = work(job, worker); });
    for (const Status& status : statuses_) {
      if (!status.is_ok() && status.code() != StatusCode::kCancelled) return status;
    }
    return stop_ ? Status::cancelled() : Status::ok();
  }

 private:
  template <typename Job>
  Status work(const Job& job, int worker) {
    // Only the calling thread, which is worker 0, may ask the caller.
    const Interrupted interrupted = [this, worker] {
      if (worker == 0 && interrupted_ && interrupted_()) stop_ = true;
      return stop_.load();
    };
    try {
      while (!interrupted()) {
        const size_t index = next_.fetch_add(1);
        if (index >= count_) return Status::ok();
        Status status = job(index, static_cast<size_t>(worker), interrupted);
        if (!status.is_ok()) {
          stop_ = true;
          return status;
        }
      }
      return Status::ok();
    } catch (const std::bad_alloc&) {
      stop_ = true;
      return {StatusCode::kOutOfMemory, "out of memory"};
    } catch (const std::exception& e) {
      stop_ = true;
      return {StatusCode::kInternal, "could not compute an embedding",
              "An exception says: " + std::string(e.what()) + "."};
    }
  }

  const Interrupted& interrupted_;
  const size_t count_;
  const size_t threads_;
  std::vector<Status> statuses_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> stop_ = false;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_JOB_RUNNER_H
