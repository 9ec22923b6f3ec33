// Threads that run one function together, in step: a text's work spread over
// processors.  They share what they compute on and meet at barriers.
//
// Thread safety: run_team() is for the thread that may call run_on_threads(); a
// TeamMember belongs to its thread.
#ifndef PG_SEMANTIC_ENCODER_THREAD_TEAM_H
#define PG_SEMANTIC_ENCODER_THREAD_TEAM_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace pg_semantic::encoder {

// Where all threads wait for the last.
class Barrier {
 public:
  explicit Barrier(uint32_t threads) : threads_(threads) {}
  void wait();

 private:
  const uint32_t threads_;
  std::atomic<uint32_t> arrived_ = 0;
  std::atomic<uint32_t> round_ = 0;
};

struct Range {
  size_t first = 0;
  size_t last = 0;  // exclusive
  [[nodiscard]] size_t size() const { return last - first; }
};

class TeamMember {
 public:
  TeamMember(size_t rank, size_t size, Barrier* barrier) : rank_(rank), size_(size), barrier_(barrier) {}

  [[nodiscard]] size_t rank() const { return rank_; }  // 0: the thread that called run_team()
  [[nodiscard]] size_t size() const { return size_; }

  // What every member wrote before it, every member sees after it.
  void wait_for_all() const {
    if (size_ > 1) barrier_->wait();
  }

  // This member's part of 0 … count - 1, cut at multiples of `unit`.
  [[nodiscard]] Range share(size_t count, size_t unit = 1) const;

 private:
  size_t rank_;
  size_t size_;
  Barrier* barrier_;
};

// Calls work(member) on `threads` threads, or as many as the system gives, at
// the same time.  `work` must not throw.
void run_team(int threads, const std::function<void(const TeamMember&)>& work);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_THREAD_TEAM_H
