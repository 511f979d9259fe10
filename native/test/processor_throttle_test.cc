// Throttling: the answer leaves at once, and nothing more is read until the throttle has ended.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "processor_bench.h"

namespace odradek {
namespace {

using test::BenchOptions;
using test::FakeConnection;
using test::framed;
using test::framedAll;
using test::ProcessorBench;
using test::Taken;
using Strings = std::vector<std::string>;

constexpr int64_t kMs = 1'000'000;

Command throttle(const ChannelId& channel, uint32_t ms) {
  Command command;
  command.kind = Command::Kind::kThrottle;
  command.channel = channel;
  command.length = ms;
  return command;
}

class ThrottleTest : public testing::Test {
 protected:
  explicit ThrottleTest(BenchOptions options = {}) : bench(options) {}

  // The connection's first request, in a handler's hands.
  Taken request(FakeConnection& client, const std::string& body) {
    client.send(framed(body));
    bench.run();
    const Taken taken = bench.claimOne();
    EXPECT_EQ(taken.body, body);
    return taken;
  }

  void give(std::vector<Command> commands) {
    bench.submit(std::move(commands));
    bench.run();
  }

  void pass(int64_t ms) { bench.pass(ms); }

  // Told once, of so many commands.
  void expectEnded(uint32_t count = 1) {
    EXPECT_EQ(bench.takeEvent(Event::Kind::kThrottleEnded).count, count);
    EXPECT_EQ(bench.processor->counters().throttled.value(), 0u);
  }

  void expectAnswered(FakeConnection& client, const std::string& body) {
    bench.run();
    const Taken taken = bench.claimOne();
    EXPECT_EQ(taken.body, body);
    bench.echo({taken});
    bench.run();
    EXPECT_EQ(client.take(), framed(body));
  }

  ProcessorBench bench;
};

// --- SocketServerTest's four cases -------------------------------------------------------------

TEST_F(ThrottleTest, AReplyLeavesAtOnceAndTheConnectionStaysMuted) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 100), bench.replyCommand(first, "A")});
  bench.run();
  EXPECT_EQ(client.take(), "A");
  EXPECT_EQ(bench.processor->counters().throttled.value(), 1u);
  client.send(framed("b"));
  pass(99);
  EXPECT_EQ(bench.processor->counters().requests.value(), 1u);
  EXPECT_EQ(bench.poller.last_timeout_ns, kMs);
  pass(1);
  expectEnded();
  expectAnswered(client, "b");
  EXPECT_EQ(bench.processor->counters().throttles.value(), 1u);
}

TEST_F(ThrottleTest, AReplyBehindTheEndUnmutes) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 100)});
  client.send(framed("b"));
  pass(100);
  expectEnded();
  EXPECT_EQ(bench.processor->counters().requests.value(), 1u);
  bench.reply(first, "A");
  bench.run();
  EXPECT_EQ(client.take(), "A");
  expectAnswered(client, "b");
}

TEST_F(ThrottleTest, NoReplyLeavesItMutedToo) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 100), bench.replyCommand(first, "")});
  client.send(framed("b"));
  pass(99);
  EXPECT_EQ(bench.processor->counters().responses.value(), 1u);
  EXPECT_EQ(bench.processor->counters().requests.value(), 1u);
  pass(1);
  expectEnded();
  expectAnswered(client, "b");
}

TEST_F(ThrottleTest, NoReplyBehindTheEndUnmutes) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 100)});
  pass(100);
  expectEnded();
  bench.reply(first, "");
  client.send(framed("b"));
  expectAnswered(client, "b");
}

// --- Several -------------------------------------------------------------------------------------

TEST_F(ThrottleTest, OverlappingOnesEndWithTheLatest) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 100)});
  pass(50);
  // One that ends before, and one that goes on for longer.
  give({throttle(first.channel, 10), throttle(first.channel, 70), bench.replyCommand(first, "A")});
  client.send(framed("b"));
  pass(69);
  EXPECT_EQ(client.take(), "A");
  EXPECT_TRUE(bench.takeEvents().empty());
  EXPECT_EQ(bench.processor->counters().requests.value(), 1u);
  pass(1);
  expectEnded(3);
  expectAnswered(client, "b");
}

TEST_F(ThrottleTest, ConnectionsEndInTheOrderOfTheirEnds) {
  std::vector<FakeConnection*> clients;
  Strings bodies;
  for (int i = 0; i < 10; i++) {
    clients.push_back(&bench.connect());
    const Taken first = request(*clients.back(), "a");
    // The later ones end first.
    give({throttle(first.channel, static_cast<uint32_t>(100 - 10 * i)),
          bench.replyCommand(first, "A")});
    clients.back()->send(framed(std::to_string(i)));
  }
  bench.run();
  EXPECT_EQ(bench.processor->counters().throttled.value(), 10u);
  for (int i = 0; i < 10; i++) {
    pass(10);
    for (const std::string& body : bench.claimBodies()) bodies.push_back(body);
  }
  EXPECT_EQ(bodies, (Strings{"9", "8", "7", "6", "5", "4", "3", "2", "1", "0"}));
  EXPECT_EQ(bench.takeEvents().size(), 10u);
  EXPECT_EQ(bench.processor->counters().throttled.value(), 0u);
}

// --- Several in flight ---------------------------------------------------------------------------

struct InFlightThrottleTest : ThrottleTest {
  InFlightThrottleTest() : ThrottleTest({.max_in_flight = 5}) {}
};

TEST_F(InFlightThrottleTest, NothingMoreIsReadWhileOthersAreInFlight) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  const Taken second = request(client, "b");
  give({throttle(first.channel, 100), bench.replyCommand(first, "A")});
  client.send(framed("c"));
  pass(50);
  bench.reply(second, "B");
  pass(49);
  EXPECT_EQ(client.take(), "AB");
  EXPECT_EQ(bench.processor->counters().requests.value(), 2u);
  pass(1);
  expectEnded();
  expectAnswered(client, "c");
}

TEST_F(InFlightThrottleTest, AConnectionThatWasMutedAtItsLimitIsMutedBehindTheEnd) {
  FakeConnection& client = bench.connect();
  client.send(framedAll({"1", "2", "3", "4", "5"}));
  bench.run();
  const std::vector<Taken> taken = bench.claim();
  ASSERT_EQ(taken.size(), 5u);
  give({throttle(taken[0].channel, 100)});
  client.send(framed("6"));
  pass(100);
  expectEnded();
  EXPECT_EQ(bench.processor->counters().requests.value(), 5u);
  bench.echo(taken);
  bench.run();
  EXPECT_EQ(client.take(), framedAll({"1", "2", "3", "4", "5"}));
  expectAnswered(client, "6");
}

// --- Clocks --------------------------------------------------------------------------------------

struct ThrottleClocksTest : ThrottleTest {
  ThrottleClocksTest()
      : ThrottleTest({.processor = {.timeouts = {.idle_ns = 50 * kMs, .frame_ns = 20 * kMs}}}) {}
};

TEST_F(ThrottleClocksTest, StandStillMeanwhileAndBeginAnew) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 1000), bench.replyCommand(first, "A")});
  const std::string frame = framed("b");
  client.send(frame.substr(0, 3));
  for (int i = 0; i < 100; i++) pass(10);
  EXPECT_EQ(client.take(), "A");
  EXPECT_FALSE(client.sawEnd());
  expectEnded();
  pass(10);
  EXPECT_FALSE(client.sawEnd());
  client.send(frame.substr(3));
  expectAnswered(client, "b");
}

// --- Ends ----------------------------------------------------------------------------------------

TEST_F(ThrottleTest, ADrainEndsIt) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 3'600'000), bench.replyCommand(first, "A")});
  bench.run();
  bench.processor->drain();
  bench.run();
  expectEnded();
  EXPECT_EQ(client.take(), "A");
  bench.expectOrderlyEnd(client, CloseReason::kServerClosed);
}

TEST_F(InFlightThrottleTest, ADrainServesWhatWasCut) {
  FakeConnection& client = bench.connect();
  Strings bodies;
  for (int i = 0; i < 100; i++) bodies.push_back(std::to_string(i));
  client.send(framedAll(bodies));
  bench.run();
  const std::vector<Taken> taken = bench.claim();
  ASSERT_EQ(taken.size(), 64u);
  give({throttle(taken[0].channel, 3'600'000)});
  bench.echo(taken);
  bench.run();
  EXPECT_EQ(bench.processor->counters().requests.value(), 64u);
  bench.processor->drain();
  bench.run();
  expectEnded();
  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(client.take(), framedAll(bodies));
  bench.expectOrderlyEnd(client, CloseReason::kServerClosed);
}

TEST_F(ThrottleTest, WhileItDrainsNobodyIsThrottled) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  bench.processor->drain();
  bench.run();
  give({throttle(first.channel, 3'600'000), bench.replyCommand(first, "A")});
  bench.run();
  expectEnded();
  EXPECT_EQ(client.take(), "A");
  bench.expectOrderlyEnd(client, CloseReason::kServerClosed);
}

TEST_F(ThrottleTest, ACloseEndsIt) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 3'600'000), bench.replyCommand(first, "A"),
        ProcessorBench::close(first.channel, CloseReason::kClosedByService)});
  bench.run();
  expectEnded();
  EXPECT_EQ(client.take(), "A");
  bench.expectOrderlyEnd(client, CloseReason::kClosedByService);
  EXPECT_EQ(bench.poller.last_timeout_ns, -1);
}

TEST_F(ThrottleTest, AResetIsSeenAndEndsIt) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 3'600'000), bench.replyCommand(first, "A")});
  bench.run();
  client.reset();
  bench.run();
  const std::vector<Event> events = bench.takeEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Event::Kind::kThrottleEnded);
  EXPECT_EQ(events[1].reason, CloseReason::kPeerReset);
  EXPECT_EQ(bench.processor->counters().throttled.value(), 0u);
}

TEST_F(ThrottleTest, AStopEndsIt) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 3'600'000)});
  bench.run();
  bench.processor->stop(CloseReason::kDeadline);
  while (bench.turn()) {
  }
  const std::vector<Event> events = bench.takeEvents();
  // Which says that the throttle has ended, too.
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kClosed);
  EXPECT_EQ(bench.processor->counters().throttled.value(), 0u);
}

TEST_F(ThrottleTest, WhoeverIsHalfClosedIsToldSoBehindTheEnd) {
  FakeConnection& client = bench.connect();
  const Taken first = request(client, "a");
  give({throttle(first.channel, 100), bench.replyCommand(first, "A")});
  client.send(framed("b"));
  client.end();
  pass(99);
  EXPECT_EQ(client.take(), "A");
  EXPECT_FALSE(client.sawEnd());
  pass(1);
  expectEnded();
  expectAnswered(client, "b");
  bench.expectClosed(client, CloseReason::kPeerClosed);
}

TEST_F(ThrottleTest, ACommandThatComesTooLateReachesNobody) {
  FakeConnection& client = bench.connect();
  const ChannelId channel = bench.lastOpened();
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerClosed);
  give({throttle(channel, 100)});
  bench.run();
  EXPECT_TRUE(bench.takeEvents().empty());
  EXPECT_EQ(bench.poller.last_timeout_ns, -1);
}

// --- Changing hands ------------------------------------------------------------------------------

struct ThrottleHandoverTest : ThrottleTest {
  ThrottleHandoverTest() : ThrottleTest({.processors = 2}) {}
};

TEST_F(ThrottleHandoverTest, ItGoesAlong) {
  FakeConnection& client = bench.connect(1);
  client.send(framed("a"));
  bench.runOne(1);
  const Taken first = bench.claimOne();
  bench.submit({throttle(first.channel, 100), bench.replyCommand(first, "A")});
  bench.runOne(1);
  EXPECT_EQ(client.take(), "A");
  EXPECT_EQ(bench.at(1).counters().throttled.value(), 1u);
  ASSERT_TRUE(bench.at(1).leave({&bench.at(0)}));
  ASSERT_FALSE(bench.at(1).turn());
  EXPECT_EQ(bench.at(1).counters().throttled.value(), 0u);
  bench.run();
  EXPECT_EQ(bench.at(0).counters().throttled.value(), 1u);
  bench.takeEvent(Event::Kind::kLeft);
  client.send(framed("b"));
  pass(99);
  EXPECT_EQ(bench.at(0).counters().requests.value(), 0u);
  EXPECT_EQ(bench.poller.last_timeout_ns, kMs);
  pass(1);
  expectEnded();
  expectAnswered(client, "b");
}

}  // namespace
}  // namespace odradek
