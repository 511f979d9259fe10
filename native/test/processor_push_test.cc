// Bytes that answer no request: they leave behind what was given before, and nobody waits for them.
#include <gtest/gtest.h>

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

constexpr int64_t kMs = 1'000'000;

class PushTest : public testing::Test {
 protected:
  explicit PushTest(test::BenchOptions options = {}) : bench(options) {}

  Command push(const ChannelId& channel, const std::string& bytes, bool notify = false,
               uint32_t number = 0) {
    Command command;
    command.kind = Command::Kind::kPush;
    command.channel = channel;
    command.notify = notify;
    command.sequence = number;
    if (!bytes.empty()) command.block = test::blockOf(bench.reply_memory, bytes);
    command.length = static_cast<uint32_t>(bytes.size());
    return command;
  }

  void give(std::vector<Command> commands) {
    bench.submit(std::move(commands));
    bench.run();
  }

  void expectSent(uint32_t number, bool ok = true) {
    const Event event = bench.takeEvent(Event::Kind::kPushSent);
    EXPECT_EQ(event.count, number);
    EXPECT_EQ(event.ok, ok);
  }

  ProcessorBench bench;
};

TEST_F(PushTest, LeavesThoughNothingWasAsked) {
  FakeConnection& client = bench.connect();
  give({push(bench.lastOpened(), "news", true, 7)});
  EXPECT_EQ(client.take(), "news");
  expectSent(7);
  EXPECT_EQ(bench.processor->counters().responses.value(), 0u);
}

TEST_F(PushTest, LeavesBetweenRepliesAsTheyWereGiven) {
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> taken = bench.claim();
  ASSERT_EQ(taken.size(), 2u);
  const ChannelId channel = taken[0].channel;
  give({push(channel, "1"), bench.replyCommand(taken[0], "A"), push(channel, "2"),
        bench.replyCommand(taken[1], "B"), push(channel, "3")});
  EXPECT_EQ(client.take(), "1A2B3");
  EXPECT_EQ(bench.processor->counters().writes.value(), 1u);
}

TEST_F(PushTest, DoesNotUnmuteAConnectionWhoseRequestIsInWork) {
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken first = bench.claimOne();
  client.send(framed("b"));
  give({push(first.channel, "1")});
  EXPECT_EQ(client.take(), "1");
  EXPECT_EQ(bench.processor->counters().requests.value(), 1u);
  bench.reply(first, "A");
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "b");
}

TEST_F(PushTest, AMarkIsToldWhenTheLastByteHasLeft) {
  FakeConnection& client = bench.connect();
  client.setWindow(1000);
  const std::string bytes(3000, 'x');
  give({push(bench.lastOpened(), bytes), push(bench.lastOpened(), "", true, 9)});
  EXPECT_TRUE(bench.takeEvents().empty());
  EXPECT_EQ(client.take().size(), 1000u);
  bench.run();
  EXPECT_TRUE(bench.takeEvents().empty());
  EXPECT_EQ(client.take().size(), 1000u);
  bench.run();
  expectSent(9);
  EXPECT_EQ(client.take().size(), 1000u);
}

TEST_F(PushTest, OnAConnectionThatHasEndedReachesNobody) {
  FakeConnection& client = bench.connect();
  const ChannelId channel = bench.lastOpened();
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerClosed);
  give({push(channel, "late", true)});
  EXPECT_TRUE(bench.takeEvents().empty());
}

TEST_F(PushTest, IsToldToBeLostWithItsConnection) {
  FakeConnection& client = bench.connect();
  client.setWindow(2);
  give({push(bench.lastOpened(), "news", true, 1)});
  client.reset();
  bench.run();
  const std::vector<Event> events = bench.takeEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Event::Kind::kPushSent);
  EXPECT_FALSE(events[0].ok);
  EXPECT_EQ(events[1].reason, CloseReason::kPeerReset);
}

TEST_F(PushTest, LeavesBeforeAClose) {
  FakeConnection& client = bench.connect();
  const ChannelId channel = bench.lastOpened();
  client.setWindow(2);
  give({push(channel, "news"), ProcessorBench::close(channel, CloseReason::kClosedByService),
        push(channel, "too late")});
  EXPECT_EQ(client.take(), "ne");
  bench.run();
  EXPECT_EQ(client.take(), "ws");
  bench.expectOrderlyEnd(client, CloseReason::kClosedByService);
}

TEST_F(PushTest, LeavesBeforeADrainCloses) {
  FakeConnection& client = bench.connect();
  client.setWindow(2);
  give({push(bench.lastOpened(), "news")});
  bench.processor->drain();
  bench.run();
  EXPECT_FALSE(client.sawEnd());
  EXPECT_EQ(client.take(), "ne");
  bench.run();
  EXPECT_EQ(client.take(), "ws");
  bench.expectOrderlyEnd(client, CloseReason::kServerClosed);
}

struct PushClocksTest : PushTest {
  PushClocksTest()
      : PushTest({.processor = {.timeouts = {.idle_ns = 100 * kMs, .write_ns = 50 * kMs}}}) {}

  void pass(int64_t ms) { bench.pass(ms); }
};

TEST_F(PushClocksTest, WhoeverTakesNoneOfItIsCutOff) {
  FakeConnection& client = bench.connect();
  client.setWindow(2);
  give({push(bench.lastOpened(), "news")});
  pass(40);
  EXPECT_TRUE(client.isOpen());
  pass(20);
  bench.expectClosed(client, CloseReason::kWriteTimeout);
}

TEST_F(PushClocksTest, WhoeverIsPushedToIsNotIdle) {
  FakeConnection& client = bench.connect();
  const ChannelId channel = bench.lastOpened();
  for (int i = 0; i < 5; i++) {
    pass(90);
    give({push(channel, "x")});
    EXPECT_EQ(client.take(), "x");
  }
  pass(90);
  EXPECT_FALSE(client.sawEnd());
  pass(20);
  EXPECT_TRUE(client.sawEnd());
}

TEST(PushTies, APushIsNoPartOfTheReplyThatFollows) {
  Command push;
  push.kind = Command::Kind::kPush;
  Command part;
  Command reply;
  reply.sequence = 5;
  reply.settles = 1;
  std::vector<Command> commands = {push, part, reply};
  tieParts(commands);
  EXPECT_FALSE(commands[0].is_part);
  EXPECT_TRUE(commands[1].is_part);
}

}  // namespace
}  // namespace odradek
