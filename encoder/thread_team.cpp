// See thread_team.h.
#include "encoder/thread_team.h"

#include <algorithm>
#include <exception>

#include "encoder/thread_pool.h"

namespace pg_semantic::encoder {

namespace {

// Looks before a thread sleeps: some 20 µs, longer than members of a team are
// usually apart, far shorter than the time slice that a sleeper gives back.
constexpr int kLooks = 1000;

// Parts for each member of a step that can be cut finely.
constexpr size_t kPartsEach = 2;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Range part_of(size_t count, size_t part, size_t parts, size_t unit) {
  const size_t units = (count + unit - 1) / unit;
  const auto cut = [&](size_t number) { return std::min(count, units * number / parts * unit); };
  return {cut(part), cut(part + 1)};
}

void TeamSteps::reset(size_t steps, size_t members) {
  const auto clear = [](size_t count, Counters* counters, size_t* size) {
    if (*size < count) {
      *counters = std::make_unique<std::atomic<uint32_t>[]>(count);
      *size = count;
    }
    for (size_t i = 0; i < count; ++i) (*counters)[i].store(0, std::memory_order_relaxed);
  };
  clear(steps, &done_, &done_size_);
  clear(steps * members, &taken_, &taken_size_);
  expected_ = steps;
  stopped_.store(false, std::memory_order_relaxed);
}

size_t TeamMember::parts(size_t count) const {
  return size_ == 1 ? 1 : std::clamp<size_t>(count, 1, kPartsEach * size_);
}

void TeamMember::stop() const {
  steps_->stopped_.store(true, std::memory_order_release);
  for (size_t i = 0; i < steps_->expected_; ++i) steps_->done_[i].notify_all();
}

size_t TeamMember::take(size_t owner, Range range) const {
  if (number_ >= steps_->expected_) std::terminate();  // forward() counted wrongly
  std::atomic<uint32_t>& taken = steps_->taken_[number_ * size_ + owner];
  // Looked at before it is counted: who only finds that nothing is left does not take the line from the others.
  if (taken.load(std::memory_order_relaxed) >= range.size()) return range.last;
  return range.first + taken.fetch_add(1, std::memory_order_relaxed);
}

void TeamMember::finish_part(size_t parts) const {
  std::atomic<uint32_t>& done = steps_->done_[number_];
  if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == parts) done.notify_all();
}

void TeamMember::wait(size_t parts) {
  const std::atomic<uint32_t>& done = steps_->done_[number_++];
  for (int i = 0; i < kLooks; ++i) {
    if (done.load(std::memory_order_acquire) >= parts || stopped()) return;
    pause();
  }
  for (;;) {
    const uint32_t seen = done.load(std::memory_order_acquire);
    if (seen >= parts || stopped()) return;
    done.wait(seen, std::memory_order_acquire);
  }
}

void run_team(int threads, size_t steps, TeamSteps* shared, const std::function<void(TeamMember&)>& work) {
  const auto size = static_cast<size_t>(std::clamp(threads, 1, kMaxThreads));
  shared->reset(steps, size);
  const auto member = [&](int rank) {
    TeamMember self(static_cast<size_t>(rank), size, shared);
    work(self);
  };
  run_on_threads(static_cast<int>(size), std::cref(member));  // a reference: nothing to allocate
}

}  // namespace pg_semantic::encoder
