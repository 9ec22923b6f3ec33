// Sleeping on a word of shared memory until another process, or thread, changes it:
// Linux's futex(2).  (std::atomic's wait() works within one process only.)
//
// A thread that is not PostgreSQL's may wake a backend so; latches are for
// PostgreSQL's own thread.
#ifndef PG_SEMANTIC_EXTENSION_FUTEX_H
#define PG_SEMANTIC_EXTENSION_FUTEX_H

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

namespace pg_semantic {

// Sleeps while *word is `expected`, at most so long; may return earlier for no reason.
template <typename Word>
void wait_while(const std::atomic<Word>& word, Word expected, int milliseconds) {
  static_assert(sizeof(std::atomic<Word>) == sizeof(uint32_t) && std::atomic<Word>::is_always_lock_free);
  const timespec timeout = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  syscall(SYS_futex, &word, FUTEX_WAIT, static_cast<uint32_t>(expected), &timeout, nullptr, 0);
}

// Wakes up to `count` sleepers.  The word was changed before.
template <typename Word>
void wake_sleepers(std::atomic<Word>& word, int count = INT_MAX) {
  static_assert(sizeof(std::atomic<Word>) == sizeof(uint32_t) && std::atomic<Word>::is_always_lock_free);
  syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_FUTEX_H
