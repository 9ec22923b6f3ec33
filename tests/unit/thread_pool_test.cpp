// The pool's promises to a PostgreSQL process.
#include "encoder/thread_pool.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/model.h"

namespace pg_semantic::encoder {
namespace {

// run_on_threads() with work that ends only when all have begun: none is too late.
template <typename Work>
void run_all(int threads, const Work& work) {
  std::atomic<int> begun = 0;
  run_on_threads(threads, [&](int worker) {
    ++begun;
    while (begun < threads) std::this_thread::yield();
    work(worker);
  });
}

TEST(ThreadPool, RunsEveryWorkerOnceAndReturnsAfterTheLast) {
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> calls(4);
    run_all(4, [&](int worker) { ++calls[static_cast<size_t>(worker)]; });
    for (const auto& n : calls) EXPECT_EQ(n, 1);
  }
  EXPECT_EQ(pool_threads(), 3);
  shut_down_threads();
  EXPECT_EQ(pool_threads(), 0);
}

// Whoever begins is waited for, whoever does not is not called any more.
TEST(ThreadPool, NoWorkerOutlivesTheCall) {
  for (int round = 0; round < 500; ++round) {
    std::atomic<int> inside = 0, calls = 0;
    run_on_threads(4, [&](int) {
      ++inside;
      ++calls;
      std::this_thread::yield();
      --inside;
    });
    EXPECT_EQ(inside, 0);
    EXPECT_GE(calls, 1);
    EXPECT_LE(calls, 4);
  }
  shut_down_threads();
}

TEST(ThreadPool, OneThreadIsTheCallersOwn) {
  shut_down_threads();
  std::thread::id id;
  run_on_threads(1, [&](int) { id = std::this_thread::get_id(); });
  EXPECT_EQ(id, std::this_thread::get_id());
  EXPECT_EQ(pool_threads(), 0);
}

TEST(ThreadPool, GrowsAndServesSmallerCalls) {
  for (const int threads : {2, 6, 3, 1, 6}) {
    std::atomic<int> sum = 0;
    run_all(threads, [&](int worker) { sum += 1 << worker; });
    EXPECT_EQ(sum, (1 << threads) - 1);
  }
  shut_down_threads();
}

TEST(ThreadPool, ThreadsBlockEverySignalAndHaveAName) {
  std::atomic<int> open_signals = 0;
  std::atomic<int> wrong_names = 0;
  run_all(3, [&](int worker) {
    if (worker == 0) return;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGALRM, SIGQUIT}) {
      if (sigismember(&mask, number) != 1) ++open_signals;
    }
    char name[32] = {};
    pthread_getname_np(pthread_self(), name, sizeof(name));
    if (std::string(name) != "pg_semantic") ++wrong_names;
  });
  EXPECT_EQ(open_signals, 0);
  EXPECT_EQ(wrong_names, 0);
  sigset_t own;
  pthread_sigmask(SIG_SETMASK, nullptr, &own);
  EXPECT_EQ(sigismember(&own, SIGTERM), 0);
  shut_down_threads();
}

// A forked child, with the parent's pool in use or not, makes its own.
TEST(ThreadPool, WorksInAForkedChild) {
  run_on_threads(3, [](int) {});
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> calls = 0;
    bool good = pool_threads() == 0;
    run_all(3, [&](int) { ++calls; });
    good = good && calls == 3;
    shut_down_threads();
    _exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  shut_down_threads();
}

TEST(ThreadPool, RestartsAfterShutDown) {
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> calls = 0;
    run_all(2, [&](int) { ++calls; });
    EXPECT_EQ(calls, 2);
    shut_down_threads();
  }
}

}  // namespace
}  // namespace pg_semantic::encoder
