// The fewest bytes a second: who is too slow, and that nobody is for what the server is late with.
#include <gtest/gtest.h>

#include <string>

#include "../core/bounds.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::BenchOptions;
using test::FakeConnection;
using test::framed;
using test::ProcessorBench;
using test::Taken;

constexpr int64_t kMs = 1'000'000;

// A byte is worth a millisecond.
constexpr int64_t kRate = 1000;

BenchOptions withTimeouts(Timeouts timeouts) {
  timeouts.grace_ns = 100 * kMs;
  return {.processor = {.timeouts = timeouts}};
}

// --- A frame that comes slowly -----------------------------------------------------------------

const std::string frame = framed(std::string(5000, 'x'));

TEST(ProcessorThroughput, AFrameHasAGraceAndTheTimeThatItsBytesMayTake) {
  ProcessorBench bench(withTimeouts({.idle_ns = 2000 * kMs, .min_read_rate = kRate}));
  FakeConnection& client = bench.connect();
  bench.pass(500);
  client.send(frame.substr(0, 50));
  bench.run();
  bench.pass(100);
  client.send(frame.substr(50, 10));
  bench.run();
  bench.pass(59);
  EXPECT_FALSE(client.sawEnd());
  // Up to a sixteenth of the shortest time-out late.
  bench.pass(7);
  bench.expectOrderlyEnd(client, CloseReason::kReadTooSlow);
  EXPECT_EQ(bench.processor->counters().expired.value(), 1u);
}

TEST(ProcessorThroughput, AFrameThatComesAtTheRateMayTakeLong) {
  ProcessorBench bench(withTimeouts({.min_read_rate = kRate}));
  FakeConnection& client = bench.connect();
  for (size_t at = 0; at < frame.size(); at += 90) {
    client.send(frame.substr(at, 90));
    bench.run();
    bench.pass(90);
  }
  EXPECT_EQ(bench.claimOne().frame, frame);
}

TEST(ProcessorThroughput, AFrameTimeoutThatIsOverEarlierGoesFirst) {
  ProcessorBench bench(withTimeouts({.frame_ns = 120 * kMs, .min_read_rate = kRate}));
  FakeConnection& client = bench.connect();
  client.send(frame.substr(0, 50));
  bench.run();
  bench.pass(119);
  EXPECT_FALSE(client.sawEnd());
  bench.pass(7);
  bench.expectOrderlyEnd(client, CloseReason::kFrameTimeout);
}

TEST(ProcessorThroughput, WhileARequestIsInWorkTheRestOfTheNextFrameMayWait) {
  ProcessorBench bench(withTimeouts({.min_read_rate = kRate}));
  FakeConnection& client = bench.connect();
  client.send(framed("a") + framed("b").substr(0, 2));
  bench.run();
  const Taken request = bench.claimOne();
  bench.pass(1000);
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(client.take(), "A");
  bench.pass(99);
  client.send(framed("b").substr(2));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "b");
}

TEST(ProcessorThroughput, NorDoesTimeCountInWhichThereIsNoMemory) {
  BenchOptions options = withTimeouts({.min_read_rate = kRate});
  options.queued_max_request_bytes = 3000;
  options.framing.max_frame_bytes = 5000;
  ProcessorBench bench(options);
  FakeConnection& holder = bench.connect();
  FakeConnection& client = bench.connect();
  client.send(frame.substr(0, 50));
  bench.run();
  holder.send(frame);
  bench.run();
  const Taken request = bench.claimOne();
  client.send(frame.substr(50));
  bench.run();
  EXPECT_GT(client.unreadByServer(), 0u);
  bench.pass(10'000);
  EXPECT_FALSE(client.sawEnd());
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(bench.claimOne().frame, frame);
}

// --- A client that takes slowly ----------------------------------------------------------------

struct SlowReader : testing::Test {
  explicit SlowReader(Timeouts timeouts = {.min_write_rate = kRate})
      : bench(withTimeouts(timeouts)) {}

  // It has got its first ten bytes, and a reply is on its way.
  void begin(size_t bytes = 1000) {
    client.setWindow(10);
    client.send(framed("a"));
    bench.run();
    bench.reply(bench.claimOne(), std::string(bytes, 'x'));
    bench.run();
  }

  void take(size_t bytes) {
    client.setWindow(bytes);
    EXPECT_GT(client.take().size(), 0u);
    bench.run();
  }

  ProcessorBench bench;
  FakeConnection& client = bench.connect();
};

TEST_F(SlowReader, ThatTakesNothingIsCutOffAfterTheGrace) {
  begin();
  bench.pass(99);
  EXPECT_TRUE(client.isOpen());
  bench.pass(1);
  bench.expectClosed(client, CloseReason::kWriteTooSlow, 1);
  EXPECT_EQ(bench.processor->counters().expired.value(), 1u);
}

TEST_F(SlowReader, MayBeBehindByTheGrace) {
  begin();
  // Half of the rate: it is fifty behind after a hundred.
  for (int i = 0; i < 2; i++) {
    bench.pass(50);
    take(25);
  }
  bench.pass(49);
  EXPECT_TRUE(client.isOpen());
  bench.pass(8);
  bench.expectClosed(client, CloseReason::kWriteTooSlow, 1);
}

TEST_F(SlowReader, ThatKeepsTheRateMayTakeLong) {
  begin(5000);
  size_t taken = 0;
  for (; taken < 4500; taken += 90) {
    bench.pass(90);
    take(90);
  }
  client.setWindow(10'000);
  bench.run();
  client.take();
  bench.pass(1000);
  EXPECT_TRUE(client.isOpen());
}

TEST_F(SlowReader, IsNotAheadForWhatItTookFast) {
  begin(10'000);
  take(5000);
  bench.pass(99);
  EXPECT_TRUE(client.isOpen());
  bench.pass(1);
  bench.expectClosed(client, CloseReason::kWriteTooSlow, 1);
}

TEST_F(SlowReader, IsNotWaitedForWhileTheServerIsSlow) {
  client.setWindow(2 * kWriteBytesPerTurn + 100);
  const std::string share(kWriteBytesPerTurn, 'x');
  for (int i = 0; i < 3; i++) {
    Command push;
    push.kind = Command::Kind::kPush;
    push.channel = bench.lastOpened();
    push.block = test::blockOf(bench.reply_memory, share);
    push.length = static_cast<uint32_t>(share.size());
    bench.submit({push});
  }
  // The client takes all that a turn writes, and the next comes late.
  bench.turn();
  bench.kernel.clock.advance(1000 * kMs);
  bench.run();
  bench.pass(99);
  EXPECT_TRUE(client.isOpen());
  bench.pass(1);
  bench.expectClosed(client, CloseReason::kWriteTooSlow);
}

TEST_F(SlowReader, IsNotBehindByTimeInWhichTheLoopWasAway) {
  begin();
  bench.pass(50);
  // Meanwhile it took what was there, and got no more.
  client.setWindow(20);
  client.take();
  bench.kernel.clock.advance(10'000 * kMs);
  bench.run();
  EXPECT_TRUE(client.isOpen());
  bench.pass(57);
  EXPECT_TRUE(client.isOpen());
  bench.pass(7);
  bench.expectClosed(client, CloseReason::kWriteTooSlow, 1);
}

TEST_F(SlowReader, MayBeSoWhileItsConnectionIsHandedOver) {
  BenchOptions options = withTimeouts({.min_write_rate = kRate});
  options.processors = 2;
  ProcessorBench two(options);
  FakeConnection& moved = two.connect(1);
  moved.setWindow(10);
  moved.send(framed("a"));
  two.runOne(1);
  two.submit({two.replyCommand(two.claimOne(), std::string(1000, 'x'))});
  two.runOne(1);
  two.kernel.clock.advance(60 * kMs);
  two.at(1).leave({&two.at(0)});
  two.runOne(1);
  two.run();
  two.pass(39);
  EXPECT_TRUE(moved.isOpen());
  two.pass(10);
  EXPECT_FALSE(moved.isOpen()) << "its clock goes on";
}

struct ImpatientServer : SlowReader {
  ImpatientServer() : SlowReader({.write_ns = 50 * kMs, .min_write_rate = kRate}) {}
};

TEST_F(ImpatientServer, GivesNoLongerGraceThanTheWriteTimeout) {
  begin();
  bench.pass(49);
  EXPECT_TRUE(client.isOpen());
  bench.pass(1);
  bench.expectClosed(client, CloseReason::kWriteTooSlow, 1);
}

// --- Other rates while it runs -----------------------------------------------------------------

TEST(ProcessorThroughput, RatesMayBeSwitchedOnAndOff) {
  ProcessorBench bench(withTimeouts({}));
  FakeConnection& client = bench.connect();
  client.send(frame.substr(0, 50));
  bench.run();
  EXPECT_EQ(bench.poller.last_timeout_ns, -1) << "a grace alone is no reason to wake up";
  bench.pass(10'000);
  const auto set = [&](Timeouts timeouts) {
    bench.processor->setTimeouts(timeouts);
    bench.run();
  };
  set({.min_read_rate = 10, .grace_ns = 100'000 * kMs});
  bench.pass(1000);
  set({});
  bench.pass(100'000);
  EXPECT_FALSE(client.sawEnd());
  set({.min_read_rate = kRate, .grace_ns = 100 * kMs});
  bench.pass(7);
  EXPECT_TRUE(client.sawEnd()) << "it goes for what is waited for already";
}

}  // namespace
}  // namespace odradek
