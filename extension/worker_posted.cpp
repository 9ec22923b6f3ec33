#include "extension/worker_posted.h"

#include <algorithm>
#include <exception>
#include <span>
#include <utility>

namespace pg_semantic {
namespace {

constexpr uint32_t kMostTrials = 10;  // of a change over which workers die
constexpr int kLookUpMilliseconds = 10;

// What may go well when it is tried again, with more room or memory.  Other failures lie in the change or in what the
// store has of the generation.
bool may_pass(StatusCode code) {
  return code == StatusCode::kIoError || code == StatusCode::kDiskFull || code == StatusCode::kOutOfMemory;
}

}  // namespace

void PostedApplier::take_over() {
  for (PostedChange& change : posted_.changes) {
    PostedState expected = PostedState::kApplying;
    change.state.compare_exchange_strong(expected, PostedState::kPosted);
  }
}

bool PostedApplier::apply_one() noexcept {
  for (PostedChange& change : posted_.changes) {
    PostedState expected = PostedState::kPosted;
    if (change.state.load(std::memory_order_relaxed) != expected || posted_.is_busy(change.generation) ||
        !change.state.compare_exchange_strong(expected, PostedState::kApplying))
      continue;
    apply_with_others(change);
    return true;
  }
  return false;
}

// All that wait of its generation, together, which is faster; one by one if that fails.
void PostedApplier::apply_with_others(PostedChange& first) noexcept {
  const index::GenerationId generation = first.generation;
  PostedChange* claimed[kPostedChanges] = {&first};
  size_t count = 1;
  for (PostedChange& change : posted_.changes) {
    PostedState expected = PostedState::kPosted;
    if (change.state.load(std::memory_order_relaxed) != expected || change.generation != generation ||
        !change.state.compare_exchange_strong(expected, PostedState::kApplying))
      continue;
    if (change.generation == generation) {
      claimed[count++] = &change;
    } else {
      change.state = PostedState::kPosted;  // another one has taken its place
    }
  }
  const std::span<PostedChange*> changes(claimed, count);
  if (count > 1 && apply_together(changes)) return;
  for (PostedChange* change : changes) (void)apply(*change);
}

bool PostedApplier::apply_together(std::span<PostedChange*> changes) noexcept {
  index::LoggedInsertion insertions[kPostedChanges];
  for (size_t i = 0; i < changes.size(); ++i) {
    if (++changes[i]->trials > kMostTrials) return false;
    insertions[i] = {bytes_of(*changes[i]), changes[i]->position};
  }
  if (!engine_.apply_insertions({insertions, changes.size()}).is_ok()) return false;
  changes_ += changes.size();
  for (PostedChange* change : changes) release(*change, PostedState::kFree);
  return true;
}

std::span<const std::byte> PostedApplier::bytes_of(const PostedChange& change) const {
  return {posted_.data[&change - posted_.changes], std::min<size_t>(change.length, kPostedBytes)};
}

void PostedApplier::release(PostedChange& change, PostedState state) {
  change.state = state;
  if (waiting_ > 0) wake_sleepers(change.state);
}

Status PostedApplier::settle(index::GenerationId generation, const index::Interrupted& interrupted) noexcept {
  for (PostedChange& change : posted_.changes) {
    const uint64_t number = change.number;
    while (change.is_there() && (generation == 0 || change.generation == generation) && change.number == number) {
      PostedState state = change.state;
      if (state == PostedState::kApplying) {
        if (interrupted()) return Status::cancelled();
        ++waiting_;
        wait_while(change.state, state, kLookUpMilliseconds);
        --waiting_;
      } else if ((state == PostedState::kPosted || state == PostedState::kPostponed) &&
                 change.state.compare_exchange_strong(state, PostedState::kApplying)) {
        Status status = apply(change);
        doorbell_.ring();  // who has posted another one meanwhile may have relied on this thread
        if (!status.is_ok()) return status;
      }
    }
  }
  return Status::ok();
}

Status PostedApplier::apply(PostedChange& change) noexcept {
  ++change.trials;
  Status status;
  try {
    status = apply_or_give_up(change);
  } catch (const std::exception&) {
    status = Status(StatusCode::kOutOfMemory, "out of memory in the index worker");
  }
  ++changes_;
  if (status.is_ok()) {
    release(change, PostedState::kFree);
  } else {
    change.trials = 0;
    release(change, PostedState::kPostponed);
    posted_.refused = 1;  // retry() finds the change
  }
  return status;
}

Status PostedApplier::apply_or_give_up(PostedChange& change) {
  const index::GenerationId generation = change.generation;
  Status status(StatusCode::kInternal, "index workers ended over a change of a semantic index");
  if (change.trials <= kMostTrials) status = engine_.apply(bytes_of(change), change.position, false);
  if (status.is_ok() || status.code() == StatusCode::kNotFound) return Status::ok();
  if (may_pass(status.code())) {
    if (!complained_.exchange(true)) complain(status);  // once, however often it is tried
    return status;
  }
  complain(status);
  // Its transaction may have committed: the index is repaired from the table.
  const std::lock_guard lock(giving_up_);
  ++posted_.given_up;
  Status declared = engine_.declare_behind(generation);
  // Who reads what cannot be read repairs it as well.
  const bool known = declared.code() == StatusCode::kNotFound || declared.code() == StatusCode::kCorrupt;
  return known ? Status::ok() : declared;
}

void PostedApplier::complain(const Status& status) {
  const std::lock_guard lock(mutex_);
  complaint_ = status.detail().empty() ? status.message() : status.message() + ": " + status.detail();
}

bool PostedApplier::retry(bool has_room) {
  bool there_are = false;
  for (PostedChange& change : posted_.changes) {
    PostedState expected = PostedState::kPostponed;
    there_are |= change.state.compare_exchange_strong(expected, PostedState::kPosted);
  }
  if (!there_are) complained_ = false;
  posted_.refused = there_are || !has_room ? 1 : 0;
  return there_are;
}

std::string PostedApplier::take_complaint() {
  const std::lock_guard lock(mutex_);
  return std::exchange(complaint_, {});
}

}  // namespace pg_semantic
