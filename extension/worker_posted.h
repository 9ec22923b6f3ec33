// The worker's end of the changes that backends post (worker_protocol.h): its request threads apply them.
//
// Insertions of one generation may be applied in any order.  Whatever else changes or reads rows of the generation
// settles first what was posted before.
#ifndef PG_SEMANTIC_EXTENSION_WORKER_POSTED_H
#define PG_SEMANTIC_EXTENSION_WORKER_POSTED_H

#include <atomic>
#include <mutex>
#include <span>
#include <string>

#include "extension/worker_protocol.h"
#include "index/engine.h"

namespace pg_semantic {

class PostedApplier {
 public:
  // `changes` counts what is applied.
  PostedApplier(PostedChanges* posted, Doorbell* doorbell, index::Engine* engine, std::atomic<uint64_t>* changes)
      : posted_(*posted), doorbell_(*doorbell), engine_(*engine), changes_(*changes) {}

  // What a worker that is no more was at is applied again.  Before there are threads.
  void take_over();

  // Applies one, unless all are of generations at whose changes other threads are.  False: it did not.
  bool apply_one() noexcept;

  // Returns when those of the generation (0: of all) that were posted before the call are applied, as far as no other
  // thread is at them by this one.  An error: one could not be, and stays.
  Status settle(index::GenerationId generation, const index::Interrupted& interrupted) noexcept;

  // To be called now and then: what could not be applied is tried again.  True: threads are to be woken.
  // `has_room`: the store can be written, as far as is known; else no more are to be posted.
  bool retry(bool has_room);

  // While it is held no change is given up (PostedChanges::given_up).
  std::unique_lock<std::mutex> keep_from_giving_up() { return std::unique_lock(giving_up_); }

  // What to say about a change that could never be applied, or could not at first; empty: nothing new.
  std::string take_complaint();

 private:
  // For who has set them to kApplying.
  void apply_with_others(PostedChange& first) noexcept;
  bool apply_together(std::span<PostedChange*> changes) noexcept;
  Status apply(PostedChange& change) noexcept;
  Status apply_or_give_up(PostedChange& change);
  [[nodiscard]] std::span<const std::byte> bytes_of(const PostedChange& change) const;
  void release(PostedChange& change, PostedState state);
  void complain(const Status& status);

  PostedChanges& posted_;
  Doorbell& doorbell_;
  index::Engine& engine_;
  std::atomic<uint64_t>& changes_;
  std::atomic<uint32_t> waiting_{0};  // threads that sleep until one is applied
  std::mutex giving_up_;
  std::atomic<bool> complained_{false};  // about what is tried again
  std::mutex mutex_;
  std::string complaint_;  // under mutex_
};

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_WORKER_POSTED_H
