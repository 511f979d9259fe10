// A processor whose connections may have several requests in flight: it reads on below the limit,
// and a hold says where it stopped to cut.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../core/bounds.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::framedAll;
using test::ProcessorBench;
using test::Taken;
using Strings = std::vector<std::string>;

Command hold(const ChannelId& channel) {
  Command command;
  command.kind = Command::Kind::kHold;
  command.channel = channel;
  return command;
}

Command setFraming(const ChannelId& channel, Framing::Kind kind) {
  Command command;
  command.kind = Command::Kind::kSetFraming;
  command.channel = channel;
  command.framing.kind = kind;
  return command;
}

TEST(ProcessorInFlight, ReadsOnBelowTheLimitAndIsMutedAtIt) {
  ProcessorBench bench({.max_in_flight = 2});
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken first = bench.claimOne();
  EXPECT_FALSE(first.is_last) << "more may come";
  client.send(framed("b"));
  bench.run();
  const Taken second = bench.claimOne();
  EXPECT_EQ(second.body, "b");
  client.send(framed("c"));
  bench.run();
  EXPECT_EQ(bench.claimBodies(), Strings());
  EXPECT_EQ(client.unreadByServer(), framed("c").size());
  bench.reply(first, framed("A"));
  bench.run();
  EXPECT_EQ(client.take(), framed("A"));
  EXPECT_EQ(bench.claimBodies(), (Strings{"c"}));
}

TEST(ProcessorInFlight, FramesThatCameTogetherAreMutedUntilFewerThanTheLimitAreLeft) {
  ProcessorBench bench({.max_in_flight = 2});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b", "c", "d"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 4u);
  client.send(framed("e"));
  for (int i = 0; i < 2; i++) {
    bench.reply(requests[static_cast<size_t>(i)], framed("x"));
    bench.run();
    EXPECT_EQ(bench.claimBodies(), Strings());
  }
  bench.reply(requests[2], framed("x"));
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"e"}));
}

// A limit above the size of a batch is the size of a batch.
TEST(ProcessorInFlight, AsManyFramesAsAllowedCross) {
  constexpr uint32_t kMost = kFramesPerBatch + 10;
  ProcessorBench bench({.max_in_flight = kMost});
  FakeConnection& client = bench.connect();
  client.send(framedAll(Strings(2 * kMost, "x")));
  bench.run();
  EXPECT_EQ(bench.claim().size(), kMost);
}

TEST(ProcessorInFlight, AReplyThatTheKernelDoesNotTakeKeepsItMuted) {
  ProcessorBench bench({.max_in_flight = 2});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  client.setWindow(0);
  bench.reply(requests[0], framed("A"));
  client.send(framed("c"));
  bench.run();
  EXPECT_EQ(bench.claimBodies(), Strings());
  client.setWindow(1000);
  bench.run();
  EXPECT_EQ(client.take(), framed("A"));
  EXPECT_EQ(bench.claimBodies(), (Strings{"c"}));
}

TEST(ProcessorInFlight, AnEndWaitsForWhatIsInFlight) {
  ProcessorBench bench({.max_in_flight = 4});
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  client.end();
  bench.run();
  EXPECT_TRUE(client.isOpen());
  bench.reply(request, framed("A"));
  bench.run();
  EXPECT_EQ(client.take(), framed("A"));
  bench.expectClosed(client, CloseReason::kPeerClosed);
}

TEST(ProcessorInFlight, AResetIsToldWhileRequestsAreInFlight) {
  ProcessorBench bench({.max_in_flight = 4});
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  client.reset();
  bench.run();
  bench.takeEvent(Event::Kind::kReset);
  bench.reply(request, framed("A"));
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerReset, 1);
}

TEST(ProcessorInFlight, ABrokenFrameIsJudgedWhenThoseBeforeItAreSettled) {
  ProcessorBench bench({.max_in_flight = 4});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  client.send("\xff\xff\xff\xff");
  bench.run();
  EXPECT_TRUE(client.isOpen());
  bench.reply(requests[0], framed("A"));
  bench.run();
  EXPECT_TRUE(client.isOpen());
  bench.reply(requests[1], framed("B"));
  bench.run();
  EXPECT_EQ(client.take(), framedAll({"A", "B"}));
  bench.expectOrderlyEnd(client, CloseReason::kFrameLengthInvalid);
}

TEST(ProcessorInFlight, AHoldStopsTheCuttingAndSaysWhere) {
  ProcessorBench bench({.max_in_flight = 8});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"upgrade", "b"}));
  bench.run();
  bench.submit({hold(bench.lastOpened())});
  client.send(framed("behind"));
  bench.run();
  EXPECT_EQ(bench.takeEvent(Event::Kind::kHeld).count, 2u);
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 2u) << "what was cut before is there";
  EXPECT_EQ(client.unreadByServer(), framed("behind").size());
  // The second is to be cut anew, in front of what was not read.
  Command command = setFraming(requests[0].channel, Framing::Kind::kRaw);
  command.sequence = 1;
  command.settles = 1;
  command.block = test::blockOf(bench.reply_memory, requests[1].frame);
  command.length = static_cast<uint32_t>(requests[1].frame.size());
  bench.submit({command});
  bench.run();
  std::string all;
  for (const std::string& body : bench.claimBodies()) all += body;
  EXPECT_EQ(all, framedAll({"b", "behind"}));
  bench.reply(requests[0], framed("A"));
  bench.run();
  EXPECT_EQ(client.take(), framed("A"));
}

// The reply of the request that asked for another framing may come before the framing does.
TEST(ProcessorInFlight, AHeldConnectionDoesNotEndBeforeItsFramingIsSet) {
  ProcessorBench bench({.max_in_flight = 8});
  FakeConnection& client = bench.connect();
  client.send(framed("upgrade"));
  bench.run();
  const Taken request = bench.claimOne();
  client.send("\xff\xff\xff\xff");
  client.end();
  bench.run();
  bench.submit({hold(request.channel), bench.replyCommand(request, framed("A"))});
  bench.run();
  EXPECT_EQ(bench.takeEvent(Event::Kind::kHeld).count, 1u);
  EXPECT_TRUE(client.isOpen());
  bench.submit({setFraming(request.channel, Framing::Kind::kRaw)});
  bench.run();
  const Taken piece = bench.claimOne();
  EXPECT_EQ(piece.body, "\xff\xff\xff\xff");
  bench.reply(piece, "B");
  bench.run();
  EXPECT_EQ(client.take(), framed("A") + "B");
  bench.expectClosed(client, CloseReason::kPeerClosed);
}

TEST(ProcessorInFlight, AHoldIsAnsweredWhereTheConnectionIsClosing) {
  ProcessorBench bench({.max_in_flight = 8});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.submit({ProcessorBench::close(requests[0].channel, CloseReason::kClosedByService),
                hold(requests[0].channel)});
  client.end();
  bench.run();
  EXPECT_EQ(bench.takeEvent(Event::Kind::kHeld).count, 2u);
  Command command = setFraming(requests[0].channel, Framing::Kind::kRaw);
  command.sequence = 1;
  command.settles = 1;
  bench.submit({command, bench.replyCommand(requests[0], framed("A"))});
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService, 2);
}

TEST(ProcessorInFlight, ADrainWaitsForAHeldConnection) {
  ProcessorBench bench({.max_in_flight = 8});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.submit({hold(requests[0].channel), bench.replyCommand(requests[0], framed("A"))});
  bench.processor->drain();
  bench.run();
  bench.takeEvent(Event::Kind::kHeld);
  Command command = setFraming(requests[0].channel, Framing::Kind::kRaw);
  command.sequence = 1;
  command.settles = 1;
  command.block = test::blockOf(bench.reply_memory, requests[1].frame);
  command.length = static_cast<uint32_t>(requests[1].frame.size());
  bench.submit({command});
  bench.run();
  const Taken again = bench.claimOne();
  EXPECT_EQ(again.body, framed("b")) << "received before the drain";
  bench.reply(again, "B");
  client.end();
  bench.run();
  EXPECT_EQ(client.take(), framed("A") + "B");
  bench.expectClosed(client, CloseReason::kServerClosed);
}

}  // namespace
}  // namespace odradek
