// Threads inherit the signal mask of whoever starts them; none may take the server's signals.
#ifndef PG_SEMANTIC_EXTENSION_BLOCKED_SIGNALS_H
#define PG_SEMANTIC_EXTENSION_BLOCKED_SIGNALS_H

#include <csignal>

namespace pg_semantic {

// As long as it lives.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_BLOCKED_SIGNALS_H
