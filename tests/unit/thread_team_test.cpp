// Threads in step.
#include "encoder/thread_team.h"

#include <atomic>
#include <vector>

#include <gtest/gtest.h>

#include "encoder/model.h"
#include "encoder/thread_pool.h"

namespace pg_semantic::encoder {
namespace {

TEST(ThreadTeam, SharesCoverEverythingOnce) {
  for (const size_t size : {1, 2, 3, 7}) {
    for (const size_t unit : {1, 3, 16}) {
      for (const size_t count : {0, 1, 2, 47, 48, 49, 1000}) {
        size_t next = 0;
        for (size_t rank = 0; rank < size; ++rank) {
          const Range share = TeamMember(rank, size, nullptr).share(count, unit);
          EXPECT_EQ(share.first, next);
          EXPECT_GE(share.last, share.first);
          EXPECT_TRUE(share.first % unit == 0 || share.first == count);
          next = share.last;
        }
        EXPECT_EQ(next, count);
      }
    }
  }
}

// What members wrote before a barrier is seen, without atomics, after it.
TEST(ThreadTeam, EveryMemberSeesWhatAllWroteBefore) {
  for (const int threads : {1, 2, 5}) {
    std::vector<size_t> written(static_cast<size_t>(threads));
    std::atomic<int> wrong = 0, members = 0;
    run_team(threads, [&](const TeamMember& member) {
      ++members;
      for (size_t round = 1; round <= 2000; ++round) {
        written[member.rank()] = round;
        member.wait_for_all();
        for (const size_t value : written) wrong += value == round ? 0 : 1;
        member.wait_for_all();
      }
    });
    EXPECT_EQ(members, threads);
    EXPECT_EQ(wrong, 0);
  }
  shut_down_threads();
}

TEST(ThreadTeam, OneMemberNeedsNoPool) {
  shut_down_threads();
  run_team(1, [](const TeamMember& member) {
    EXPECT_EQ(member.size(), 1U);
    member.wait_for_all();
  });
  EXPECT_EQ(pool_threads(), 0);
}

}  // namespace
}  // namespace pg_semantic::encoder
