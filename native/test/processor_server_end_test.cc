// How a processor ends: drained, stopped, or with its poller lost.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::framedAll;
using test::ProcessorBench;
using test::Taken;

TEST(ProcessorDrain, IdleConnectionsCloseAndOthersAreAnsweredFirst) {
  ProcessorBench bench;
  FakeConnection& idle = bench.connect();
  FakeConnection& busy = bench.connect();
  busy.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.processor->drain();
  bench.run();
  EXPECT_TRUE(idle.sawEnd());
  EXPECT_FALSE(busy.sawEnd());
  busy.send(framed("not received any more"));
  bench.echo(requests);
  bench.run();
  EXPECT_EQ(busy.take(), framedAll({"a", "b"}));
  EXPECT_TRUE(busy.sawEnd());
  EXPECT_EQ(bench.requests.queued(), 0u);
  idle.end();
  busy.end();
  bench.run();
  const std::vector<Event> events = bench.takeEvents();
  ASSERT_EQ(events.size(), 2u);
  for (const Event& event : events) EXPECT_EQ(event.reason, CloseReason::kServerClosed);
}

TEST(ProcessorDrain, WhatWasReceivedButNotFramedIsAnsweredToo) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  std::string sent;
  for (uint32_t i = 0; i < kFramesPerBatch + 3; i++) sent += framed(std::to_string(i));
  client.send(sent + std::string(2, '\0'));
  bench.run();
  bench.processor->drain();
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(client.take(), sent);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorDrain, ConnectionsStillQueuedAreClosed) {
  ProcessorBench bench;
  bench.connect();
  FakeConnection& queued = bench.offer();
  bench.processor->drain();
  bench.run();
  EXPECT_TRUE(queued.sawEnd());
  EXPECT_FALSE(queued.isOpen());
  EXPECT_EQ(bench.processor->counters().connections.value(), 1u);
  FakeConnection& late = bench.offer();
  bench.run();
  EXPECT_FALSE(late.isOpen());
}

TEST(ProcessorDrain, ASlowReaderIsWaitedFor) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(2);
  client.send(framed("a"));
  bench.run();
  bench.reply(bench.claimOne(), "abcdef");
  bench.processor->drain();
  bench.run();
  std::string got;
  for (int i = 0; i < 3; i++) {
    EXPECT_FALSE(client.sawEnd());
    got += client.take();
    bench.run();
  }
  EXPECT_EQ(got, "abcdef");
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorDrain, WaitersForRoomAreServed) {
  ProcessorBench bench({.queued_max_requests = 1});
  FakeConnection& first = bench.connect();
  FakeConnection& second = bench.connect();
  first.send(framed("1"));
  second.send(framed("2"));
  bench.run();
  bench.processor->drain();
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(first.take(), framed("1"));
  EXPECT_EQ(second.take(), framed("2"));
  EXPECT_TRUE(first.sawEnd());
  EXPECT_TRUE(second.sawEnd());
}

TEST(ProcessorStop, EveryConnectionIsClosedAndReportedWithTheReason) {
  ProcessorBench bench;
  FakeConnection& idle = bench.connect();
  FakeConnection& busy = bench.connect();
  busy.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim(1);
  FakeConnection& queued = bench.offer();
  bench.processor->stop(CloseReason::kDeadline);
  EXPECT_FALSE(bench.turn());
  EXPECT_TRUE(idle.sawEnd());
  EXPECT_TRUE(queued.sawEnd());
  const std::vector<Event> events = bench.takeEvents();
  ASSERT_EQ(events.size(), 3u);
  uint32_t unanswered = 0;
  for (const Event& event : events) {
    EXPECT_EQ(event.kind, Event::Kind::kClosed);
    EXPECT_EQ(event.reason, CloseReason::kDeadline);
    unanswered += event.count;
  }
  EXPECT_EQ(unanswered, 2u);
  // A reply that comes too late finds nobody.
  bench.reply(requests[0], "late");
}

TEST(ProcessorStop, RepliesThatDidntLeaveAreDropped) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(1);
  client.send(framed("a"));
  bench.run();
  bench.reply(bench.claimOne(), "abc");
  bench.run();
  bench.processor->stop(CloseReason::kDeadline);
  EXPECT_FALSE(bench.turn());
  bench.expectClosed(client, CloseReason::kDeadline, 1);
}

TEST(ProcessorStop, WhatWasGivenBeforeItLeaves) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  // Both come when the turn has looked for replies already.
  bench.poller.on_sleep = [&] {
    bench.reply(request, "abc");
    bench.processor->stop(CloseReason::kDeadline);
  };
  EXPECT_FALSE(bench.turn());
  EXPECT_EQ(client.take(), "abc");
  bench.expectClosed(client, CloseReason::kDeadline);
}

TEST(ProcessorStop, WhatADrainBeforeItFinishedIsNotCalledCutOff) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  bench.poller.on_sleep = [&] {
    bench.processor->drain();
    bench.reply(request, "abc");
    bench.processor->stop(CloseReason::kDeadline);
  };
  EXPECT_FALSE(bench.turn());
  EXPECT_EQ(client.take(), "abc");
  bench.expectClosed(client, CloseReason::kServerClosed);
}

TEST(ProcessorStop, WakesASleepingLoop) {
  ProcessorBench bench;
  bench.connect();
  bench.poller.on_sleep = [&] { bench.processor->stop(CloseReason::kDeadline); };
  EXPECT_FALSE(bench.turn());
  EXPECT_EQ(bench.poller.wakes, 1u);
  EXPECT_EQ(bench.processor->wakes(), 1u);
}

TEST(ProcessorStop, OffersAreRefusedAfterwards) {
  ProcessorBench bench;
  bench.processor->stop(CloseReason::kDeadline);
  EXPECT_FALSE(bench.turn());
  bench.offer(Processor::Offer::kGone);
}

TEST(ProcessorStop, FullQueuesAreToldWhenTheLoopEnds) {
  ProcessorBench bench;
  for (uint32_t i = 0; i < kNewConnectionQueue; i++) bench.offer();
  bench.offer(Processor::Offer::kFull);
  bench.poller.lose(EBADF);
  EXPECT_FALSE(bench.turn());
  EXPECT_EQ(bench.room_calls, 1);
}

TEST(ProcessorLost, APollerThatIsLostIsFatalAndEverythingIsSettled) {
  ProcessorBench bench({.queued_max_requests = 3});
  FakeConnection& client = bench.connect();
  FakeConnection& waiter = bench.connect();
  client.send(framedAll({"a", "b", "c"}));
  waiter.send(framed("d"));
  bench.run();
  EXPECT_EQ(bench.processor->counters().waiting_for_room.value(), 1u);
  bench.poller.lose(EBADF);
  EXPECT_FALSE(bench.turn());
  EXPECT_FALSE(bench.turn());
  const std::vector<Event> events = bench.takeEvents();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].reason, CloseReason::kReactorLost);
  EXPECT_EQ(events[0].count, 3u);
  EXPECT_EQ(events[1].reason, CloseReason::kReactorLost);
  EXPECT_EQ(events[2].kind, Event::Kind::kFatal);
  EXPECT_EQ(events[2].error, EBADF);
  EXPECT_EQ(bench.processor->counters().waiting_for_room.value(), 0u);
  // The requests are still in the queue, for a handler to find that their connection is gone.
  EXPECT_EQ(bench.claim().size(), 3u);
  bench.requests.release(3);
}

TEST(ProcessorLost, APollerThatCantBeOpenedIsAnError) {
  ProcessorBench bench;
  test::FakePoller poller(bench.kernel);
  poller.failOpen(EMFILE);
  Processor other(1, Processor::Seams{poller, bench.kernel, bench.kernel.clock, bench.memory},
                  bench.requests, bench.memory_pool, bench.unsent, bench.handovers, bench.quotas,
                  bench.ends, bench.consumer);
  EXPECT_EQ(other.open(), EMFILE);
}

// A processor that holds permits or a grant when it ends gives them to the others.
TEST(ProcessorLost, ItsPermitsGoToTheOthers) {
  ProcessorBench bench({.queued_max_requests = 1});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  // The claim grants the freed place to the processor, which is lost before it can use it.
  bench.echo(bench.claim());
  bench.poller.lose(EBADF);
  EXPECT_FALSE(bench.turn());
  bench.requests.clear();
  EXPECT_EQ(test::freePermits(bench.requests), 1u);
}

}  // namespace
}  // namespace odradek
