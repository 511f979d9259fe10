// A processor, one turn after the other: requests in, replies out, in order.
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
using Strings = std::vector<std::string>;

Strings numbered(int count) {
  Strings payloads;
  for (int i = 0; i < count; i++) payloads.push_back(std::to_string(i));
  return payloads;
}

TEST(Processor, ARequestIsAnswered) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("hello"));
  bench.run();
  const Taken request = bench.claimOne();
  EXPECT_EQ(request.body, "hello");
  EXPECT_EQ(request.frame, framed("hello"));
  EXPECT_EQ(request.sequence, 0u);
  EXPECT_TRUE(request.is_last);
  EXPECT_EQ(request.channel, bench.lastOpened());
  bench.reply(request, framed("world"));
  bench.run();
  EXPECT_EQ(client.take(), framed("world"));
  EXPECT_EQ(bench.requests.pending(), 0u);
  const ProcessorCounters& counters = bench.processor->counters();
  EXPECT_EQ(counters.requests.value(), 1u);
  EXPECT_EQ(counters.responses.value(), 1u);
  EXPECT_EQ(counters.bytes_read.value(), 9u);
  EXPECT_EQ(counters.bytes_written.value(), 9u);
}

TEST(Processor, TheOpeningIsToldFirst) {
  ProcessorBench bench;
  bench.offer().send(framed("early"));
  ASSERT_TRUE(bench.turn());
  const std::vector<Event> events = bench.consumer.takeEvents();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kOpened);
  EXPECT_EQ(events[0].local.port, 9092);
  EXPECT_EQ(events[0].remote.port, 40'000);
  EXPECT_EQ(events[0].index, 0u);
  bench.run();
  EXPECT_EQ(bench.claimOne().channel, events[0].channel);
}

TEST(Processor, TheTimeOfReceiptIsThatOfTheRead) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  bench.kernel.clock.advance(12'345);
  client.send(framed("a"));
  const int64_t now_ns = bench.kernel.clock.now();
  bench.run();
  bench.kernel.clock.advance(1);
  EXPECT_EQ(bench.claimOne().received_at_ns, now_ns);
}

// At depth 1: one read and one write a request, and the loop waits once for each of the two.
TEST(Processor, ARequestCostsOneReadAndOneWrite) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  const uint64_t waits = bench.poller.waits;
  for (int i = 0; i < 10; i++) {
    client.send(framed("ping"));
    bench.run();
    bench.reply(bench.claimOne(), framed("pong"));
    bench.run();
  }
  EXPECT_EQ(client.reads, 10u);
  EXPECT_EQ(client.writes, 10u);
  EXPECT_LE(bench.poller.waits - waits, 40u);
}

// Under load the answer and the next request meet in one turn: one wait for both.
TEST(Processor, ASaturatedConnectionCostsOneTurnARequest) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("ping"));
  bench.run();
  const uint64_t waits = bench.poller.waits;
  for (int i = 0; i < 10; i++) {
    bench.reply(bench.claimOne(), framed("pong"));
    client.send(framed("ping"));
    ASSERT_TRUE(bench.turn());
  }
  EXPECT_EQ(bench.poller.waits - waits, 10u);
  EXPECT_EQ(client.reads, 11u);
  EXPECT_EQ(client.writes, 10u);
}

TEST(Processor, PipelinedRequestsCrossTogetherAndLeaveInOneWrite) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll(numbered(50)));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 50u);
  for (uint32_t i = 0; i < 50; i++) {
    EXPECT_EQ(requests[i].sequence, i);
    EXPECT_EQ(requests[i].body, std::to_string(i));
    EXPECT_EQ(requests[i].is_last, i == 49);
  }
  bench.echo(requests);
  bench.run();
  EXPECT_EQ(client.take(), framedAll(numbered(50)));
  EXPECT_EQ(client.reads, 1u);
  EXPECT_EQ(client.writes, 1u);
}

TEST(Processor, OneReplyMaySettleManyRequests) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll(numbered(3)));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.submit({bench.replyCommand(requests[0], framedAll(numbered(3)), 3)});
  bench.run();
  EXPECT_EQ(client.take(), framedAll(numbered(3)));
  EXPECT_EQ(bench.processor->counters().responses.value(), 3u);
}

TEST(Processor, AReplyOfManyPartsSettlesWithItsLast) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  bench.submit({bench.replyCommand(request, "one,", 0), bench.replyCommand(request, "two,", 0)});
  bench.run();
  EXPECT_EQ(client.take(), "one,two,");
  EXPECT_EQ(bench.processor->counters().responses.value(), 0u);
  bench.reply(request, "three");
  bench.run();
  EXPECT_EQ(client.take(), "three");
  EXPECT_EQ(bench.processor->counters().responses.value(), 1u);
}

TEST(Processor, WhileAnyIsUnansweredNothingIsRead) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  client.send(framed("c"));
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u);
  EXPECT_EQ(client.reads, 1u) << "mute is state: no call tells the kernel";
  bench.reply(requests[0], "A");
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u) << "b is still in work";
  bench.reply(requests[1], "B");
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"c"}));
  EXPECT_EQ(client.take(), "AB");
}

TEST(Processor, ABatchIsBoundedAndTheRestFollowsWithoutAnotherRead) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  const int count = 2 * static_cast<int>(kFramesPerBatch) + 10;
  client.send(framedAll(numbered(count)));
  bench.run();
  std::vector<Taken> requests = bench.claim();
  Strings bodies;
  for (int batch = 0; batch < 3; batch++) {
    ASSERT_EQ(requests.size(), batch < 2 ? kFramesPerBatch : 10u);
    EXPECT_TRUE(requests.back().is_last);
    for (const Taken& request : requests) bodies.push_back(request.body);
    bench.echo(requests);
    bench.run();
    requests = bench.claim();
  }
  EXPECT_EQ(bodies, numbered(count));
  EXPECT_EQ(client.reads, 1u);
  EXPECT_EQ(client.writes, 3u);
}

TEST(Processor, ByteByByte) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  for (const char byte : framed("hello") + framed("")) {
    client.send({&byte, 1});
    bench.run();
  }
  const Taken first = bench.claimOne();
  EXPECT_EQ(first.body, "hello");
  bench.reply(first, "1");
  bench.run();
  const Taken second = bench.claimOne();
  EXPECT_EQ(second.body, "");
  bench.reply(second, "2");
  bench.run();
  EXPECT_EQ(client.take(), "12");
}

TEST(Processor, ALargeFrameOverManySegments) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  const std::string frame = framed(std::string(1'000'000, 'x') + "end");
  for (size_t at = 0; at < frame.size(); at += 70'000) {
    client.send(frame.substr(at, 70'000));
    bench.run();
  }
  const Taken request = bench.claimOne();
  EXPECT_EQ(request.frame.size(), frame.size());
  EXPECT_EQ(request.body.substr(request.body.size() - 3), "end");
  bench.reply(request, "ok");
  bench.run();
  EXPECT_EQ(client.take(), "ok");
}

TEST(Processor, NoReplyAndDiscardedSettleInTheirPlaces) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b", "c"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  Command discarded = bench.replyCommand(requests[1], "");
  discarded.discarded = true;
  bench.submit(
      {bench.replyCommand(requests[0], ""), discarded, bench.replyCommand(requests[2], "C")});
  bench.run();
  EXPECT_EQ(client.take(), "C");
  EXPECT_EQ(bench.processor->counters().responses.value(), 2u);
  client.send(framed("d"));
  bench.run();
  bench.reply(bench.claimOne(), "D");
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerClosed, 1);
}

TEST(Processor, TheFateOfAReplyIsToldWhereItIsAskedFor) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  Command first = bench.replyCommand(requests[0], "A");
  first.notify = true;
  bench.submit({first});
  bench.run();
  Event sent = bench.takeEvent(Event::Kind::kSent);
  EXPECT_TRUE(sent.ok);
  EXPECT_EQ(sent.count, requests[0].sequence);

  client.reset();
  bench.run();
  bench.takeEvent(Event::Kind::kReset);
  Command second = bench.replyCommand(requests[1], "B");
  second.notify = true;
  bench.submit({second});
  bench.run();
  const std::vector<Event> events = bench.takeEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Event::Kind::kSent);
  EXPECT_FALSE(events[0].ok);
  EXPECT_EQ(events[0].count, requests[1].sequence);
  EXPECT_EQ(events[0].reason, CloseReason::kPeerReset);
  EXPECT_EQ(events[1].kind, Event::Kind::kClosed);
}

TEST(Processor, ASlowReadersReplyIsToldOnlyWhenItHasLeft) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(2);
  client.send(framed("a"));
  bench.run();
  Command reply = bench.replyCommand(bench.claimOne(), "abcd");
  reply.notify = true;
  bench.submit({reply});
  bench.run();
  EXPECT_EQ(bench.takeEvents().size(), 0u);
  client.take();
  bench.run();
  EXPECT_TRUE(bench.takeEvent(Event::Kind::kSent).ok);
}

#ifdef ODRADEK_DEBUG
TEST(ProcessorDeathTest, AReplyOutOfItsOrderIsABugOfOurs) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  const auto replyOutOfOrder = [&] {
    bench.reply(requests[1], "B");
    bench.turn();
  };
  EXPECT_DEATH(replyOutOfOrder(), "broken: !is_stray");
}
#else
TEST(Processor, StrayRepliesAreCountedAndDropped) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  Command early = bench.replyCommand(requests[1], "early");
  bench.submit({early, bench.replyCommand(requests[0], "A")});
  Command twice = bench.replyCommand(requests[0], "twice");
  Command many = bench.replyCommand(requests[1], "many", 2);
  auto* batch = new CommandBatch();
  batch->commands = {twice, many, bench.replyCommand(requests[1], "B")};
  bench.processor->submit(batch);
  bench.run();
  EXPECT_EQ(client.take(), "AB");
  EXPECT_EQ(bench.processor->counters().stray_replies.value(), 3u);
}
#endif

// --- Framings ----------------------------------------------------------------------------------

Framing lines() {
  Framing framing;
  framing.kind = Framing::Kind::kDelimited;
  framing.delimiter[0] = std::byte{'\n'};
  framing.delimiter_bytes = 1;
  framing.max_frame_bytes = 100;
  return framing;
}

Command setFraming(const ChannelId& channel, const Framing& framing) {
  Command command;
  command.kind = Command::Kind::kSetFraming;
  command.channel = channel;
  command.framing = framing;
  return command;
}

TEST(Processor, AFramingSetWhileARequestIsInWorkCutsWhatFollows) {
  ProcessorBench bench({.framing = lines()});
  FakeConnection& client = bench.connect();
  client.send("upgrade\n");
  bench.run();
  const Taken request = bench.claimOne();
  client.send(framed("binary\nbody"));
  bench.run();
  bench.submit({setFraming(request.channel, Framing()), bench.replyCommand(request, "ok\n")});
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"binary\nbody"}));
  EXPECT_EQ(client.take(), "ok\n");
}

TEST(Processor, RequestsCutWronglyAreCutAgain) {
  ProcessorBench bench({.framing = lines()});
  FakeConnection& client = bench.connect();
  client.send("upgrade\n" + framed("a\nb") + framed("c") + framed("d\n").substr(0, 5));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 2u);
  ASSERT_TRUE(requests[1].is_last);
  Command again = setFraming(requests[0].channel, Framing());
  again.sequence = requests[1].sequence;
  again.settles = 1;
  again.block = test::blockOf(bench.reply_memory, requests[1].frame);
  again.length = static_cast<uint32_t>(requests[1].frame.size());
  bench.submit({again, bench.replyCommand(requests[0], "ok\n")});
  bench.run();
  const std::vector<Taken> anew = bench.claim();
  ASSERT_EQ(anew.size(), 2u);
  EXPECT_EQ(anew[0].body, "a\nb");
  EXPECT_EQ(anew[0].sequence, 1u) << "the place of the one that was withdrawn";
  EXPECT_EQ(anew[1].body, "c");
  bench.echo(anew);
  client.send(framed("d\n").substr(5));
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"d\n"}));
  EXPECT_EQ(client.take(), "ok\n" + framed("a\nb") + framed("c"));
}

TEST(Processor, BytesThatBreakTheOldFramingMayBeRightInTheNew) {
  ProcessorBench bench({.framing = lines()});
  FakeConnection& client = bench.connect();
  client.send("upgrade\n" + framed(std::string(150, 'x')));
  bench.run();
  const Taken request = bench.claimOne();
  bench.submit({setFraming(request.channel, Framing()), bench.replyCommand(request, "ok\n")});
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{std::string(150, 'x')}));
}

TEST(Processor, AFramingSetBetweenRequestsCutsWhatIsHeld) {
  ProcessorBench bench({.framing = lines()});
  FakeConnection& client = bench.connect();
  client.send(framed("abc"));
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u);
  bench.submit({setFraming(bench.lastOpened(), Framing())});
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"abc"}));
}

TEST(Processor, AFramingSetOnAClosingConnectionSettlesWhatItWithdraws) {
  ProcessorBench bench({.framing = lines()});
  FakeConnection& client = bench.connect();
  client.send("a\nb\nc\n");
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  Command again = setFraming(requests[0].channel, Framing());
  again.sequence = 1;
  again.settles = 2;
  Command last = bench.replyCommand(requests[0], "A\n");
  // The reply to the first one closes; it was overtaken by the change of framing.
  last.reason = CloseReason::kClosedByHandler;
  bench.submit({bench.close(requests[0].channel, CloseReason::kClosedByService), again, last});
  bench.run();
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService, 3);
}

TEST(Processor, AFramingSetAfterAResetSettlesWhatItWithdraws) {
  ProcessorBench bench({.framing = lines()});
  FakeConnection& client = bench.connect();
  client.send("a\nb\nc\n");
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  client.reset();
  bench.run();
  bench.takeEvent(Event::Kind::kReset);
  Command again = setFraming(requests[0].channel, Framing());
  again.sequence = 1;
  again.settles = 2;
  again.block = test::blockOf(bench.reply_memory, "b\nc\n");
  again.length = 4;
  bench.submit({again, bench.replyCommand(requests[0], "A\n")});
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerReset, 3);
}

TEST(Processor, UnreadBytesForWhichThereIsNoMemoryEndTheConnection) {
  ProcessorBench bench({.framing = lines()});
  FakeConnection& client = bench.connect();
  client.send("a\nb\n");
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  Command again = setFraming(requests[0].channel, Framing());
  again.sequence = 1;
  again.settles = 1;
  again.block = test::blockOf(bench.reply_memory, "b\n");
  again.length = 2;
  bench.memory.refuseAfter(0);
  bench.submit({again, bench.replyCommand(requests[0], "A\n")});
  bench.run();
  bench.memory.allow();
  EXPECT_EQ(client.take(), "A\n");
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kOutOfMemory, 0);
}

}  // namespace
}  // namespace odradek
