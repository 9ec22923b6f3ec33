// A process whose threads call abort(): RocksDB's do where an assertion fails or nobody catches an exception.
//
// The process outlives that for a while, so that its main thread can end it in order.  What the failed thread had
// locked stays so: whoever needs it waits for ever.
#ifndef PG_SEMANTIC_INDEX_THREAD_FAILURE_H
#define PG_SEMANTIC_INDEX_THREAD_FAILURE_H

namespace pg_semantic::index {

// From now on a thread that calls abort() sleeps, and the process dies of SIGABRT only when it is still there after so
// many seconds.  The main thread's abort() is what it was.
void outlive_threads(unsigned seconds);

// Whether one has called abort().
bool a_thread_has_failed();

// For a thread that has nothing left to do but to wait for the process to end, which it does in the same time.
[[noreturn]] void wait_for_the_end();

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_THREAD_FAILURE_H
