// A handler thread's side of the request channel: what it claims, when it may sleep and who is
// woken, and what it leaves behind when it is lost.
#include "../core/request_handler.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "../core/bounds.h"
#include "fake_consumer.h"
#include "fake_memory.h"
#include "free_permits.h"
#include "pool_thread.h"

namespace odradek {
namespace {

using test::FakeSink;
using test::PoolThread;
using Numbers = std::vector<uint32_t>;

constexpr uint32_t kPermits = 20;

// At its end everything is back.
struct Pool {
  explicit Pool(bool has_affinity = false, uint32_t max_in_flight = 1, uint32_t max_pending = 100,
                uint32_t permits = kPermits)
      : permits(permits),
        requests(permits, max_pending, consumer,
                 std::make_unique<HandlerSet>(has_affinity, max_in_flight)) {}
  ~Pool() {
    EXPECT_EQ(requests.pending(), 0u);
    requests.clear();
    EXPECT_EQ(test::freePermits(requests), is_shut ? 0 : permits);
    sink.take();
    EXPECT_EQ(memory.live, 0);
  }

  struct Asker final : PermitWaiter {
    void permitsGranted() override { calls++; }
    int calls = 0;
  };

  // As a processor does: `count` frames of a connection, with a permit each.
  void push(uint32_t slot, uint32_t count, uint32_t place = 0) {
    const uint32_t got = requests.acquire(asker);
    ASSERT_GE(got, count);
    std::vector<Request> made;
    if (sequences.size() <= slot) sequences.resize(slot + 1);
    for (uint32_t i = 0; i < count; i++) {
      Request request;
      request.channel.slot = slot;
      request.sequence = sequences[slot]++;
      request.place = place;
      request.block = Block::make(memory, 1);
      made.push_back(request);
    }
    requests.push(made, got - count);
  }

  const uint32_t permits;
  bool is_shut = false;
  test::FakeMemory memory;
  test::FakeConsumer consumer;
  FakeSink sink;
  Asker asker;
  Numbers sequences;
  RequestChannel requests;
};

Numbers sequencesOf(const std::vector<Request>& requests) {
  Numbers sequences;
  for (const Request& request : requests) sequences.push_back(request.sequence);
  return sequences;
}

// --- Claims and answers ------------------------------------------------------------------------

TEST(RequestHandler, ClaimsAConnectionsRequestsTogetherAndAnswersThem) {
  Pool pool;
  PoolThread thread(3, pool.requests, pool.sink);
  pool.push(7, 3);
  pool.push(8, 1);
  EXPECT_EQ(thread.claim(), (Numbers{0, 1, 2}));
  EXPECT_FALSE(thread.is_drained);
  EXPECT_EQ(pool.requests.pending(), 1u) << "one may be started";
  EXPECT_EQ(thread.handler->inWork(), 1u);
  thread.answer(0, 2);
  EXPECT_EQ(pool.requests.pending(), 1u) << "the third may be started";
  thread.answer(0);
  EXPECT_EQ(pool.requests.pending(), 0u);
  EXPECT_EQ(thread.handler->claimed(), 3u);
  const std::vector<Command> commands = pool.sink.take();
  ASSERT_EQ(commands.size(), 2u);
  EXPECT_EQ(commands[0].origin, 4u);
  EXPECT_EQ(commands[0].settles, 2u);
  EXPECT_EQ(thread.claim().size(), 1u);
  EXPECT_TRUE(thread.is_drained);
  thread.answer(0);
}

TEST(RequestHandler, RepliesToRequestsThatItDoesNotHaveAreDropped) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink);
  pool.push(7, 1);
  thread.claim();
  Command stray;
  stray.channel.slot = 7;
  stray.sequence = 1;
  stray.settles = 1;
  stray.block = Block::make(pool.memory, 1);
  std::vector<Command> commands = {stray};
  thread.handler->submit(commands);
  EXPECT_TRUE(commands.empty());
  EXPECT_TRUE(pool.sink.take().empty());
  EXPECT_EQ(pool.requests.pending(), 1u);
  thread.answer(0);
}

TEST(RequestHandler, AConnectionThatHasEndedCountsNoMore) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink);
  pool.push(7, 2);
  thread.claim();
  thread.handler->forget(ChannelId{0, 7, 0});
  EXPECT_EQ(pool.requests.pending(), 0u);
  thread.handler->forget(ChannelId{0, 7, 0});
  EXPECT_EQ(thread.handler->inWork(), 0u);
}

TEST(RequestHandler, WithoutRoomItClaimsNothingAndSleeps) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink, 1, kFramesPerBatch + 1);
  PoolThread other(1, pool.requests, pool.sink);
  pool.push(7, 2);
  ASSERT_EQ(thread.claim().size(), 2u);
  ASSERT_TRUE(other.sleep());
  pool.push(8, 1);
  EXPECT_EQ(thread.claim(), Numbers());
  EXPECT_TRUE(thread.sleep()) << "it would look again and again";
  thread.answer(0, 2);
  EXPECT_EQ(thread.claim().size(), 1u);
  thread.answer(0);
}

// --- Bounds ------------------------------------------------------------------------------------

TEST(RequestHandler, TheBoundOfPendingRequestsIsKeptByAll) {
  Pool pool(false, 1, 1);
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  pool.push(7, 1);
  pool.push(8, 1);
  EXPECT_EQ(one.claim().size(), 1u);
  EXPECT_TRUE(one.is_drained) << "nothing that may be claimed";
  EXPECT_EQ(two.claim().size(), 0u);
  EXPECT_TRUE(two.sleep());
  one.answer(0);
  EXPECT_EQ(two.wakes, 1u);
  EXPECT_EQ(two.claim().size(), 1u);
  two.answer(0);
}

TEST(RequestHandler, WhatAThreadLeavesFreeAtTheServersEndNoOtherTakes) {
  Pool pool(false, 1, 1);
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  pool.push(7, 1);
  pool.push(8, 1);
  ASSERT_EQ(one.claim().size(), 1u);
  ASSERT_TRUE(two.sleep());
  pool.requests.shut();
  pool.is_shut = true;
  one.handler->detach().letGo();
  EXPECT_EQ(two.claim().size(), 0u);
  EXPECT_TRUE(two.is_drained);
}

TEST(RequestHandler, WhereSeveralMayBeStartedTheBoundIsKeptToo) {
  Pool pool(true, 5, 3);
  PoolThread one(0, pool.requests, pool.sink, 5);
  PoolThread two(1, pool.requests, pool.sink, 5);
  pool.push(7, 2, 0);
  pool.push(8, 5, 1);
  EXPECT_EQ(one.claim().size(), 2u);
  EXPECT_EQ(two.claim(), (Numbers{0}));
  EXPECT_EQ(pool.requests.pending(), 3u);
  EXPECT_TRUE(two.sleep());
  one.answer(0, 2);
  EXPECT_EQ(two.wakes, 1u);
  EXPECT_EQ(two.claim(), (Numbers{1, 2}));
  EXPECT_EQ(pool.requests.pending(), 3u);
  two.answer(0, 3);
  EXPECT_EQ(two.claim(), (Numbers{3, 4}));
  two.answer(0, 2);
}

TEST(RequestHandler, RepliesThatWaitForEarlierOnesArePendingToo) {
  Pool pool(false, 3, 2);
  PoolThread one(0, pool.requests, pool.sink, 3);
  PoolThread two(1, pool.requests, pool.sink, 3);
  pool.push(7, 3);
  ASSERT_EQ(one.claim(), (Numbers{0}));
  ASSERT_EQ(two.claim(), (Numbers{1}));
  two.answer(0);
  pool.requests.keep(1);
  EXPECT_EQ(pool.requests.pending(), 2u);
  EXPECT_EQ(two.claim(), Numbers());
  ASSERT_TRUE(two.sleep());
  one.answer(0);
  EXPECT_EQ(two.wakes, 1u) << "what they wait for may be what is queued";
  pool.requests.keep(-1);
  EXPECT_EQ(two.claim(), (Numbers{2}));
  two.answer(0);
}

TEST(RequestHandler, WithNothingElsePendingWhatRepliesWaitForIsClaimed) {
  Pool pool(false, 3, 2);
  PoolThread thread(0, pool.requests, pool.sink, 3);
  pool.requests.keep(2);
  pool.push(7, 2);
  EXPECT_EQ(thread.claim(), (Numbers{0}));
  EXPECT_EQ(thread.claim(), Numbers()) << "one at a time";
  thread.answer(0);
  EXPECT_EQ(thread.claim(), (Numbers{1}));
  thread.answer(0);
  pool.requests.keep(-2);
}

TEST(RequestHandler, RequestsBehindAsManyAsMayBeStartedDontCount) {
  Pool pool(true, 2);
  PoolThread thread(0, pool.requests, pool.sink, 2);
  pool.push(7, 2);
  thread.claim();
  pool.push(7, 1);
  EXPECT_EQ(thread.claim(), (Numbers{2}));
  EXPECT_EQ(pool.requests.pending(), 2u);
  thread.answer(1);
  EXPECT_EQ(pool.requests.pending(), 2u);
  thread.answer(0);
  thread.answer(0);
}

TEST(RequestHandler, ClaimsGiveTheirRoomToWaitingProcessors) {
  Pool pool(false, 1, 100, 2);
  PoolThread thread(0, pool.requests, pool.sink);
  pool.push(7, 2);
  Pool::Asker waiting;
  EXPECT_EQ(pool.requests.acquire(waiting), 0u);
  thread.claim();
  EXPECT_EQ(waiting.calls, 1);
  EXPECT_EQ(pool.requests.collectGrant(waiting), 2u);
  std::vector<Request> none;
  pool.requests.push(none, 2);
  thread.answer(0, 2);
}

// One that sleeps on the bound of pending requests must not be taken for woken by this.
TEST(RequestHandler, PermitsThatComeBackWakeNobody) {
  Pool pool(true, 1, 1);
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  pool.push(7, 1, 0);
  pool.push(8, 1, 1);
  ASSERT_EQ(one.claim().size(), 1u);
  ASSERT_TRUE(two.sleep());
  pool.push(9, 0);
  one.answer(0);
  EXPECT_EQ(two.wakes, 1u);
  EXPECT_EQ(two.claim().size(), 1u);
  two.answer(0);
}

TEST(RequestHandler, TheServersOwnThreadClaimsNothing) {
  Pool pool(false, 1, 1);
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  pool.push(7, 1);
  pool.push(8, 1);
  ASSERT_EQ(one.claim().size(), 1u);
  ASSERT_TRUE(two.sleep());
  std::vector<Request> taken;
  EXPECT_TRUE(pool.requests.claim(taken, 100));
  EXPECT_TRUE(taken.empty());
  one.answer(0);
  EXPECT_EQ(two.wakes, 1u) << "it still slept on the bound";
  two.claim();
  two.answer(0);
}

// --- Sleep -------------------------------------------------------------------------------------

TEST(RequestHandler, AsManyAreWokenAsCanFindSomething) {
  Pool pool;
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  PoolThread three(2, pool.requests, pool.sink);
  for (PoolThread* thread : {&one, &two, &three}) ASSERT_TRUE(thread->sleep());
  pool.push(7, 1);
  EXPECT_EQ(one.wakes + two.wakes + three.wakes, 1u);
  pool.push(8, 1);
  EXPECT_EQ(one.wakes + two.wakes + three.wakes, 2u);
  EXPECT_EQ(one.claim().size(), 1u);
  EXPECT_EQ(two.claim().size(), 1u);
  EXPECT_EQ(three.wakes, 0u);
  one.answer(0);
  two.answer(0);
}

TEST(RequestHandler, ItMayNotSleepOnWhatCameMeanwhile) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink);
  EXPECT_EQ(thread.claim(), Numbers());
  pool.push(7, 1);
  EXPECT_FALSE(thread.sleep()) << "before it was known to rest";
  thread.claim();
  thread.answer(0);
  ASSERT_TRUE(thread.handler->rest(true));
  pool.push(7, 1);
  EXPECT_FALSE(thread.handler->doorbell().trySleep()) << "after";
  EXPECT_EQ(thread.wakes, 0u);
  EXPECT_EQ(thread.claim().size(), 1u);
  thread.answer(0);
}

TEST(RequestHandler, OneThatWantsNoRequestsIsLeftAlone) {
  Pool pool;
  PoolThread busy(0, pool.requests, pool.sink);
  PoolThread free(1, pool.requests, pool.sink);
  ASSERT_TRUE(busy.sleep(false));
  pool.push(7, 1);
  EXPECT_EQ(busy.wakes, 0u);
  EXPECT_FALSE(free.sleep());
  free.claim();
  free.answer(0);
}

TEST(RequestHandler, WhatAnIdleOneComesForIsLeftToIt) {
  Pool pool;
  PoolThread busy(0, pool.requests, pool.sink);
  PoolThread idle(1, pool.requests, pool.sink);
  pool.push(7, 1);
  ASSERT_EQ(busy.claim().size(), 1u);
  ASSERT_TRUE(idle.sleep());
  pool.push(8, 3);
  EXPECT_EQ(idle.wakes, 1u);
  EXPECT_EQ(busy.claim(), Numbers()) << "it would be late for what it has in work";
  EXPECT_TRUE(busy.is_drained);
  EXPECT_TRUE(busy.sleep());
  pool.push(9, 1);
  EXPECT_EQ(busy.wakes, 1u) << "nobody comes for that";
  EXPECT_EQ(busy.claim().size(), 3u);
  EXPECT_EQ(idle.claim().size(), 1u);
  busy.answer(0);
  busy.answer(0, 3);
  idle.answer(0);
}

TEST(RequestHandler, WhatWasLeftToOneThatEndsIsPassedOn) {
  for (const bool is_detached : {false, true}) {
    Pool pool;
    PoolThread busy(0, pool.requests, pool.sink);
    PoolThread idle(1, pool.requests, pool.sink);
    pool.push(7, 1);
    ASSERT_EQ(busy.claim().size(), 1u);
    ASSERT_TRUE(idle.sleep());
    pool.push(8, 1);
    ASSERT_EQ(idle.wakes, 1u);
    ASSERT_TRUE(busy.sleep());
    if (is_detached)
      idle.handler->detach().letGo();
    else
      idle.handler->leave();
    EXPECT_EQ(busy.wakes, 1u);
    EXPECT_EQ(busy.claim().size(), 1u);
    busy.answer(0);
    busy.answer(0);
  }
}

TEST(RequestHandler, AClaimCallsAnIdleOneThatWasBusyWhenTheRequestCame) {
  Pool pool;
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  PoolThread idle(2, pool.requests, pool.sink);
  pool.push(7, 1);
  ASSERT_EQ(one.claim().size(), 1u);
  pool.push(8, 1);
  ASSERT_EQ(two.claim().size(), 1u);
  ASSERT_TRUE(two.sleep());
  ASSERT_TRUE(idle.sleep());
  idle.is_waiting = false;
  pool.push(9, 1);
  EXPECT_EQ(two.wakes, 1u);
  EXPECT_EQ(idle.wakes, 0u);
  idle.is_waiting = true;
  EXPECT_EQ(one.claim(), Numbers());
  EXPECT_EQ(idle.wakes, 1u);
  EXPECT_EQ(two.claim(), Numbers());
  EXPECT_EQ(idle.claim().size(), 1u);
  for (PoolThread* thread : {&one, &two, &idle}) thread->answer(0);
}

TEST(RequestHandler, WhereAllSleepersAreBusyTheFirstThatIsFreeTakes) {
  Pool pool;
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  for (PoolThread* thread : {&one, &two}) {
    ASSERT_TRUE(thread->sleep());
    thread->is_waiting = false;
  }
  pool.push(7, 1);
  EXPECT_EQ(one.wakes, 1u);
  EXPECT_EQ(two.wakes, 1u);
  EXPECT_EQ(two.claim().size(), 1u);
  EXPECT_EQ(one.claim(), Numbers());
  two.answer(0);
}

TEST(RequestHandler, ALineOfOneConnectionWakesOne) {
  Pool pool;
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  ASSERT_TRUE(one.sleep());
  ASSERT_TRUE(two.sleep());
  pool.push(7, 3);
  pool.push(7, 2);
  EXPECT_EQ(one.wakes + two.wakes, 1u);
  EXPECT_EQ(one.claim().size(), 5u);
  one.answer(0, 5);
}

TEST(RequestHandler, OneThatWasRungAndWantsNothingMorePassesItOn) {
  Pool pool;
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  ASSERT_TRUE(one.sleep());
  ASSERT_TRUE(two.sleep());
  pool.push(7, 1);
  PoolThread& rung = one.wakes > 0 ? one : two;
  PoolThread& asleep = one.wakes > 0 ? two : one;
  ASSERT_EQ(asleep.wakes, 0u);
  rung.handler->doorbell().awake();
  EXPECT_TRUE(rung.sleep(false)) << "it retires";
  EXPECT_EQ(asleep.wakes, 1u);
  EXPECT_EQ(asleep.claim().size(), 1u);
  asleep.answer(0);
}

TEST(RequestHandler, OneThatWasRungAndEndsPassesItOn) {
  for (const bool is_detached : {false, true}) {
    Pool pool;
    PoolThread one(0, pool.requests, pool.sink);
    PoolThread two(1, pool.requests, pool.sink);
    ASSERT_TRUE(one.sleep());
    ASSERT_TRUE(two.sleep());
    pool.push(7, 1);
    PoolThread& rung = one.wakes > 0 ? one : two;
    PoolThread& asleep = one.wakes > 0 ? two : one;
    if (is_detached)
      rung.handler->detach().letGo();
    else
      rung.handler->leave();
    EXPECT_EQ(asleep.wakes, 1u);
    EXPECT_EQ(asleep.claim().size(), 1u);
    asleep.answer(0);
  }
}

TEST(RequestHandler, NobodyIsWokenThatHasLeft) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink);
  ASSERT_TRUE(thread.sleep());
  thread.handler->leave();
  pool.push(7, 1);
  thread.handler->ring();
  EXPECT_EQ(thread.wakes, 0u);
}

// --- Lost threads ------------------------------------------------------------------------------

TEST(RequestHandler, WhatALostThreadHadStartedIsToldFromWhatItHadNot) {
  Pool pool(false, 1);
  PoolThread lost(0, pool.requests, pool.sink);
  pool.push(7, 3);
  pool.push(8, 2);
  pool.push(9, 2);
  for (int i = 0; i < 3; i++) lost.claim();
  pool.push(6, 1);
  // Of connection 7 the first is answered and the second started; of 9 the first is started.
  lost.answer(0);
  lost.start(0);
  lost.start(4);
  EXPECT_EQ(pool.requests.pending(), 3u);
  const RequestHandler::Remains remains = lost.handler->detach();
  EXPECT_TRUE(lost.isGivenUp());
  EXPECT_EQ(sequencesOf(remains.started), (Numbers{1, 0}));
  EXPECT_EQ(remains.started[0].channel.slot, 7u);
  EXPECT_EQ(remains.started[1].channel.slot, 9u);
  EXPECT_EQ(sequencesOf(remains.waiting), (Numbers{2, 1}));
  EXPECT_EQ(remains.waiting[0].channel.slot, 7u);
  EXPECT_EQ(remains.waiting[1].channel.slot, 9u);
  EXPECT_EQ(remains.put_back, 2u);
  EXPECT_EQ(pool.requests.pending(), 0u);
  EXPECT_EQ(pool.requests.queued(), 3u);

  PoolThread other(1, pool.requests, pool.sink);
  EXPECT_EQ(other.claim(), (Numbers{0, 1}));
  EXPECT_EQ(other.held()[0].request.channel.slot, 8u) << "at the head of the queue";
  remains.letGo();
  other.answer(0, 2);
}

TEST(RequestHandler, WhatWaitsIsPutBackToTheHead) {
  Pool pool;
  PoolThread lost(0, pool.requests, pool.sink);
  pool.push(7, 3);
  lost.claim();
  lost.start(0);
  pool.push(8, 1);
  const RequestHandler::Remains remains = lost.handler->detach();
  for (const Request& request : remains.started) request.block->release();
  PoolThread other(1, pool.requests, pool.sink);
  ASSERT_FALSE(other.sleep());
  pool.requests.putBack(remains.waiting);
  EXPECT_EQ(other.claim(), (Numbers{1, 2}));
  EXPECT_EQ(other.claim(), (Numbers{0}));
  other.answer(0, 2);
  other.answer(0);
}

TEST(RequestHandler, WhatIsPutBackWakesASleeper) {
  Pool pool;
  PoolThread lost(0, pool.requests, pool.sink);
  pool.push(7, 1);
  lost.claim();
  PoolThread other(1, pool.requests, pool.sink);
  ASSERT_TRUE(other.sleep());
  EXPECT_EQ(lost.handler->detach().put_back, 1u);
  EXPECT_EQ(other.wakes, 1u);
  EXPECT_EQ(other.claim().size(), 1u);
  other.answer(0);
}

TEST(RequestHandler, RequestsThatComeBackWhenOthersHaveTheirRoomKeepTheirOwn) {
  Pool pool(false, 1, 100, 2);
  PoolThread lost(0, pool.requests, pool.sink);
  pool.push(7, 2);
  lost.claim();
  pool.push(8, 2);
  EXPECT_EQ(lost.handler->detach().put_back, 2u);
  EXPECT_EQ(pool.requests.queued(), 4u);
  Pool::Asker waiting;
  EXPECT_EQ(pool.requests.acquire(waiting), 0u);
  PoolThread other(1, pool.requests, pool.sink);
  EXPECT_EQ(other.claim().size(), 2u);
  EXPECT_EQ(waiting.calls, 0) << "the queue is as full as it may be";
  EXPECT_EQ(other.claim().size(), 2u);
  EXPECT_EQ(waiting.calls, 1);
  pool.requests.forget(waiting);
  other.answer(0, 2);
  other.answer(0, 2);
}

TEST(RequestHandler, OneThatWasGivenUpFindsNothing) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink);
  pool.push(7, 1);
  thread.claim();
  EXPECT_EQ(thread.handler->detach().put_back, 1u);
  EXPECT_EQ(thread.handler->detach().put_back, 0u) << "a second time";
  thread.answer(0);
  EXPECT_TRUE(pool.sink.take().empty()) << "another one answers it";
  EXPECT_EQ(thread.claim(), Numbers());
  EXPECT_TRUE(thread.is_drained);
  EXPECT_TRUE(thread.handler->rest(true));
  EXPECT_FALSE(thread.handler->describe(ChannelId{0, 7, 0}).has_value());
  thread.handler->forget(ChannelId{0, 7, 0});
  EXPECT_EQ(pool.requests.queued(), 1u);
}

TEST(RequestHandler, OneThatIsGivenUpBeforeItBeginsIsToldSo) {
  Pool pool;
  auto handler = std::make_shared<RequestHandler>(0, 200, 1, pool.requests, pool.sink);
  pool.requests.enter(0, handler);
  EXPECT_EQ(handler->detach().put_back, 0u);
  struct NoWaker final : Waker {
    void wake() override {}
    bool isWaiting() override { return false; }
  } waker;
  std::vector<uint8_t> marks(201);
  EXPECT_FALSE(handler->enter(waker, marks.data()));
  handler->leave();
}

TEST(RequestHandler, OneThatEndsLeavesItsMarksBehind) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink);
  pool.push(7, 2);
  pool.push(8, 1);
  thread.claim();
  thread.claim();
  thread.start(0);
  thread.handler->leave();
  EXPECT_EQ(pool.requests.pending(), 2u) << "until it is detached";
  // What the thread had is memory of somebody else's now.
  thread.start(2);
  const RequestHandler::Remains remains = thread.handler->detach();
  EXPECT_EQ(sequencesOf(remains.started), (Numbers{0}));
  EXPECT_EQ(sequencesOf(remains.waiting), (Numbers{1}));
  EXPECT_EQ(remains.put_back, 1u);
  remains.letGo();
}

TEST(RequestHandler, ATicketThatIsUsedAgainIsNotStarted) {
  Pool pool;
  PoolThread thread(0, pool.requests, pool.sink);
  pool.push(7, 1);
  thread.claim();
  thread.start(0);
  thread.answer(0);
  pool.push(7, 1);
  thread.claim();
  EXPECT_EQ(thread.held()[0].ticket, 0u);
  EXPECT_EQ(thread.handler->detach().put_back, 1u);
}

TEST(RequestHandler, AReplacementTakesWhatWaitsAtItsPlace) {
  Pool pool(true);
  PoolThread other(0, pool.requests, pool.sink);
  {
    PoolThread lost(1, pool.requests, pool.sink);
    pool.push(7, 2, 1);
    lost.claim();
  }
  pool.push(8, 1, 1);
  EXPECT_EQ(other.claim(), Numbers());
  PoolThread replacement(1, pool.requests, pool.sink);
  EXPECT_EQ(replacement.claim(), (Numbers{0, 1}));
  EXPECT_EQ(replacement.claim(), (Numbers{0}));
  replacement.answer(0, 2);
  replacement.answer(0);
}

TEST(RequestHandler, WhatARetiredPlaceHadWakesItsHeir) {
  Pool pool(true);
  PoolThread stays(0, pool.requests, pool.sink);
  PoolThread retired(1, pool.requests, pool.sink);
  pool.push(7, 2, 1);
  retired.claim();
  pool.push(8, 1, 1);
  ASSERT_TRUE(stays.sleep());
  pool.requests.retire(1);
  EXPECT_EQ(stays.wakes, 1u);
  EXPECT_EQ(stays.claim(), (Numbers{0}));
  ASSERT_TRUE(stays.sleep());
  EXPECT_EQ(retired.claim(), Numbers());
  EXPECT_EQ(retired.handler->detach().put_back, 2u);
  EXPECT_EQ(stays.wakes, 2u);
  EXPECT_EQ(stays.claim(), (Numbers{0, 1}));
  stays.answer(0);
  stays.answer(0, 2);
}

// --- Events ------------------------------------------------------------------------------------

TEST(RequestHandler, EventsReachThoseTheyAreFor) {
  Pool pool;
  PoolThread one(0, pool.requests, pool.sink);
  PoolThread two(1, pool.requests, pool.sink);
  ASSERT_TRUE(one.sleep());
  ASSERT_TRUE(two.sleep(false));
  pool.requests.tell(1, new Event());
  EXPECT_EQ(one.wakes, 0u);
  EXPECT_EQ(two.wakes, 1u) << "also one that wants no requests";
  pool.requests.tellAll(Event(), 1u << 0);
  EXPECT_EQ(one.wakes, 1u);
  pool.requests.tellAll(Event(), UINT64_MAX);
  EXPECT_EQ(one.takeEvents().size(), 2u);
  EXPECT_EQ(two.takeEvents().size(), 2u);
  one.handler->detach().letGo();
  pool.requests.tell(0, new Event());
  pool.requests.tell(9, new Event());
  pool.requests.tellAll(Event(), UINT64_MAX);
  EXPECT_EQ(one.takeEvents().size(), 0u);
  EXPECT_EQ(two.takeEvents().size(), 1u);
}

// --- Parts of replies --------------------------------------------------------------------------

Command replyOf(uint32_t slot, uint32_t sequence, uint32_t settles) {
  Command command;
  command.channel.slot = slot;
  command.sequence = sequence;
  command.settles = settles;
  return command;
}

TEST(RequestHandler, PartsGetTheSequenceOfTheReplyThatTheyBelongTo) {
  Command hold = replyOf(7, 0, 0);
  hold.kind = Command::Kind::kHold;
  std::vector<Command> commands = {
      replyOf(7, 0, 0), replyOf(7, 0, 0),
      replyOf(7, 5, 1),                    // two parts and the last
      replyOf(7, 0, 0), hold,              // bytes that answer nothing
      replyOf(7, 0, 0), replyOf(8, 9, 1),  // of another connection
      replyOf(7, 0, 0),
  };
  tieParts(commands);
  const std::vector<bool> are_parts = {true, true, false, false, false, false, false, false};
  for (size_t i = 0; i < commands.size(); i++) EXPECT_EQ(commands[i].is_part, are_parts[i]) << i;
  EXPECT_EQ(commands[0].sequence, 5u);
  EXPECT_EQ(commands[1].sequence, 5u);
}

}  // namespace
}  // namespace odradek
