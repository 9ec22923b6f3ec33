// Threads that compute one thing together, step by step: a text's work spread
// over processors.
//
// Every member of a team takes the same steps in the same order.  A step has
// parts, each of which some member computes; it ends when all its parts are done.
// A member begins with parts of its own, neighbours in order, so that what it
// fetched ahead is what it needs, then takes what others have left. One that the
// system lets run late, or not at all, finds its parts done by others: on a busy
// machine a team is hardly slower than one thread.
//
// Thread safety: run_team() is for the thread that may call run_on_threads(); a
// TeamMember belongs to its thread.
#ifndef PG_SEMANTIC_ENCODER_THREAD_TEAM_H
#define PG_SEMANTIC_ENCODER_THREAD_TEAM_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace pg_semantic::encoder {

struct Range {
  size_t first = 0;
  size_t last = 0;  // exclusive
  [[nodiscard]] size_t size() const { return last - first; }
};

// Part `part` of `parts` of 0 … count - 1, cut at multiples of `unit`.
Range part_of(size_t count, size_t part, size_t parts, size_t unit = 1);

// What the members of a team share: how far each step is.  Kept from run to run.
class TeamSteps {
 public:
  // Makes room for so many steps of a team of `members`, none of them begun.  Throws std::bad_alloc.
  void reset(size_t steps, size_t members);

  // Whether a member stopped the run.
  [[nodiscard]] bool stopped() const { return stopped_.load(std::memory_order_acquire); }

 private:
  friend class TeamMember;
  using Counters = std::unique_ptr<std::atomic<uint32_t>[]>;
  Counters done_;   // [steps], parts
  Counters taken_;  // [steps, members], of each member's parts
  size_t done_size_ = 0;
  size_t taken_size_ = 0;
  size_t expected_ = 0;  // steps of this run
  std::atomic<bool> stopped_ = false;
};

class TeamMember {
 public:
  TeamMember(size_t rank, size_t size, TeamSteps* steps) : rank_(rank), size_(size), steps_(steps) {}

  [[nodiscard]] size_t rank() const { return rank_; }  // 0: the thread that called run_team()
  [[nodiscard]] size_t size() const { return size_; }

  // Takes the next step, of `parts` parts: calls compute(part) for those that this
  // member gets.  What was computed in a step before, by whomever, is seen.
  template <typename Compute>
  void step(size_t parts, const Compute& compute) {
    if (size_ == 1) {
      for (size_t part = 0; part < parts; ++part) compute(part);
      return;
    }
    for (size_t i = 0; i < size_; ++i) {
      const size_t owner = (rank_ + i) % size_;
      const Range range = part_of(parts, owner, size_);
      for (size_t part = take(owner, range); part < range.last && !stopped(); part = take(owner, range)) {
        compute(part);
        finish_part(parts);
      }
    }
    wait(parts);
  }

  // Into how many parts to cut work of `count` units: so many that a member which
  // is late leaves little to wait for, no more than there are.
  [[nodiscard]] size_t parts(size_t count) const;

  // Ends the run early, for all members: steps are no longer taken nor waited for.
  void stop() const;
  [[nodiscard]] bool stopped() const { return steps_->stopped(); }

 private:
  // The next of an owner's parts in this step, or one past them.
  size_t take(size_t owner, Range range) const;
  void finish_part(size_t parts) const;
  void wait(size_t parts);

  size_t rank_;
  size_t size_;
  TeamSteps* steps_;
  size_t number_ = 0;  // of the step
};

// Calls work(member) on the calling thread and on up to threads - 1 others, and
// returns when they are done.  `work` takes at most `steps` steps and must not throw.
void run_team(int threads, size_t steps, TeamSteps* shared, const std::function<void(TeamMember&)>& work);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_THREAD_TEAM_H
