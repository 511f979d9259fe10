#include "../core/handler_set.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "../core/request_channel.h"
#include "fake_consumer.h"
#include "fake_memory.h"
#include "pool_thread.h"

namespace odradek {
namespace {

using Numbers = std::vector<uint32_t>;

Request requestOf(uint32_t slot, uint32_t sequence, uint32_t place = 0) {
  Request request;
  request.channel.slot = slot;
  request.sequence = sequence;
  request.place = place;
  return request;
}

class HandlerSetTest : public testing::Test {
 protected:
  std::shared_ptr<RequestHandler> handler(uint32_t place) {
    return std::make_shared<RequestHandler>(place, 200, 1, requests_, sink_);
  }

  // The places of those that were woken.
  static Numbers wake(HandlerSet& set, size_t runs) {
    HandlerSet::Handlers woken;
    set.wake(runs, woken);
    Numbers places;
    for (const auto& handler : woken) places.push_back(handler->place());
    return places;
  }

  static Numbers takeRun(HandlerSet& set, uint32_t place, uint32_t most = 1000) {
    std::vector<Request> taken;
    count_ = set.takeRun(place, most, taken);
    Numbers sequences;
    for (const Request& request : taken) sequences.push_back(request.sequence);
    return sequences;
  }

  // How many of the last run may be started at once.
  static inline uint32_t count_ = 0;

 private:
  test::FakeConsumer consumer_;
  test::FakeSink sink_;
  RequestChannel requests_{10, 10, consumer_};
};

TEST_F(HandlerSetTest, ARunIsOneConnectionsWhereOneMayBeInFlight) {
  HandlerSet set(false, 1);
  for (const uint32_t sequence : {0, 1, 2}) set.push(requestOf(7, sequence));
  set.push(requestOf(8, 10));
  set.push(requestOf(7, 3));
  EXPECT_EQ(set.queued(), 5u);
  EXPECT_EQ(takeRun(set, 0), (Numbers{0, 1, 2}));
  EXPECT_EQ(count_, 1u);
  EXPECT_EQ(takeRun(set, 0), (Numbers{10}));
  EXPECT_EQ(takeRun(set, 0), (Numbers{3}));
  EXPECT_EQ(takeRun(set, 0), Numbers());
  EXPECT_EQ(count_, 0u);
  EXPECT_FALSE(set.hasRequests(0));
}

TEST_F(HandlerSetTest, WhereSeveralMayBeInFlightTheyAreTakenOneByOne) {
  HandlerSet set(false, 2);
  set.push(requestOf(7, 0));
  set.push(requestOf(7, 1));
  EXPECT_EQ(takeRun(set, 0), (Numbers{0}));
  EXPECT_EQ(takeRun(set, 1), (Numbers{1}));
}

TEST_F(HandlerSetTest, WithAffinityEachPlaceTakesItsOwn) {
  HandlerSet set(true, 4);
  set.enter(0, handler(0));
  set.enter(1, handler(1));
  for (const uint32_t sequence : {0, 1, 2, 3, 4, 5}) set.push(requestOf(7, sequence, 1));
  EXPECT_FALSE(set.hasRequests(0));
  EXPECT_EQ(takeRun(set, 0), Numbers());
  EXPECT_EQ(takeRun(set, 1, 3), (Numbers{0, 1, 2})) << "no more than may be pending";
  EXPECT_EQ(count_, 3u);
  EXPECT_EQ(takeRun(set, 1), (Numbers{3, 4, 5}));
}

TEST_F(HandlerSetTest, WhatIsPutBackComesFirstInItsOrder) {
  for (const bool has_affinity : {false, true}) {
    HandlerSet set(has_affinity, 1);
    set.enter(0, handler(0));
    set.push(requestOf(9, 20));
    set.putBack({requestOf(7, 0), requestOf(7, 1), requestOf(8, 10)});
    EXPECT_EQ(set.queued(), 4u);
    EXPECT_EQ(takeRun(set, 0), (Numbers{0, 1}));
    EXPECT_EQ(takeRun(set, 0), (Numbers{10}));
    EXPECT_EQ(takeRun(set, 0), (Numbers{20}));
  }
}

TEST_F(HandlerSetTest, ANewConnectionGoesWhereTheFewestAre) {
  HandlerSet set(true, 1);
  for (const uint32_t place : {0, 1, 2}) set.enter(place, handler(place));
  for (const uint32_t place : {0, 1, 2, 0, 1, 2}) EXPECT_EQ(set.assign(), place);
  set.unassign(1, ChannelId());
  EXPECT_EQ(set.assign(), 1u);
  set.leave(2);
  set.unassign(2, ChannelId());
  EXPECT_EQ(set.assign(), 2u) << "its thread will be replaced";
}

TEST_F(HandlerSetTest, ConnectionsThatComeBeforeTheFirstThreadWaitForIt) {
  HandlerSet set(true, 1);
  EXPECT_EQ(set.assign(), 0u);
  set.push(requestOf(7, 5, 0));
  EXPECT_EQ(wake(set, 1), Numbers());
  set.enter(0, handler(0));
  EXPECT_EQ(takeRun(set, 0), (Numbers{5}));
  set.enter(1, handler(1));
  EXPECT_EQ(set.assign(), 1u);
}

TEST_F(HandlerSetTest, WhatARetiredPlaceHadGoesOn) {
  HandlerSet set(true, 1);
  for (const uint32_t place : {0, 1, 2}) set.enter(place, handler(place));
  for (int i = 0; i < 6; i++) set.assign();
  const Request moved = requestOf(7, 0, 2);
  set.unassign(1, ChannelId());
  set.push(moved);
  set.retire(2);
  EXPECT_FALSE(set.hasRequests(2));
  EXPECT_TRUE(set.hasRequests(1)) << "it has the fewest connections";
  // The heir retires, too: what was the first one's goes along, and what comes later follows.
  set.retire(1);
  set.push(requestOf(7, 1, 2));
  EXPECT_EQ(takeRun(set, 0), (Numbers{0, 1}));
  set.putBack({moved});
  EXPECT_EQ(takeRun(set, 0), (Numbers{0}));
  // It ends where it is now: two connections are left there.
  set.unassign(2, moved.channel);
  set.enter(3, handler(3));
  for (const uint32_t place : {3, 3, 0}) EXPECT_EQ(set.assign(), place);
}

TEST_F(HandlerSetTest, SleepersAreWokenOnceThoseWithTheLeastInWorkFirst) {
  HandlerSet set(false, 1);
  test::FakeConsumer consumer;
  test::FakeSink sink;
  test::FakeMemory memory;
  RequestChannel channel(10, 10, consumer, std::make_unique<HandlerSet>(false, 1));
  test::PoolThread busy(0, channel, sink);
  Request request = requestOf(7, 0);
  request.block = Block::make(memory, 1);
  std::vector<Request> requests = {request};
  channel.push(requests, 0);
  ASSERT_EQ(busy.claim().size(), 1u);

  set.enter(0, busy.handler);
  set.enter(1, handler(1));
  set.enter(2, handler(2));
  EXPECT_EQ(wake(set, 5), Numbers()) << "nobody sleeps";
  for (const uint32_t place : {0, 1, 2}) set.sleeps(place);
  set.sleeps(1);
  EXPECT_EQ(wake(set, 1), (Numbers{1}));
  EXPECT_EQ(wake(set, 1), (Numbers{2}));
  set.sleeps(2);
  set.isAwake(2);
  EXPECT_EQ(wake(set, 5), (Numbers{0}));
  set.sleeps(1);
  set.leave(1);
  EXPECT_EQ(wake(set, 5), Numbers());
}

TEST_F(HandlerSetTest, WithAffinityThoseAreWokenForWhomSomethingIsThere) {
  HandlerSet set(true, 1);
  for (const uint32_t place : {0, 1, 2}) {
    set.enter(place, handler(place));
    set.sleeps(place);
  }
  set.push(requestOf(7, 0, 2));
  EXPECT_EQ(wake(set, 1), (Numbers{2}));
  set.push(requestOf(7, 1, 2));
  EXPECT_EQ(wake(set, 1), Numbers());
}

TEST_F(HandlerSetTest, AllThatWaitsIsTaken) {
  HandlerSet set(true, 1);
  set.enter(0, handler(0));
  set.enter(1, handler(1));
  set.push(requestOf(7, 0, 0));
  set.push(requestOf(8, 1, 1));
  EXPECT_EQ(set.takeAll().size(), 2u);
  EXPECT_EQ(set.queued(), 0u);
  EXPECT_FALSE(set.hasRequests(0));
}

using HandlerSetDeathTest = HandlerSetTest;

TEST_F(HandlerSetDeathTest, TheLastPlaceCannotRetire) {
  HandlerSet set(true, 1);
  set.enter(0, handler(0));
  set.assign();
  set.retire(0);
  EXPECT_DEATH(set.push(requestOf(7, 0, 0)), "broken: best != kNoPlace");
}

}  // namespace
}  // namespace odradek
