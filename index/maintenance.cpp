// The thread for background work.
#include "index/maintenance.h"

#include <algorithm>
#include <exception>

namespace pg_semantic::index {
namespace {

constexpr Maintenance::Milliseconds kFirstPause{1000};
constexpr Maintenance::Milliseconds kLongestPause{300000};

Status run_guarded(const Maintenance::Work& work, const Interrupted& interrupted) {
  try {
    return work(interrupted);
  } catch (const std::exception& error) {
    return {StatusCode::kInternal, "unexpected failure in semantic index", error.what()};
  }
}

}  // namespace

Maintenance::Maintenance() : thread_([this] { run(); }) {}

Maintenance::~Maintenance() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Maintenance::schedule(const std::string& name, Delay delay, Work work) {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  const auto same = [&name](const Queued& queued) { return queued.name == name; };
  const auto queued = std::find_if(queue_.begin(), queue_.end(), same);
  if (queued == queue_.end()) {
    const auto latest = now + std::max(delay.after, delay.at_most);
    queue_.push_back({name, std::move(work), now + delay.after, latest});
    changed_.notify_all();
  } else if (!queued->failed && delay.at_most > delay.after) {
    queued->due = std::min(now + delay.after, queued->latest);
  }
}

void Maintenance::wait_idle() {
  std::unique_lock lock(mutex_);
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, [this] {
    const auto waits = [](const Queued& queued) { return !queued.failed; };
    return stopping_ || (!busy_ && std::none_of(queue_.begin(), queue_.end(), waits));
  });
  --waiting_;
}

// The first that may run: in the order they came when somebody waits.
std::list<Maintenance::Queued>::iterator Maintenance::next_due() {
  const auto now = Clock::now();
  return std::find_if(queue_.begin(), queue_.end(),
                      [&](const Queued& queued) { return queued.due <= now || (waiting_ > 0 && !queued.failed); });
}

void Maintenance::note(Queued&& done, const Status& status) {
  if (status.is_ok() || status.code() == StatusCode::kCancelled) {
    pauses_.erase(done.name);
    return;
  }
  const auto same = [&done](const Queued& queued) { return queued.name == done.name; };
  queue_.remove_if(same);  // what came meanwhile waits as well
  Milliseconds& pause = pauses_[done.name];
  pause = pause.count() == 0 ? kFirstPause : std::min(2 * pause, kLongestPause);
  done.due = done.latest = Clock::now() + pause;
  done.failed = true;
  queue_.push_back(std::move(done));
}

void Maintenance::run() {
  const Interrupted interrupted = [this] { return stopping_.load(); };
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto next = next_due();
    if (next == queue_.end()) {
      if (queue_.empty()) {
        changed_.wait(lock);
      } else {
        const auto earlier = [](const Queued& a, const Queued& b) { return a.due < b.due; };
        const Clock::time_point due = std::min_element(queue_.begin(), queue_.end(), earlier)->due;
        changed_.wait_until(lock, due);
      }
      continue;
    }
    Queued current = std::move(*next);
    queue_.erase(next);
    busy_ = true;
    lock.unlock();
    const Status status = run_guarded(current.work, interrupted);
    lock.lock();
    busy_ = false;
    note(std::move(current), status);
    changed_.notify_all();
  }
}

}  // namespace pg_semantic::index
