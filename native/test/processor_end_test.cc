// How connections end: by their client, by the service, by an error, with the server.
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

// --- By the client -----------------------------------------------------------------------------

TEST(ProcessorEnd, AClientThatEndsIsClosed) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerClosed);
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorEnd, AHalfClosedClientStillGetsItsAnswers) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  client.end();
  bench.run();
  EXPECT_EQ(bench.takeEvents().size(), 0u);
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 2u);
  bench.reply(requests[0], "A");
  bench.run();
  EXPECT_EQ(client.take(), "A");
  EXPECT_TRUE(client.isOpen());
  bench.reply(requests[1], "B");
  bench.run();
  EXPECT_EQ(client.take(), "B");
  EXPECT_TRUE(client.sawEnd());
  bench.expectClosed(client, CloseReason::kPeerClosed);
}

TEST(ProcessorEnd, MoreThanABatchBeforeTheEndIsAnswered) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  std::string sent;
  for (uint32_t i = 0; i < kFramesPerBatch + 5; i++) sent += framed(std::to_string(i));
  client.send(sent);
  client.end();
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(client.take(), sent);
  bench.expectClosed(client, CloseReason::kPeerClosed);
}

TEST(ProcessorEnd, AFrameCutShortIsReported) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("whole") + framed("half").substr(0, 6));
  client.end();
  bench.run();
  const Taken request = bench.claimOne();
  bench.reply(request, "ok");
  bench.run();
  EXPECT_EQ(client.take(), "ok");
  bench.expectClosed(client, CloseReason::kTruncatedFrame);
}

TEST(ProcessorEnd, AHeaderCutShortIsReported) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(std::string(1, '\0'));
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kTruncatedFrame);
}

TEST(ProcessorEnd, TheEndWhileARequestIsInWorkIsNoticedAfterIt) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  client.end();
  EXPECT_EQ(bench.run(), 2) << "an end that nobody may read yet doesn't keep the loop busy";
  EXPECT_EQ(client.reads, 1u);
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(client.take(), "A");
  bench.expectClosed(client, CloseReason::kPeerClosed);
}

TEST(ProcessorEnd, AResetIsNoticedOnceWhileARequestIsInWork) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  client.reset();
  EXPECT_EQ(bench.run(), 2);
  bench.takeEvent(Event::Kind::kReset);
  EXPECT_FALSE(client.isOpen()) << "the descriptor is free at once";
  const uint64_t waits = bench.poller.waits;
  EXPECT_EQ(bench.run(), 1);
  EXPECT_EQ(bench.poller.waits, waits + 1);
  EXPECT_EQ(bench.processor->counters().connections.value(), 1u) << "requests are in work";

  bench.reply(requests[0], "A");
  bench.run();
  EXPECT_EQ(bench.takeEvents().size(), 0u);
  bench.reply(requests[1], "B");
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerReset, 2);
  EXPECT_EQ(bench.processor->counters().connections.value(), 0u);
}

TEST(ProcessorEnd, AResetOfAnIdleConnectionClosesIt) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.reset();
  bench.run();
  const Event event = bench.takeEvent(Event::Kind::kClosed);
  EXPECT_EQ(event.reason, CloseReason::kPeerReset);
  EXPECT_EQ(event.error, ECONNRESET);
}

TEST(ProcessorEnd, AResetWhileRequestsAreQueuedCancelsNothing) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  client.reset();
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[1].body, "b");
  bench.echo(requests);
  bench.run();
  const std::vector<Event> events = bench.takeEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Event::Kind::kReset);
  EXPECT_EQ(events[1].kind, Event::Kind::kClosed);
  EXPECT_EQ(events[1].count, 2u);
}

TEST(ProcessorEnd, AClientThatIsGoneIsFoundByTheWrite) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  client.close();
  bench.run();
  bench.reply(bench.claimOne(), "A");
  bench.run();
  EXPECT_FALSE(client.isOpen());
  const Event event = bench.takeEvent(Event::Kind::kClosed);
  // Handed to the kernel, whatever became of it there.
  EXPECT_EQ(event.count, 0u);
}

TEST(ProcessorEnd, AReadErrorEndsThatConnectionAlone) {
  ProcessorBench bench;
  FakeConnection& broken = bench.connect();
  FakeConnection& well = bench.connect();
  broken.failReads({EIO});
  broken.send(framed("x"));
  well.send(framed("a"));
  bench.run();
  const Event event = bench.takeEvent(Event::Kind::kClosed);
  EXPECT_EQ(event.reason, CloseReason::kIoError);
  EXPECT_EQ(event.error, EIO);
  bench.reply(bench.claimOne(), "A");
  bench.run();
  EXPECT_EQ(well.take(), "A");
}

TEST(ProcessorEnd, AWriteErrorSettlesEveryReply) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b", "c"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  client.failWrites({EPIPE});
  bench.echo({requests[0], requests[1]});
  bench.run();
  bench.takeEvent(Event::Kind::kReset);
  bench.echo({requests[2]});
  bench.run();
  const Event event = bench.takeEvent(Event::Kind::kClosed);
  EXPECT_EQ(event.reason, CloseReason::kPeerReset);
  EXPECT_EQ(event.error, EPIPE);
  EXPECT_EQ(event.count, 3u);
}

TEST(ProcessorEnd, InterruptedAndEmptyReadsAreNoEnd) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.failReads({EINTR, EAGAIN, EINTR});
  client.send(framed("a"));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "a");
  client.reportSpuriously();
  EXPECT_LE(bench.run(), 2);
}

// --- By a broken frame -------------------------------------------------------------------------

TEST(ProcessorEnd, ABrokenFrameEndsTheConnectionAfterTheGoodOnes) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}) + std::string("\x7f\xff\xff\xff", 4) + "rubbish");
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 2u);
  bench.reply(requests[0], "A");
  bench.run();
  EXPECT_TRUE(client.isOpen());
  bench.reply(requests[1], "B");
  bench.run();
  EXPECT_EQ(client.take(), "AB");
  EXPECT_TRUE(client.sawEnd());
  client.end();
  bench.run();
  const Event event = bench.takeEvent(Event::Kind::kClosed);
  EXPECT_EQ(event.reason, CloseReason::kFrameTooLarge);
  EXPECT_EQ(event.declared, INT32_MAX);
  EXPECT_EQ(event.count, 0u);
}

TEST(ProcessorEnd, ABrokenPrefixEndsTheConnectionAtOnce) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send("\xff\xff\xff\xff");
  bench.run();
  bench.expectOrderlyEnd(client, CloseReason::kFrameLengthInvalid);
}

TEST(ProcessorEnd, AClientThatEndsAfterABrokenFrameIsToldOfTheFrame) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a") + "\xff\xff\xff\xff");
  client.end();
  bench.run();
  bench.reply(bench.claimOne(), "A");
  bench.run();
  EXPECT_EQ(client.take(), "A");
  bench.expectClosed(client, CloseReason::kFrameLengthInvalid);
}

// --- By the service ----------------------------------------------------------------------------

TEST(ProcessorEnd, AReplyThatClosesLeavesFirst) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  Command last = bench.replyCommand(requests[0], "bye");
  last.reason = CloseReason::kClosedByHandler;
  Command dropped = bench.replyCommand(requests[1], "");
  dropped.discarded = true;
  bench.submit({last, dropped});
  bench.run();
  EXPECT_EQ(client.take(), "bye");
  bench.expectOrderlyEnd(client, CloseReason::kClosedByHandler, 1);
}

TEST(ProcessorEnd, UnreadInputDoesntTurnTheLastReplyIntoAReset) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  Command last = bench.replyCommand(bench.claimOne(), "bye");
  last.reason = CloseReason::kClosedByHandler;
  client.send(framedAll({"never", "read"}));
  bench.submit({last});
  bench.run();
  client.send(framed("late"));
  bench.run();
  EXPECT_TRUE(client.isOpen()) << "what still comes is discarded for a while";
  client.end();
  bench.run();
  EXPECT_FALSE(client.sawReset());
  EXPECT_EQ(client.take(), "bye");
  EXPECT_TRUE(client.sawEnd());
  bench.expectClosed(client, CloseReason::kClosedByHandler);
}

TEST(ProcessorEnd, AClientThatNeverEndsIsClosedWhenItsLingerIsOver) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  bench.submit({bench.close(bench.lastOpened(), CloseReason::kClosedByService)});
  bench.run();
  EXPECT_TRUE(client.sawEnd());
  EXPECT_TRUE(client.isOpen());
  EXPECT_EQ(bench.poller.last_timeout_ns, kLingerNs);
  bench.kernel.clock.advance(kLingerNs - 1);
  bench.run();
  EXPECT_TRUE(client.isOpen());
  EXPECT_EQ(bench.poller.last_timeout_ns, 1);
  bench.kernel.clock.advance(1);
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService);
  EXPECT_EQ(bench.poller.last_timeout_ns, -1) << "no deadline is left";
}

TEST(ProcessorEnd, LingersEndInTheirOrder) {
  ProcessorBench bench;
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 3; i++) {
    clients.push_back(&bench.connect());
    bench.submit({bench.close(bench.lastOpened(), CloseReason::kClosedByService)});
    bench.run();
    bench.kernel.clock.advance(kLingerNs / 4);
  }
  clients[0]->end();  // before its time
  bench.run();
  EXPECT_EQ(bench.poller.last_timeout_ns, kLingerNs / 2) << "that of the second one";
  bench.kernel.clock.advance(kLingerNs / 2);
  bench.run();
  EXPECT_FALSE(clients[1]->isOpen());
  EXPECT_TRUE(clients[2]->isOpen());
  bench.kernel.clock.advance(kLingerNs / 4);
  bench.run();
  EXPECT_EQ(bench.takeEvents().size(), 3u);
}

TEST(ProcessorEnd, ALingererThatKeepsSendingIsClosed) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  bench.submit({bench.close(bench.lastOpened(), CloseReason::kClosedByService)});
  bench.run();
  const std::string flood(100'000, 'x');
  for (size_t sent = 0; sent <= kLingerBytes; sent += flood.size()) {
    ASSERT_TRUE(client.isOpen());
    client.send(flood);
    bench.run();
  }
  client.send(flood);
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService);
}

TEST(ProcessorEnd, AResetWhileItLingersKeepsTheReason) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  bench.submit({bench.close(bench.lastOpened(), CloseReason::kClosedByService)});
  bench.run();
  client.reset();
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService);
}

TEST(ProcessorEnd, AShutdownThatFailsClosesAtOnce) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.failShutdown(ENOTCONN);
  bench.submit({bench.close(bench.lastOpened(), CloseReason::kClosedByService)});
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService);
}

TEST(ProcessorEnd, CloseLetsOutWhatWasGivenBeforeAndCutsWhatIsInWork) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(2);
  client.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.submit({bench.replyCommand(requests[0], "given"),
                bench.close(requests[0].channel, CloseReason::kClosedByService)});
  bench.run();
  EXPECT_EQ(client.take(), "gi");
  client.setWindow(100);
  bench.run();
  EXPECT_EQ(client.take(), "ven");
  EXPECT_TRUE(client.sawEnd()) << "the other request isn't waited for";
  client.end();
  bench.run();
  EXPECT_EQ(bench.takeEvents().size(), 0u) << "and is still in work";
  bench.reply(requests[1], "late");
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService, 1);
  EXPECT_EQ(client.take(), "");
}

TEST(ProcessorEnd, ASecondCloseChangesNothing) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  const ChannelId id = bench.lastOpened();
  bench.submit({bench.close(id, CloseReason::kClosedByService),
                bench.close(id, CloseReason::kHandlerError)});
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService);
  bench.submit({bench.close(id, CloseReason::kHandlerError)});
  bench.run();
  EXPECT_EQ(bench.takeEvents().size(), 0u);
}

TEST(ProcessorEnd, ARequestInWorkWhileItLingersSettlesLater) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  bench.submit({bench.close(request.channel, CloseReason::kClosedByService)});
  bench.run();
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(client.take(), "");
  bench.kernel.clock.advance(kLingerNs);
  bench.run();
  bench.expectClosed(client, CloseReason::kClosedByService, 1);
}

// What broke the framing and what failed share a place: neither may pass for the other.
TEST(ProcessorEnd, ABrokenFrameTellsItsLengthAndNoErrno) {
  Framing framing;
  framing.kind = Framing::Kind::kVarintPrefixed;
  ProcessorBench bench({.framing = framing});
  FakeConnection& client = bench.connect();
  client.send("\xff\xff\xff\xff\xff\xff");
  client.end();
  bench.run();
  const Event event = bench.takeEvent(Event::Kind::kClosed);
  EXPECT_EQ(event.reason, CloseReason::kFrameInvalid);
  EXPECT_EQ(event.error, 0);
  EXPECT_GT(event.declared, 0);
}

}  // namespace
}  // namespace odradek
