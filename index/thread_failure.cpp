// A process whose threads call abort().
#include "index/thread_failure.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>

namespace pg_semantic::index {
namespace {

std::atomic<bool> failed{false};
std::atomic<unsigned> seconds_left{0};

[[noreturn]] void really_abort() {
  std::signal(SIGABRT, SIG_DFL);
  std::abort();
}

// abort() lets the signal through to a thread that has it blocked.
void on_abort(int) {
  if (gettid() == getpid()) really_abort();
  failed = true;
  wait_for_the_end();
}

}  // namespace

void outlive_threads(unsigned seconds) {
  seconds_left = seconds;
  struct sigaction action = {};
  action.sa_handler = on_abort;
  sigfillset(&action.sa_mask);
  sigaction(SIGABRT, &action, nullptr);
}

bool a_thread_has_failed() { return failed; }

void wait_for_the_end() {
  for (unsigned left = seconds_left; left > 0;) left = sleep(left);
  really_abort();
}

}  // namespace pg_semantic::index
