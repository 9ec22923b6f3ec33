// The process's compute threads.
//
// None exists until a call asks for more than one thread, so that a process
// which only loads the library (PostgreSQL's postmaster) keeps one.  The threads
// run with every signal blocked: signal handlers belong to the main thread.
//
// Thread safety: run_on_threads() and shut_down_threads() are for one thread at
// a time (a PostgreSQL process has one that calls).  A forked child starts with
// no pool and makes its own.
#ifndef PG_SEMANTIC_ENCODER_THREAD_POOL_H
#define PG_SEMANTIC_ENCODER_THREAD_POOL_H

#include <functional>

namespace pg_semantic::encoder {

inline constexpr int kMaxThreads = 256;

// Calls work(0) on the calling thread and work(1) … work(threads - 1) on pool
// threads, and returns when all that were called have returned.  Where the system
// refuses a thread, or lets it run only after work(0) returned, the call makes do
// without it, so `work` must take its share from a common counter and not expect
// every index.  `work` must not throw.
void run_on_threads(int threads, const std::function<void(int)>& work);

// Threads of the pool now, the caller's not included.
int pool_threads();

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_THREAD_POOL_H
