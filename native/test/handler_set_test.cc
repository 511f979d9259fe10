#include "../core/handler_set.h"

#include <gtest/gtest.h>

#include <array>
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

struct EventLoop final : Waker {
  void wake() override {}
  bool isWaiting() override { return is_waiting; }

  bool is_waiting = true;
};

class HandlerSetTest : public testing::Test {
 protected:
  // With nothing in work, and asleep in its event loop as long as `loops_` says so.
  std::shared_ptr<RequestHandler> handler(uint32_t place) {
    auto handler = std::make_shared<RequestHandler>(place, 200, 1, requests_, sink_);
    marks_.push_back(std::make_unique<Marks>());
    handler->enter(loops_[place], marks_.back()->data());
    return handler;
  }

  // With one request in work.
  std::shared_ptr<RequestHandler> busyHandler(uint32_t place) {
    auto busy = std::make_unique<test::PoolThread>(place, busy_requests_, sink_);
    Request request = requestOf(place, 0);
    request.block = Block::make(memory_, 1);
    std::vector<Request> requests = {request};
    busy_requests_.push(requests, 0);
    EXPECT_EQ(busy->claim().size(), 1u);
    busy_.push_back(std::move(busy));
    return busy_.back()->handler;
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

  EventLoop loops_[4];

 private:
  using Marks = std::array<uint8_t, 201>;

  test::FakeConsumer consumer_;
  test::FakeSink sink_;
  test::FakeMemory memory_;
  RequestChannel requests_{10, 10, consumer_};
  RequestChannel busy_requests_{10, 10, consumer_, std::make_unique<HandlerSet>(false, 1)};
  std::vector<std::unique_ptr<Marks>> marks_;
  std::vector<std::unique_ptr<test::PoolThread>> busy_;
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
  set.enter(0, busyHandler(0));
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

TEST_F(HandlerSetTest, OneThatIsBusyElsewhereIsWokenLast) {
  HandlerSet set(false, 1);
  set.enter(0, handler(0));
  set.enter(1, busyHandler(1));
  set.enter(2, handler(2));
  for (const uint32_t place : {0, 1, 2}) set.sleeps(place);
  loops_[0].is_waiting = false;
  loops_[2].is_waiting = false;
  EXPECT_EQ(wake(set, 1), (Numbers{1})) << "although it has more in work";
  EXPECT_EQ(wake(set, 1), (Numbers{0, 2})) << "whichever is free first";
  set.push(requestOf(7, 0));
  EXPECT_TRUE(set.hasRequests(1)) << "nobody waits for those";
}

TEST_F(HandlerSetTest, RunsAreCountedByTheirEnds) {
  HandlerSet set(false, 1);
  for (const uint32_t slot : {7, 7, 8, 7}) set.push(requestOf(slot, 0));
  EXPECT_EQ(set.runs(), 3u);
  set.putBack({requestOf(9, 0), requestOf(7, 0)});
  EXPECT_EQ(set.runs(), 4u) << "the last joins those that stand first";
  for (uint32_t left = 4; left > 0; left--) {
    EXPECT_EQ(set.runs(), left);
    EXPECT_FALSE(takeRun(set, 0).empty());
  }
  EXPECT_EQ(set.runs(), 0u);

  HandlerSet shared(false, 3);
  shared.push(requestOf(7, 0));
  shared.putBack({requestOf(7, 1)});
  EXPECT_EQ(shared.runs(), 2u);
  shared.takeAll();
  EXPECT_EQ(shared.runs(), 0u);
}

TEST_F(HandlerSetTest, WhoHasWorkLeavesToTheIdleWhatTheyComeFor) {
  HandlerSet set(false, 1);
  set.enter(0, busyHandler(0));
  set.enter(1, handler(1));
  set.enter(2, handler(2));
  set.sleeps(1);
  set.push(requestOf(7, 0));
  EXPECT_EQ(wake(set, 1), (Numbers{1}));
  EXPECT_FALSE(set.hasRequests(0));
  EXPECT_TRUE(set.hasRequests(1));
  EXPECT_TRUE(set.hasRequests(2)) << "it has nothing in work itself";
  set.push(requestOf(8, 0));
  EXPECT_TRUE(set.hasRequests(0)) << "nobody comes for that";
  takeRun(set, 0);
  EXPECT_FALSE(set.hasRequests(0));
  set.isAwake(1);
  EXPECT_FALSE(set.hasRequests(0)) << "it is about to take";
  set.abstains(1);
  EXPECT_TRUE(set.hasRequests(0)) << "it wants nothing";
}

TEST_F(HandlerSetTest, NobodyWaitsForOneThatIsGone) {
  HandlerSet set(false, 1);
  set.enter(0, busyHandler(0));
  set.enter(1, handler(1));
  set.sleeps(1);
  set.push(requestOf(7, 0));
  EXPECT_EQ(wake(set, 1), (Numbers{1}));
  set.leave(1);
  EXPECT_TRUE(set.hasRequests(0));
}

TEST_F(HandlerSetTest, WhoIsAboutToTakeCallsTheIdleFirst) {
  HandlerSet set(false, 1);
  set.enter(0, busyHandler(0));
  for (const uint32_t place : {1, 2, 3}) set.enter(place, handler(place));
  const auto callIdle = [&set](uint32_t place) {
    HandlerSet::Handlers woken;
    set.wakeIdle(place, woken);
    return woken.size();
  };
  for (const uint32_t place : {1, 2, 3}) set.sleeps(place);
  loops_[3].is_waiting = false;
  EXPECT_EQ(callIdle(0), 0u) << "for nothing";
  set.push(requestOf(7, 0));
  set.abstains(1);
  EXPECT_EQ(callIdle(1), 0u) << "it is idle itself";
  EXPECT_EQ(callIdle(0), 1u);
  EXPECT_FALSE(set.hasRequests(0));
  EXPECT_EQ(callIdle(0), 0u) << "once";
  set.push(requestOf(8, 0));
  EXPECT_EQ(callIdle(0), 0u) << "the last one is at work elsewhere";
  EXPECT_TRUE(set.hasRequests(0));
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
