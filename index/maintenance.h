// One thread for work that no statement should wait for.
//
// Work has a name and a time when it is due.  It may be put off by what is
// scheduled under the same name, but not for ever; work that failed is tried
// again later and later.
//
// Thread safety: every function may be called from any thread, from the work itself too.
#ifndef PG_SEMANTIC_INDEX_MAINTENANCE_H
#define PG_SEMANTIC_INDEX_MAINTENANCE_H

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "index/engine.h"

namespace pg_semantic::index {

class Maintenance {
 public:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;
  // A Status that is neither ok nor kCancelled: it is tried again after a while.
  using Work = std::function<Status(const Interrupted&)>;

  // From scheduling to running; scheduled again before that it is put off anew, up to `at_most` from the first time.
  struct Delay {
    Milliseconds after{0};
    Milliseconds at_most{0};
  };

  Maintenance();
  ~Maintenance();

  // Work that waits under the same name is not queued again; after a failure it waits until it may be tried again.
  void schedule(const std::string& name, Delay delay, Work work);
  // Runs what is queued, due or not, and returns when nothing is left but what failed and waits to be tried again.
  void wait_idle();
  [[nodiscard]] std::atomic<bool>* stopping() { return &stopping_; }

 private:
  struct Queued {
    std::string name;
    Work work;
    Clock::time_point due;
    Clock::time_point latest;
    bool failed = false;  // waits to be tried again, whoever waits for it
  };
  void run();
  std::list<Queued>::iterator next_due();
  void note(Queued&& done, const Status& status);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Queued> queue_;
  std::map<std::string, Milliseconds> pauses_;  // of work that failed: the last one
  bool busy_ = false;
  int waiting_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // the last member: starts when the others are there
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_MAINTENANCE_H
