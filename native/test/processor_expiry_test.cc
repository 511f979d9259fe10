// Time-outs: whose clock runs when, and that nobody is closed for what the server is late with.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "processor_bench.h"

namespace odradek {
namespace {

using test::BenchOptions;
using test::FakeConnection;
using test::framed;
using test::ProcessorBench;
using test::Taken;

constexpr int64_t kMs = 1'000'000;

BenchOptions withTimeouts(Timeouts timeouts) { return {.processor = {.timeouts = timeouts}}; }

// --- Nothing under way -------------------------------------------------------------------------

TEST(ProcessorExpiry, AnIdleConnectionIsClosedInOrder) {
  ProcessorBench bench(withTimeouts({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  bench.pass(99);
  EXPECT_TRUE(client.isOpen());
  bench.pass(1);
  bench.expectOrderlyEnd(client, CloseReason::kIdleTimeout);
  EXPECT_EQ(bench.processor->counters().expired.value(), 1u);
}

TEST(ProcessorExpiry, EveryRequestAndEveryReplyBeginsTheClockAnew) {
  ProcessorBench bench(withTimeouts({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  for (int i = 0; i < 5; i++) {
    bench.pass(90);
    client.send(framed("a"));
    bench.run();
    const Taken request = bench.claimOne();
    bench.pass(1000);
    bench.reply(request, "A");
    bench.run();
    EXPECT_EQ(client.take(), "A");
  }
  bench.pass(99);
  EXPECT_FALSE(client.sawEnd());
  bench.pass(1);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, WhoeverTheServerDoesNotReadFromIsNotIdle) {
  BenchOptions options = withTimeouts({.idle_ns = 100 * kMs});
  options.waits_for_accept = true;
  ProcessorBench bench(options);
  FakeConnection& client = bench.connect();
  bench.pass(1000);
  EXPECT_FALSE(client.sawEnd());
  Command accept;
  accept.channel = bench.lastOpened();
  accept.kind = Command::Kind::kAccept;
  bench.submit({accept});
  bench.run();
  bench.pass(99);
  EXPECT_FALSE(client.sawEnd());
  bench.pass(1);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, WhoeverWaitsForRoomIsNotIdleAndBeginsAnew) {
  BenchOptions options = withTimeouts({.idle_ns = 100 * kMs, .frame_ns = 50 * kMs});
  options.queued_max_requests = 1;
  ProcessorBench bench(options);
  FakeConnection& first = bench.connect();
  FakeConnection& second = bench.connect();
  first.send(framed("a"));
  bench.run();
  second.send(framed("b"));
  bench.run();
  bench.pass(1000);
  bench.echo(bench.claim());
  bench.run();
  const Taken request = bench.claimOne();
  EXPECT_EQ(request.body, "b");
  bench.reply(request, "B");
  bench.run();
  EXPECT_EQ(second.take(), "B");
}

// --- Half a frame ------------------------------------------------------------------------------

TEST(ProcessorExpiry, AFrameThatDoesNotEndIsGivenUp) {
  ProcessorBench bench(withTimeouts({.idle_ns = 1000 * kMs, .frame_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  bench.pass(500);
  const std::string frame = framed(std::string(1000, 'x'));
  // A byte now and then doesn't help.
  for (size_t i = 0; i < 10; i++) {
    client.send(frame.substr(i, 1));
    bench.run();
    EXPECT_FALSE(client.sawEnd());
    bench.pass(10);
  }
  bench.expectOrderlyEnd(client, CloseReason::kFrameTimeout);
}

TEST(ProcessorExpiry, EachFrameHasItsOwnTime) {
  ProcessorBench bench(withTimeouts({.frame_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  const std::string frame = framed("abcdef");
  client.send(frame.substr(0, 5));
  for (int i = 0; i < 5; i++) {
    bench.run();
    bench.pass(90);
    client.send(frame.substr(5) + frame.substr(0, 5));
    bench.run();
    bench.echo(bench.claim());
    bench.run();
    EXPECT_EQ(client.take(), frame);
  }
  bench.pass(99);
  EXPECT_FALSE(client.sawEnd());
  bench.pass(1);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, WhileARequestIsInWorkTheRestOfTheNextFrameMayWait) {
  ProcessorBench bench(withTimeouts({.frame_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  client.send(framed("a") + framed("b").substr(0, 2));
  bench.run();
  const Taken request = bench.claimOne();
  bench.pass(1000);
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(client.take(), "A");
  client.send(framed("b").substr(2));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "b");
}

// A loop on a thread with other work comes late to what was there in time.
class LateLoop : public testing::Test {
 protected:
  static BenchOptions elsewhere(Timeouts timeouts) {
    return {.processor = {.sleeps_elsewhere = true, .timeouts = timeouts}};
  }

  void runToRest(ProcessorBench& bench) {
    do bench.processor->turn();
    while (!bench.processor->rest(&timeout_ns));
  }

  int64_t timeout_ns = 0;
};

TEST_F(LateLoop, TimeInWhichItWasAwayDoesNotCount) {
  ProcessorBench bench(elsewhere({.frame_ns = 160 * kMs}));
  FakeConnection& client = bench.offer();
  runToRest(bench);
  const std::string frame = framed("abcdef");
  client.send(frame.substr(0, 5));
  runToRest(bench);
  bench.kernel.clock.advance(500 * kMs);
  runToRest(bench);
  EXPECT_FALSE(client.sawEnd());
  EXPECT_EQ(timeout_ns, 140 * kMs) << "two pauses count";
  bench.kernel.clock.advance(139 * kMs);
  runToRest(bench);
  EXPECT_FALSE(client.sawEnd());
  bench.kernel.clock.advance(1 * kMs);
  runToRest(bench);
  EXPECT_TRUE(client.sawEnd());
}

TEST_F(LateLoop, NobodyIsWaitedForForEverThoughItIsAlwaysLate) {
  ProcessorBench bench(elsewhere({.frame_ns = 160 * kMs}));
  FakeConnection& client = bench.offer();
  runToRest(bench);
  const std::string frame = framed(std::string(100, 'x'));
  client.send(frame.substr(0, 5));
  runToRest(bench);
  for (size_t i = 0; i < 8; i++) {
    EXPECT_FALSE(client.sawEnd()) << i;
    client.send(frame.substr(5 + i, 1));
    bench.kernel.clock.advance(1000 * kMs);
    runToRest(bench);
  }
  EXPECT_TRUE(client.sawEnd());
}

TEST_F(LateLoop, ReadsBeforeItLooksForIdleOnes) {
  ProcessorBench bench(elsewhere({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.offer();
  runToRest(bench);
  EXPECT_EQ(timeout_ns, 100 * kMs);
  client.send(framed("a"));
  bench.kernel.clock.advance(1000 * kMs);
  runToRest(bench);
  const Taken request = bench.claimOne();
  EXPECT_EQ(request.body, "a");
  bench.reply(request, "A");
  runToRest(bench);
  EXPECT_EQ(client.take(), "A");
}

// --- A client that takes nothing ---------------------------------------------------------------

TEST(ProcessorExpiry, AClientThatTakesNothingIsCutOff) {
  ProcessorBench bench(withTimeouts({.idle_ns = 50 * kMs, .write_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  client.setWindow(10);
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  bench.pass(1000);
  bench.reply(request, std::string(100, 'x'));
  bench.run();
  bench.pass(99);
  EXPECT_TRUE(client.isOpen());
  bench.pass(1);
  bench.expectClosed(client, CloseReason::kWriteTimeout, 1);
}

TEST(ProcessorExpiry, AClientThatTakesALittleIsServed) {
  ProcessorBench bench(withTimeouts({.write_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  client.setWindow(10);
  client.send(framed("a"));
  bench.run();
  bench.reply(bench.claimOne(), std::string(100, 'x'));
  bench.run();
  std::string taken;
  while (taken.size() < 100) {
    bench.pass(90);
    taken += client.take();
    bench.run();
  }
  EXPECT_EQ(taken, std::string(100, 'x'));
  bench.pass(1000);
  EXPECT_TRUE(client.isOpen());
}

TEST(ProcessorExpiry, AConnectionThatClosesWaitsForItsClientNoLonger) {
  ProcessorBench bench(withTimeouts({.write_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  client.setWindow(10);
  client.send(framed("a"));
  bench.run();
  Command last = bench.replyCommand(bench.claimOne(), std::string(100, 'x'));
  last.reason = CloseReason::kClosedByHandler;
  bench.submit({last});
  bench.run();
  bench.pass(100);
  bench.expectClosed(client, CloseReason::kClosedByHandler, 1);
}

// --- Idle ones, by order -----------------------------------------------------------------------

TEST(ProcessorExpiry, IdleConnectionsAreClosedOnDemand) {
  ProcessorBench bench;
  FakeConnection& idle = bench.connect();
  FakeConnection& busy = bench.connect();
  FakeConnection& half = bench.connect();
  busy.send(framed("a"));
  half.send(framed("b").substr(0, 3));
  bench.run();
  const Taken request = bench.claimOne();
  bench.processor->closeIdle();
  bench.run();
  EXPECT_TRUE(idle.sawEnd());
  bench.reply(request, "A");
  half.send(framed("b").substr(3));
  bench.run();
  EXPECT_EQ(busy.take(), "A");
  EXPECT_EQ(bench.claimOne().body, "b");
  EXPECT_FALSE(half.sawEnd()) << "and only once";
}

// --- The sweep ---------------------------------------------------------------------------------

TEST(ProcessorExpiry, WithoutTimeoutsTheLoopNeverWakesByItself) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a").substr(0, 2));
  bench.run();
  EXPECT_EQ(bench.poller.last_timeout_ns, -1);
}

TEST(ProcessorExpiry, WithoutConnectionsNeither) {
  ProcessorBench bench(withTimeouts({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  client.reset();
  bench.run();
  bench.takeEvents();
  bench.pass(1000);
  EXPECT_EQ(bench.poller.last_timeout_ns, -1);
}

TEST(ProcessorExpiry, ManyThatAreDueOneAfterTheOtherShareSweeps) {
  ProcessorBench bench(withTimeouts({.idle_ns = 160 * kMs}));
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 100; i++) {
    clients.push_back(&bench.connect());
    bench.pass(1);
  }
  const uint64_t waits = bench.poller.waits;
  bench.pass(170);
  for (FakeConnection* client : clients) EXPECT_TRUE(client->sawEnd());
  EXPECT_LT(bench.poller.waits - waits, 60u) << "one for each would be twice as many";
}

TEST(ProcessorExpiry, ABusyLoopSweepsToo) {
  ProcessorBench bench(withTimeouts({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  bench.kernel.clock.advance(100 * kMs);
  for (int turns = 0; turns < 3; turns++) {
    // Of connections that are gone since.
    for (int i = 0; i < kEventsPerPoll; i++) bench.poller.inject({.token = 1000, .readable = true});
    bench.turn();
  }
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, ClocksGoOnWhereAConnectionIsHandedOver) {
  BenchOptions options = withTimeouts({.idle_ns = 100 * kMs});
  options.processors = 2;
  ProcessorBench bench(options);
  FakeConnection& client = bench.connect(1);
  bench.kernel.clock.advance(60 * kMs);
  bench.at(1).leave({&bench.at(0)});
  bench.runOne(1);
  bench.run();
  bench.pass(39);
  EXPECT_FALSE(client.sawEnd());
  bench.pass(10);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, OneThatComesBackDoesNotTakeItsLastTurnForNow) {
  BenchOptions options = withTimeouts({.idle_ns = 100 * kMs});
  options.processors = 2;
  ProcessorBench bench(options);
  bench.connect(1);
  bench.at(1).leave({&bench.at(0)});
  bench.runOne(1);
  bench.kernel.clock.advance(1000 * kMs);
  bench.at(1).comeBack();
  bench.at(1).openDoors();
  FakeConnection& client = bench.connect(1);
  EXPECT_FALSE(client.sawEnd());
}

// --- Other time-outs while it runs -----------------------------------------------------------

TEST(ProcessorExpiry, ShorterOnesGoForWhatIsWaitedForAlready) {
  ProcessorBench bench(withTimeouts({.idle_ns = 10'000 * kMs}));
  FakeConnection& client = bench.connect();
  bench.pass(300);
  bench.processor->setTimeouts({.idle_ns = 400 * kMs});
  bench.run();
  EXPECT_FALSE(client.sawEnd());
  bench.pass(125);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, TheyMayBeSwitchedOffAndOn) {
  ProcessorBench bench(withTimeouts({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  bench.processor->setTimeouts({});
  bench.run();
  EXPECT_LT(bench.poller.last_timeout_ns, 0) << "there is nothing to wake up for";
  bench.kernel.clock.advance(1000 * kMs);
  bench.run();
  EXPECT_FALSE(client.sawEnd());
  bench.processor->setTimeouts({.idle_ns = 2000 * kMs});
  bench.run();
  EXPECT_FALSE(client.sawEnd());
  bench.pass(1125);
  EXPECT_TRUE(client.sawEnd());
}

}  // namespace
}  // namespace odradek
