// What abort() does to a process, each in one of its own.
#include "index/thread_failure.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <thread>

namespace pg_semantic::index {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct End {
  int status;
  milliseconds after;
};

// `seconds`: after which the process ends though nobody ends it in order.
End run(const std::function<void()>& body, unsigned seconds = 60) {
  const auto begin = steady_clock::now();
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    outlive_threads(seconds);
    body();
    _exit(99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {status, std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin)};
}

// As RocksDB's threads are: with every signal blocked.
void on_a_thread(const std::function<void()>& body) {
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  std::thread(body).detach();
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

void end_in_order() {
  while (!a_thread_has_failed()) std::this_thread::sleep_for(milliseconds(1));
  std::this_thread::sleep_for(milliseconds(100));
  _exit(1);
}

bool is_killed_by_abort(const End& end) { return WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT; }
bool is_ended_in_order(const End& end) { return WIFEXITED(end.status) && WEXITSTATUS(end.status) == 1; }

TEST(ThreadFailure, TheProcessOutlivesAThreadThatAborts) {
  EXPECT_TRUE(is_ended_in_order(run([] {
    on_a_thread([] { std::abort(); });
    end_in_order();
  })));
}

TEST(ThreadFailure, AndSeveral) {
  EXPECT_TRUE(is_ended_in_order(run([] {
    for (int i = 0; i < 4; ++i) on_a_thread([] { std::abort(); });
    end_in_order();
  })));
}

TEST(ThreadFailure, AndAnExceptionThatNobodyCatches) {
  EXPECT_TRUE(is_ended_in_order(run([] {
    on_a_thread([] { throw std::runtime_error("of a thread"); });
    end_in_order();
  })));
}

TEST(ThreadFailure, ButNotForLongWhenTheMainThreadDoesNotEndIt) {
  const End end = run(
      [] {
        on_a_thread([] { std::abort(); });
        for (;;) pause();
      },
      1);
  EXPECT_TRUE(is_killed_by_abort(end));
  EXPECT_GE(end.after, milliseconds(900));
}

TEST(ThreadFailure, NorForThreadsThatWaitForTheEnd) {
  const End end = run(
      [] {
        on_a_thread([] { wait_for_the_end(); });
        for (;;) pause();
      },
      1);
  EXPECT_TRUE(is_killed_by_abort(end));
  EXPECT_GE(end.after, milliseconds(900));
}

TEST(ThreadFailure, TheMainThreadAbortsAtOnce) {
  for (const bool from_outside : {false, true}) {
    const End end = run([from_outside] {
      if (!from_outside) std::abort();
      kill(getpid(), SIGABRT);
      for (;;) pause();
    });
    EXPECT_TRUE(is_killed_by_abort(end));
    EXPECT_LT(end.after, std::chrono::seconds(50));
  }
}

}  // namespace
}  // namespace pg_semantic::index
