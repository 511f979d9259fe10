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

// After this many milliseconds, at the moment at which the loop has said that it will wake.
void pass(ProcessorBench& bench, int64_t ms) {
  const int64_t end_ns = bench.kernel.clock.now() + ms * kMs;
  while (bench.kernel.clock.now() < end_ns) {
    const int64_t timeout_ns = bench.poller.last_timeout_ns;
    const int64_t left_ns = end_ns - bench.kernel.clock.now();
    const bool wakes = timeout_ns >= 0 && timeout_ns < left_ns;
    ASSERT_NE(timeout_ns, 0) << "the loop doesn't rest";
    bench.kernel.clock.advance(wakes ? timeout_ns : left_ns);
    bench.run();
  }
}

// --- Nothing under way -------------------------------------------------------------------------

TEST(ProcessorExpiry, AnIdleConnectionIsClosedInOrder) {
  ProcessorBench bench(withTimeouts({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  pass(bench, 99);
  EXPECT_TRUE(client.isOpen());
  pass(bench, 1);
  bench.expectOrderlyEnd(client, CloseReason::kIdleTimeout);
  EXPECT_EQ(bench.processor->counters().expired.value(), 1u);
}

TEST(ProcessorExpiry, EveryRequestAndEveryReplyBeginsTheClockAnew) {
  ProcessorBench bench(withTimeouts({.idle_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  for (int i = 0; i < 5; i++) {
    pass(bench, 90);
    client.send(framed("a"));
    bench.run();
    const Taken request = bench.claimOne();
    pass(bench, 1000);
    bench.reply(request, "A");
    bench.run();
    EXPECT_EQ(client.take(), "A");
  }
  pass(bench, 99);
  EXPECT_FALSE(client.sawEnd());
  pass(bench, 1);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, WhoeverTheServerDoesNotReadFromIsNotIdle) {
  BenchOptions options = withTimeouts({.idle_ns = 100 * kMs});
  options.waits_for_accept = true;
  ProcessorBench bench(options);
  FakeConnection& client = bench.connect();
  pass(bench, 1000);
  EXPECT_FALSE(client.sawEnd());
  Command accept;
  accept.channel = bench.lastOpened();
  accept.kind = Command::Kind::kAccept;
  bench.submit({accept});
  bench.run();
  pass(bench, 99);
  EXPECT_FALSE(client.sawEnd());
  pass(bench, 1);
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
  pass(bench, 1000);
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
  pass(bench, 500);
  const std::string frame = framed(std::string(1000, 'x'));
  // A byte now and then doesn't help.
  for (size_t i = 0; i < 10; i++) {
    client.send(frame.substr(i, 1));
    bench.run();
    EXPECT_FALSE(client.sawEnd());
    pass(bench, 10);
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
    pass(bench, 90);
    client.send(frame.substr(5) + frame.substr(0, 5));
    bench.run();
    bench.echo(bench.claim());
    bench.run();
    EXPECT_EQ(client.take(), frame);
  }
  pass(bench, 99);
  EXPECT_FALSE(client.sawEnd());
  pass(bench, 1);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorExpiry, WhileARequestIsInWorkTheRestOfTheNextFrameMayWait) {
  ProcessorBench bench(withTimeouts({.frame_ns = 100 * kMs}));
  FakeConnection& client = bench.connect();
  client.send(framed("a") + framed("b").substr(0, 2));
  bench.run();
  const Taken request = bench.claimOne();
  pass(bench, 1000);
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

TEST_F(LateLoop, AFrameThatItFindsHasItsTimeOnceMore) {
  ProcessorBench bench(elsewhere({.frame_ns = 100 * kMs}));
  FakeConnection& client = bench.offer();
  runToRest(bench);
  const std::string frame = framed("abcdef");
  client.send(frame.substr(0, 5));
  runToRest(bench);
  client.send(frame.substr(5, 1));
  bench.kernel.clock.advance(500 * kMs);
  runToRest(bench);
  EXPECT_FALSE(client.sawEnd());
  client.send(frame.substr(6, 1));
  bench.kernel.clock.advance(99 * kMs);
  runToRest(bench);
  EXPECT_FALSE(client.sawEnd());
  client.send(frame.substr(7, 1));
  bench.kernel.clock.advance(500 * kMs);
  runToRest(bench);
  EXPECT_TRUE(client.sawEnd()) << "and not a third time";
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
  pass(bench, 1000);
  bench.reply(request, std::string(100, 'x'));
  bench.run();
  pass(bench, 99);
  EXPECT_TRUE(client.isOpen());
  pass(bench, 1);
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
    pass(bench, 90);
    taken += client.take();
    bench.run();
  }
  EXPECT_EQ(taken, std::string(100, 'x'));
  pass(bench, 1000);
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
  pass(bench, 100);
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
  pass(bench, 1000);
  EXPECT_EQ(bench.poller.last_timeout_ns, -1);
}

TEST(ProcessorExpiry, ManyThatAreDueOneAfterTheOtherShareSweeps) {
  ProcessorBench bench(withTimeouts({.idle_ns = 160 * kMs}));
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 100; i++) {
    clients.push_back(&bench.connect());
    pass(bench, 1);
  }
  const uint64_t waits = bench.poller.waits;
  pass(bench, 170);
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
  pass(bench, 39);
  EXPECT_FALSE(client.sawEnd());
  pass(bench, 10);
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
  pass(bench, 300);
  bench.processor->setTimeouts({.idle_ns = 400 * kMs});
  bench.run();
  EXPECT_FALSE(client.sawEnd());
  pass(bench, 125);
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
  pass(bench, 1125);
  EXPECT_TRUE(client.sawEnd());
}

}  // namespace
}  // namespace odradek
