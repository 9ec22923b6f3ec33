// Threads in step.
#include "encoder/thread_team.h"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/model.h"
#include "encoder/thread_pool.h"

namespace pg_semantic::encoder {
namespace {

TEST(ThreadTeam, PartsCoverEverythingOnce) {
  for (const size_t parts : {1, 2, 3, 7}) {
    for (const size_t unit : {1, 3, 16}) {
      for (const size_t count : {0, 1, 2, 47, 48, 49, 1000}) {
        size_t next = 0;
        for (size_t part = 0; part < parts; ++part) {
          const Range range = part_of(count, part, parts, unit);
          EXPECT_EQ(range.first, next);
          EXPECT_GE(range.last, range.first);
          EXPECT_TRUE(range.first % unit == 0 || range.first == count);
          next = range.last;
        }
        EXPECT_EQ(next, count);
      }
    }
  }
}

// Each part is computed once, and after a step every member sees, without atomics, all of it.
TEST(ThreadTeam, EveryMemberSeesWhatTheStepsBeforeMade) {
  constexpr size_t kSteps = 2000, kParts = 7;
  TeamSteps steps;
  for (const int threads : {1, 2, 5, 2}) {
    std::vector<size_t> made(kParts);
    std::atomic<size_t> wrong = 0;
    std::atomic<int> begun = 0;
    run_team(threads, kSteps, &steps, [&](TeamMember& member) {
      ++begun;
      while (begun < threads) std::this_thread::yield();
      for (size_t step = 0; step < kSteps; step += 2) {
        member.step(kParts, [&](size_t part) { made[part] += 1; });
        member.step(1, [&](size_t) {
          for (const size_t value : made) wrong += value == step / 2 + 1 ? 0 : 1;
        });
      }
    });
    EXPECT_EQ(begun, threads);
    EXPECT_EQ(wrong, 0U);
    for (const size_t value : made) EXPECT_EQ(value, kSteps / 2);
  }
  shut_down_threads();
}

TEST(ThreadTeam, AMemberTakesPartsOfItsOwnInOrderThenThoseOfOthers) {
  constexpr size_t kParts = 11, kThreads = 3;
  TeamSteps steps;
  for (int run = 0; run < 50; ++run) {
    std::vector<size_t> taken[kThreads];
    run_team(kThreads, 1, &steps, [&](TeamMember& member) {
      member.step(kParts, [&](size_t part) { taken[member.rank()].push_back(part); });
    });
    size_t count = 0;
    for (size_t rank = 0; rank < kThreads; ++rank) {
      const Range own = part_of(kParts, rank, kThreads);
      size_t next = own.first;
      bool others = false;
      for (const size_t part : taken[rank]) {
        const bool is_own = part >= own.first && part < own.last;
        if (is_own) {
          EXPECT_FALSE(others);
          EXPECT_GE(part, next);
          next = part + 1;
        }
        others |= !is_own;
      }
      count += taken[rank].size();
    }
    EXPECT_EQ(count, kParts);
  }
  shut_down_threads();
}

TEST(ThreadTeam, AMemberThatStopsEndsTheRunForAll) {
  TeamSteps steps;
  for (int round = 0; round < 100; ++round) {
    std::atomic<size_t> parts_done = 0;
    run_team(3, 10, &steps, [&](TeamMember& member) {
      for (size_t step = 0; step < 10; ++step) {
        if (step == 4 && member.rank() == 0) member.stop();
        if (member.stopped()) return;
        member.step(20, [&](size_t) {
          ++parts_done;
          // From here on nothing but stop() ends the run.
          while (step >= 4 && !member.stopped()) std::this_thread::yield();
        });
      }
    });
    EXPECT_TRUE(steps.stopped());
    EXPECT_GE(parts_done, 80U);
    EXPECT_LE(parts_done, 82U);
  }
  shut_down_threads();
}

TEST(ThreadTeam, OneMemberNeedsNoPool) {
  shut_down_threads();
  TeamSteps steps;
  size_t parts_done = 0;
  run_team(1, 1, &steps, [&](TeamMember& member) {
    EXPECT_EQ(member.parts(100), 1U);
    member.step(3, [&](size_t) { ++parts_done; });
  });
  EXPECT_EQ(parts_done, 3U);
  EXPECT_EQ(pool_threads(), 0);
}

}  // namespace
}  // namespace pg_semantic::encoder
