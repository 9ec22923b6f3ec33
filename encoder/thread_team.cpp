// See thread_team.h.
#include "encoder/thread_team.h"

#include <algorithm>

#include "encoder/thread_pool.h"

namespace pg_semantic::encoder {

namespace {

// Looks before a thread sleeps: some 20 µs, longer than members of a team are
// usually apart, far shorter than the time slice that a sleeper gives back.
constexpr int kLooks = 2000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

void Barrier::wait() {
  const uint32_t round = round_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_release);
    round_.notify_all();
    return;
  }
  for (int i = 0; i < kLooks; ++i) {
    if (round_.load(std::memory_order_acquire) != round) return;
    pause();
  }
  round_.wait(round, std::memory_order_acquire);
}

Range TeamMember::share(size_t count, size_t unit) const {
  const size_t units = (count + unit - 1) / unit;
  const auto cut = [&](size_t rank) { return std::min(count, units * rank / size_ * unit); };
  return {cut(rank_), cut(rank_ + 1)};
}

void run_team(int threads, const std::function<void(const TeamMember&)>& work) {
  const int available = available_threads(threads);
  Barrier barrier(static_cast<uint32_t>(available));
  const auto member = [&](int rank) {
    work(TeamMember(static_cast<size_t>(rank), static_cast<size_t>(available), &barrier));
  };
  run_on_threads(available, std::cref(member));  // a reference: nothing to allocate
}

}  // namespace pg_semantic::encoder
