// Blocks every signal of the calling thread for a scope.
//
// Threads that are started in it inherit the mask: a signal for the process must
// reach the main thread, whose handlers PostgreSQL installed.
#ifndef PG_SEMANTIC_ENCODER_BLOCKED_SIGNALS_H
#define PG_SEMANTIC_ENCODER_BLOCKED_SIGNALS_H

#include <pthread.h>
#include <signal.h>

namespace pg_semantic::encoder {

class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_BLOCKED_SIGNALS_H
