// Who gets bytes of the pool, and in which order.
#include "../core/memory_pool.h"

#include <gtest/gtest.h>

#include "../core/bounds.h"
#include "../core/frame_sizes.h"
#include "fake_kernel.h"

namespace odradek {
namespace {

// A processor, as far as the pool knows it.
class Asker final : public MemoryWaiter {
 public:
  void memoryGranted() override { calls++; }
  int calls = 0;
};

class MemoryPoolTest : public testing::Test {
 protected:
  test::FakeClock clock;
  MemoryPool pool{100, clock};
  Asker one;
  Asker other;
  Asker third;
};

TEST_F(MemoryPoolTest, GivesWhatThereIs) {
  EXPECT_EQ(pool.take(one, 60), 60);
  EXPECT_EQ(pool.take(other, 60), 40);
  EXPECT_EQ(pool.available(), 0);
  pool.give(100);
  EXPECT_EQ(pool.available(), 100);
}

TEST_F(MemoryPoolTest, WhatComesBackGoesToThoseThatWaitLongestWaitingFirst) {
  EXPECT_EQ(pool.take(one, 100), 100);
  EXPECT_EQ(pool.take(other, 10), 0);
  EXPECT_EQ(pool.take(third, 10), 0);
  EXPECT_EQ(pool.take(other, 10), 0) << "it waits once";
  pool.give(30);
  EXPECT_EQ(other.calls, 1);
  EXPECT_EQ(third.calls, 0);
  EXPECT_EQ(pool.take(one, 10), 0) << "nobody overtakes the third";
  EXPECT_EQ(pool.collect(other), 30);
  EXPECT_EQ(pool.collect(other), 0);
  pool.give(30);
  EXPECT_EQ(pool.collect(third), 30);
  pool.give(40);
  EXPECT_EQ(pool.collect(one), 40);
}

TEST_F(MemoryPoolTest, AGrantIsABoundedShare) {
  pool.resize(3 * kMemoryQuantum);
  EXPECT_EQ(pool.take(one, 3 * kMemoryQuantum), 3 * kMemoryQuantum);
  EXPECT_EQ(pool.take(other, 1), 0);
  pool.give(3 * kMemoryQuantum);
  EXPECT_EQ(pool.collect(other), kMemoryQuantum);
  EXPECT_EQ(pool.available(), 2 * kMemoryQuantum);
}

TEST_F(MemoryPoolTest, OneOverdrawsAtATime) {
  EXPECT_EQ(pool.take(one, 100), 100);
  EXPECT_TRUE(pool.askToOverdraw(one));
  EXPECT_TRUE(pool.askToOverdraw(one)) << "it still has the turn";
  EXPECT_FALSE(pool.askToOverdraw(other));
  EXPECT_FALSE(pool.askToOverdraw(third));
  EXPECT_FALSE(pool.askToOverdraw(other)) << "it stands in line once";
  EXPECT_EQ(pool.overdraw(one, 30, 50), 30);
  pool.passOn(one);
  EXPECT_EQ(other.calls, 1);
  EXPECT_EQ(third.calls, 0);
  EXPECT_TRUE(pool.askToOverdraw(other));
  pool.passOn(other);
  EXPECT_EQ(third.calls, 1);
  EXPECT_TRUE(pool.askToOverdraw(third));
  pool.passOn(third);
  EXPECT_TRUE(pool.askToOverdraw(one));
  pool.passOn(one);
  pool.give(130);
}

TEST_F(MemoryPoolTest, AllTogetherOverdrawNoMoreThanAFrame) {
  EXPECT_EQ(pool.take(one, 100), 100);
  EXPECT_TRUE(pool.askToOverdraw(one));
  EXPECT_EQ(pool.overdraw(one, 30, 50), 30);
  EXPECT_FALSE(pool.askToOverdraw(other));
  pool.passOn(one);
  EXPECT_EQ(pool.overdraw(other, 30, 50), 20);
  EXPECT_EQ(pool.available(), -50);
  EXPECT_EQ(pool.overdraw(other, 30, 50), 0);
  other.calls = 0;
  pool.give(10);
  EXPECT_EQ(other.calls, 1) << "it can go on";
  EXPECT_EQ(pool.overdraw(other, 30, 50), 10);
  pool.give(150);
  EXPECT_EQ(pool.available(), 100);
}

TEST_F(MemoryPoolTest, WhoIsForgottenLeavesWhatItHasToTheOthers) {
  EXPECT_EQ(pool.take(one, 100), 100);
  EXPECT_TRUE(pool.askToOverdraw(one));
  EXPECT_FALSE(pool.askToOverdraw(other));
  EXPECT_FALSE(pool.askToOverdraw(third));
  EXPECT_EQ(pool.take(other, 1), 0);
  EXPECT_EQ(pool.take(third, 1), 0);
  pool.give(20);
  pool.forget(other);
  EXPECT_EQ(pool.collect(third), 20) << "what was granted to the other";
  pool.forget(one);
  EXPECT_TRUE(pool.askToOverdraw(third));
  pool.forget(third);
  EXPECT_TRUE(pool.askToOverdraw(one));
}

TEST_F(MemoryPoolTest, ALargerPoolLetsThoseGoOnThatWait) {
  EXPECT_EQ(pool.take(one, 100), 100);
  EXPECT_EQ(pool.take(other, 1), 0);
  pool.resize(150);
  EXPECT_EQ(pool.collect(other), 50);
  pool.resize(20);
  EXPECT_EQ(pool.available(), -130) << "what is taken stays taken";
  pool.give(150);
  EXPECT_EQ(pool.available(), 20);
}

TEST_F(MemoryPoolTest, TellsForHowLongNothingWasLeft) {
  clock.advance(5);
  EXPECT_EQ(pool.depletedNs(), 0);
  EXPECT_EQ(pool.take(one, 100), 100);
  clock.advance(7);
  EXPECT_EQ(pool.depletedNs(), 7);
  pool.give(1);
  clock.advance(100);
  EXPECT_EQ(pool.depletedNs(), 7);
  EXPECT_EQ(pool.take(one, 1), 1);
  clock.advance(2);
  pool.give(100);
  EXPECT_EQ(pool.depletedNs(), 9);
}

TEST(FrameSizes, AreSummedFromBothEnds) {
  FrameSizes sizes;
  sizes.push(UINT32_MAX);
  EXPECT_EQ(sizes.pop(1), int64_t{UINT32_MAX});
  EXPECT_EQ(sizes.pop(0), 0);
  for (uint32_t bytes = 1; bytes <= 100; bytes++) sizes.push(bytes);
  EXPECT_EQ(sizes.pop(2), 1 + 2);
  EXPECT_EQ(sizes.popBack(3), 100 + 99 + 98);
  sizes.push(7);
  EXPECT_EQ(sizes.popBack(2), 7 + 97);
  EXPECT_EQ(sizes.pop(94), 96 * 97 / 2 - 3);
  sizes.push(5);
  EXPECT_EQ(sizes.popBack(1), 5);
  sizes.push(6);
  sizes.push(8);  // and let go of with both
}

}  // namespace
}  // namespace odradek
