#include "../core/in_work.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "fake_memory.h"

namespace odradek {
namespace {

class InWorkTest : public testing::Test {
 protected:
  ~InWorkTest() override { EXPECT_EQ(memory.live, 0); }

  // As a claim does: the thread's own reference is let go of at once here.
  uint32_t add(InWork& work, const ChannelId& channel, uint32_t sequence) {
    Request request;
    request.channel = channel;
    request.sequence = sequence;
    request.block = Block::make(memory, 1);
    const uint32_t ticket = work.add(request);
    request.block->release();
    return ticket;
  }

  std::vector<std::pair<uint32_t, uint32_t>> takeAll(InWork& work) {
    std::vector<std::pair<uint32_t, uint32_t>> taken;
    for (const InWork::Claimed& claimed : work.takeAll()) {
      taken.emplace_back(claimed.request.channel.slot, claimed.request.sequence);
      claimed.request.block->release();
    }
    return taken;
  }

  test::FakeMemory memory;
  const ChannelId one = {0, 1, 0};
  const ChannelId two = {0, 2, 0};
};

TEST_F(InWorkTest, TicketsAreUsedAgainOnceTheirRequestIsSettled) {
  InWork work(3, 1);
  EXPECT_EQ(add(work, one, 0), 0u);
  EXPECT_EQ(add(work, one, 1), 1u);
  EXPECT_EQ(add(work, two, 0), 2u);
  EXPECT_EQ(work.room(), 0u);
  EXPECT_TRUE(work.settle(one, 0, 1));
  EXPECT_EQ(work.room(), 1u);
  EXPECT_EQ(memory.live, 2);
  EXPECT_EQ(add(work, one, 2), 0u);
  EXPECT_EQ(work.size(), 3u);
}

TEST_F(InWorkTest, OfEachConnectionNoMoreAreActiveThanMayBeStarted) {
  InWork work(10, 2);
  for (uint32_t sequence = 0; sequence < 4; sequence++) add(work, one, sequence);
  EXPECT_EQ(work.active(), 2u);
  add(work, two, 0);
  EXPECT_EQ(work.active(), 3u);
  ASSERT_TRUE(work.settle(one, 0, 2));
  EXPECT_EQ(work.active(), 3u) << "the next two may begin";
  ASSERT_TRUE(work.settle(one, 2, 1));
  EXPECT_EQ(work.active(), 2u);
}

TEST_F(InWorkTest, NothingIsSettledUnlessAllAreHere) {
  InWork work(10, 4);
  add(work, one, 5);
  add(work, one, 6);
  EXPECT_FALSE(work.settle(one, 4, 1));
  EXPECT_FALSE(work.settle(one, 6, 2));
  EXPECT_FALSE(work.settle(two, 5, 1));
  EXPECT_FALSE(work.settle({0, 1, 1}, 5, 1)) << "another connection of the same slot";
  EXPECT_FALSE(work.settle({7, 90, 0}, 5, 1)) << "a slot that it has never seen";
  EXPECT_EQ(work.size(), 2u);
  EXPECT_TRUE(work.settle(one, 5, 2));
  EXPECT_FALSE(work.settle(one, 5, 1)) << "a second reply";
  EXPECT_EQ(work.size(), 0u);
}

TEST_F(InWorkTest, RequestsAreSettledInAnyOrder) {
  InWork work(10, 4);
  // Those that came back from a lost thread stand behind younger ones.
  for (const uint32_t sequence : {3u, 4u, 1u, 2u}) add(work, one, sequence);
  EXPECT_TRUE(work.settle(one, 4, 1));
  add(work, one, 5);
  EXPECT_TRUE(work.settle(one, 1, 3));
  EXPECT_EQ(takeAll(work), (std::vector<std::pair<uint32_t, uint32_t>>{{1, 5}}));
}

TEST_F(InWorkTest, SequencesWrap) {
  InWork work(10, 4);
  add(work, one, UINT32_MAX);
  add(work, one, 0);
  EXPECT_TRUE(work.settle(one, UINT32_MAX, 2));
  EXPECT_EQ(work.active(), 0u);
}

TEST_F(InWorkTest, AConnectionThatHasEndedCountsNoMore) {
  InWork work(10, 4);
  for (uint32_t sequence = 0; sequence < 3; sequence++) add(work, one, sequence);
  add(work, two, 0);
  work.drop({0, 1, 1});
  EXPECT_EQ(work.size(), 4u);
  work.drop(one);
  EXPECT_EQ(work.active(), 1u);
  EXPECT_EQ(work.room(), 9u);
  work.drop(one);
  EXPECT_EQ(takeAll(work), (std::vector<std::pair<uint32_t, uint32_t>>{{2, 0}}));
}

TEST_F(InWorkTest, AllAreTakenConnectionByConnectionEachInItsOrder) {
  InWork work(10, 4);
  add(work, two, 0);
  add(work, one, 0);
  add(work, two, 1);
  add(work, one, 1);
  EXPECT_EQ(takeAll(work),
            (std::vector<std::pair<uint32_t, uint32_t>>{{1, 0}, {1, 1}, {2, 0}, {2, 1}}));
  EXPECT_EQ(work.active(), 0u);
  EXPECT_EQ(work.room(), 10u);
}

TEST_F(InWorkTest, TheDestructorLetsGoOfWhatIsLeft) {
  InWork work(10, 4);
  add(work, one, 0);
  EXPECT_EQ(memory.live, 1);
}

using InWorkDeathTest = InWorkTest;

TEST_F(InWorkDeathTest, MoreThanItHasRoomForIsFatal) {
  InWork work(1, 1);
  add(work, one, 0);
  EXPECT_DEATH(add(work, one, 1), "broken: room\\(\\) > 0");
}

}  // namespace
}  // namespace odradek
