// A processor whose requests are answered by several handler threads: replies that come before
// their turn, who is told what, and how requests reach the threads.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "pool_thread.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::framedAll;
using test::PoolThread;
using test::ProcessorBench;
using Numbers = std::vector<uint32_t>;

// A client whose requests "a", "b", ... are claimed by one thread that answers as it is told.
struct Exchange {
  explicit Exchange(const std::vector<std::string>& bodies, uint16_t max_in_flight = 8)
      : bench({.max_in_flight = max_in_flight, .has_pool = true}),
        thread(0, bench.requests, bench, max_in_flight),
        client(bench.connect()) {
    client.send(framedAll(bodies));
    bench.run();
    while (thread.held().size() < bodies.size()) thread.claim();
  }

  Command reply(size_t index, std::string_view bytes) {
    const Request& request = thread.held()[index].request;
    test::Taken taken;
    taken.channel = request.channel;
    taken.sequence = request.sequence;
    return bench.replyCommand(taken, bytes);
  }
  void answer(size_t index, std::string_view bytes) {
    thread.answer(index, {reply(index, bytes)});
    bench.run();
  }

  ProcessorBench bench;
  PoolThread thread;
  FakeConnection& client;
};

std::vector<Event::Kind> kindsOf(const std::vector<Event>& events) {
  std::vector<Event::Kind> kinds;
  for (const Event& event : events) kinds.push_back(event.kind);
  return kinds;
}

// --- Early replies -----------------------------------------------------------------------------

TEST(ProcessorPool, EarlyRepliesWaitForTheirTurn) {
  Exchange exchange({"a", "b", "c"});
  exchange.answer(2, "C");
  exchange.answer(1, "B");
  EXPECT_EQ(exchange.client.take(), "");
  exchange.answer(0, "A");
  EXPECT_EQ(exchange.client.take(), "ABC");
  EXPECT_EQ(exchange.bench.processor->counters().responses.value(), 3u);
}

TEST(ProcessorPool, OnlyThoseWhoseTurnHasComeLeave) {
  Exchange exchange({"a", "b", "c", "d"});
  exchange.answer(3, "D");
  exchange.answer(1, "B");
  exchange.answer(0, "A");
  EXPECT_EQ(exchange.client.take(), "AB");
  exchange.answer(0, "C");
  EXPECT_EQ(exchange.client.take(), "CD");
}

TEST(ProcessorPool, PartsOfAReplyWaitTogether) {
  Exchange exchange({"a", "b"});
  std::vector<Command> parts = {exchange.reply(1, "B1,"), exchange.reply(1, "B2,"),
                                exchange.reply(1, "B3")};
  parts[0].settles = parts[1].settles = 0;
  exchange.thread.answer(1, parts);
  exchange.bench.run();
  EXPECT_EQ(exchange.client.take(), "");
  exchange.answer(0, "A,");
  EXPECT_EQ(exchange.client.take(), "A,B1,B2,B3");
}

TEST(ProcessorPool, OneReplyMaySettleSeveralEarly) {
  Exchange exchange({"a", "b", "c", "d"});
  Command both = exchange.reply(1, "BC");
  both.settles = 2;
  exchange.thread.answer(1, {both});
  exchange.answer(2, "D");
  EXPECT_EQ(exchange.client.take(), "");
  exchange.answer(0, "A");
  EXPECT_EQ(exchange.client.take(), "ABCD");
}

TEST(ProcessorPool, BytesThatAnswerNothingDontWait) {
  Exchange exchange({"a", "b"});
  exchange.answer(1, "B");
  Command greeting = exchange.reply(0, "greeting,");
  greeting.settles = 0;
  std::vector<Command> commands = {greeting};
  exchange.thread.handler->submit(commands);
  exchange.answer(0, "A,");
  EXPECT_EQ(exchange.client.take(), "greeting,A,B");
}

TEST(ProcessorPool, NothingLeavesBehindAReplyThatCloses) {
  Exchange exchange({"a", "b", "c", "d"});
  exchange.answer(2, "C");
  Command closing = exchange.reply(1, "B");
  closing.reason = CloseReason::kClosedByHandler;
  exchange.thread.answer(1, {closing});
  exchange.bench.run();
  EXPECT_FALSE(exchange.client.sawEnd());
  exchange.answer(0, "A");
  EXPECT_EQ(exchange.client.take(), "AB");
  EXPECT_TRUE(exchange.client.sawEnd()) << "nobody waits for the one still in work";
  EXPECT_EQ(kindsOf(exchange.thread.takeEvents()), (std::vector{Event::Kind::kCut}));
  exchange.bench.takeEvent(Event::Kind::kCut);
  // Its thread may have answered before it heard of the close. Another reason doesn't count.
  Command late = exchange.reply(0, "D");
  late.reason = CloseReason::kHandlerError;
  exchange.thread.answer(0, {late});
  exchange.bench.run();
  EXPECT_EQ(exchange.client.take(), "");
  exchange.client.end();
  exchange.bench.run();
  exchange.bench.expectClosed(exchange.client, CloseReason::kClosedByHandler, 2);
}

TEST(ProcessorPool, EarlyRepliesOfAConnectionThatIsCutDontLeave) {
  Exchange exchange({"a", "b"});
  exchange.answer(1, "B");
  exchange.bench.submit({ProcessorBench::close(exchange.thread.held()[0].request.channel,
                                               CloseReason::kClosedByService)});
  exchange.bench.run();
  EXPECT_TRUE(exchange.client.sawEnd());
  EXPECT_EQ(kindsOf(exchange.thread.takeEvents()), (std::vector{Event::Kind::kCut}));
  exchange.answer(0, "A");
  EXPECT_EQ(exchange.bench.reply_memory.live, 0);
  exchange.client.end();
  exchange.bench.run();
  EXPECT_EQ(exchange.client.take(), "");
  const std::vector<Event> events = exchange.bench.takeEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].reason, CloseReason::kClosedByService);
  EXPECT_EQ(events[1].count, 2u);
}

TEST(ProcessorPool, EarlyRepliesOfAPeerThatIsGoneAreSettledInTheirTurn) {
  Exchange exchange({"a", "b"});
  exchange.answer(1, "B");
  exchange.client.reset();
  exchange.bench.run();
  exchange.bench.takeEvent(Event::Kind::kReset);
  exchange.answer(0, "A");
  exchange.bench.expectClosed(exchange.client, CloseReason::kPeerReset, 2);
}

TEST(ProcessorPool, AProcessorThatEndsLetsGoOfEarlyReplies) {
  Exchange exchange({"a", "b"});
  exchange.answer(1, "B");
  EXPECT_EQ(exchange.bench.reply_memory.live, 1);
  exchange.bench.processor->stop(CloseReason::kDeadline);
  EXPECT_FALSE(exchange.bench.turn());
  EXPECT_EQ(exchange.bench.reply_memory.live, 0);
}

#ifndef ODRADEK_DEBUG  // where it is asserted on
TEST(ProcessorPool, ASecondEarlyReplyIsAStray) {
  Exchange exchange({"a", "b", "c"});
  Command twice = exchange.reply(1, "twice");
  Command over = exchange.reply(0, "over");
  over.settles = 2;
  Command beyond = exchange.reply(2, "beyond");
  beyond.settles = 2;
  Command unknown = exchange.reply(2, "unknown");
  unknown.sequence = 3;
  exchange.answer(1, "B");
  // Not by the thread, which has no such request any more.
  exchange.bench.submit(0, new CommandBatch{{twice, over, beyond, unknown}, nullptr});
  exchange.bench.run();
  EXPECT_EQ(exchange.bench.processor->counters().stray_replies.value(), 4u);
  exchange.answer(0, "A");
  exchange.answer(0, "C");
  EXPECT_EQ(exchange.client.take(), "ABC");
}
#endif

// --- Requests to threads -----------------------------------------------------------------------

// The waiters' frames are cut first, and then what has come since.
TEST(ProcessorPool, AConnectionsRequestsAreBroughtTogether) {
  ProcessorBench bench({.queued_max_requests = 3, .max_in_flight = 8, .has_pool = true});
  PoolThread thread(0, bench.requests, bench, 8);
  FakeConnection& one = bench.connect();
  FakeConnection& two = bench.connect();
  one.send(framedAll({"0", "1", "2", "3"}));
  bench.run();
  two.send(framed("0"));
  bench.run();
  EXPECT_EQ(bench.processor->counters().waiting_for_room.value(), 2u);
  one.send(framed("4"));
  for (int i = 0; i < 3; i++) thread.claim();
  bench.run();
  for (int i = 0; i < 3; i++) thread.claim();
  Numbers order;
  for (const PoolThread::Held& held : thread.held()) {
    order.push_back(held.request.channel.slot * 10 + held.request.sequence);
  }
  EXPECT_EQ(order, (Numbers{0, 1, 2, 3, 4, 10}));
}

TEST(ProcessorPool, WithAffinityAConnectionKeepsItsPlace) {
  ProcessorBench bench({.has_pool = true, .has_affinity = true});
  PoolThread first(0, bench.requests, bench);
  PoolThread second(1, bench.requests, bench);
  FakeConnection& one = bench.connect();
  FakeConnection& two = bench.connect();
  for (int round = 0; round < 3; round++) {
    one.send(framed("a"));
    bench.run();
    two.send(framed("b"));
    bench.run();
    ASSERT_EQ(first.claim().size(), 1u);
    ASSERT_EQ(second.claim().size(), 1u);
    EXPECT_EQ(first.held()[0].request.channel.slot, 0u);
    EXPECT_EQ(second.held()[0].request.channel.slot, 1u);
    first.answer(0);
    second.answer(0);
    bench.run();
  }
  two.reset();
  bench.run();
  FakeConnection& three = bench.connect();
  three.send(framed("c"));
  bench.run();
  EXPECT_EQ(second.claim().size(), 1u) << "where one has left";
  second.answer(0);
}

TEST(ProcessorPool, AConnectionThatComesBeforeTheThreadsWaitsForThem) {
  ProcessorBench bench({.has_pool = true, .has_affinity = true});
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  PoolThread thread(0, bench.requests, bench);
  EXPECT_EQ(thread.claim().size(), 1u);
  thread.answer(0);
}

// --- Who is told what --------------------------------------------------------------------------

TEST(ProcessorPool, TheFateOfAReplyIsToldToWhoGaveIt) {
  Exchange exchange({"a"});
  PoolThread other(1, exchange.bench.requests, exchange.bench);
  Command reply = exchange.reply(0, "A");
  reply.notify = true;
  exchange.thread.answer(0, {reply});
  exchange.bench.run();
  const std::vector<Event> events = exchange.thread.takeEvents();
  ASSERT_EQ(kindsOf(events), (std::vector{Event::Kind::kSent}));
  EXPECT_TRUE(events[0].ok);
  EXPECT_TRUE(other.takeEvents().empty());
  EXPECT_TRUE(exchange.bench.takeEvents().empty());
}

TEST(ProcessorPool, AHoldIsAnsweredToWhoGaveIt) {
  Exchange exchange({"a"});
  Command hold;
  hold.kind = Command::Kind::kHold;
  hold.channel = exchange.thread.held()[0].request.channel;
  std::vector<Command> commands = {hold};
  exchange.thread.handler->submit(commands);
  exchange.bench.run();
  const std::vector<Event> events = exchange.thread.takeEvents();
  ASSERT_EQ(kindsOf(events), (std::vector{Event::Kind::kHeld}));
  EXPECT_EQ(events[0].count, 1u);
  exchange.answer(0, "A");
}

TEST(ProcessorPool, TheEndIsToldToThreadsThatHaveAnswered) {
  Exchange exchange({"a"});
  PoolThread other(1, exchange.bench.requests, exchange.bench);
  exchange.answer(0, "A");
  exchange.client.end();
  exchange.bench.run();
  EXPECT_EQ(kindsOf(exchange.thread.takeEvents()), (std::vector{Event::Kind::kClosed}));
  EXPECT_TRUE(other.takeEvents().empty());
  exchange.bench.expectClosed(exchange.client, CloseReason::kPeerClosed);
}

TEST(ProcessorPool, WhoHearsOfTheEndFindsItInTheCounters) {
  Exchange exchange({"a"});
  const ProcessorCounters& counters = exchange.bench.processor->counters();
  exchange.answer(0, "A");
  exchange.thread.claim();
  ASSERT_TRUE(exchange.thread.sleep());
  exchange.thread.on_wake = [&] {
    EXPECT_EQ(kindsOf(exchange.thread.takeEvents()), (std::vector{Event::Kind::kClosed}));
    EXPECT_EQ(counters.closed.value(), 1u);
    EXPECT_EQ(counters.connections.value(), 0u);
  };
  exchange.client.end();
  exchange.bench.run();
  EXPECT_EQ(exchange.thread.wakes, 1u);
  exchange.bench.expectClosed(exchange.client, CloseReason::kPeerClosed);
}

TEST(ProcessorPool, AResetIsToldToAllThatMayHaveARequest) {
  Exchange exchange({"a"});
  PoolThread other(1, exchange.bench.requests, exchange.bench);
  exchange.client.reset();
  exchange.bench.run();
  EXPECT_EQ(kindsOf(exchange.thread.takeEvents()), (std::vector{Event::Kind::kReset}));
  EXPECT_EQ(kindsOf(other.takeEvents()), (std::vector{Event::Kind::kReset}));
  exchange.bench.takeEvent(Event::Kind::kReset);
  exchange.answer(0, "");
  exchange.bench.expectClosed(exchange.client, CloseReason::kPeerReset, 1);
}

// It has said nothing yet, and nothing that it says is heard any more.
TEST(ProcessorPool, AProcessorThatIsLostTellsThreadsWithItsRequests) {
  Exchange exchange({"a"});
  exchange.bench.poller.lose(EBADF);
  EXPECT_FALSE(exchange.bench.turn());
  const std::vector<Event> events = exchange.thread.takeEvents();
  ASSERT_EQ(kindsOf(events), (std::vector{Event::Kind::kClosed}));
  exchange.thread.handler->forget(events[0].channel);
  EXPECT_EQ(exchange.bench.requests.pending(), 0u);
}

// --- The directory -----------------------------------------------------------------------------

TEST(ProcessorPool, AConnectionIsDescribedAsLongAsItLives) {
  Exchange exchange({"a"});
  const ChannelId channel = exchange.thread.held()[0].request.channel;
  RequestHandler& handler = *exchange.thread.handler;
  const std::optional<ConnectionInfo> info = handler.describe(channel);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->remote.port, ProcessorBench::kFirstClientPort);
  EXPECT_EQ(info->local.port, 9092);
  EXPECT_FALSE(info->framing.has_value());
  EXPECT_EQ(exchange.thread.held()[0].request.framing_epoch, 0u);

  Command change;
  change.kind = Command::Kind::kSetFraming;
  change.channel = channel;
  change.framing.kind = Framing::Kind::kVarintPrefixed;
  std::vector<Command> commands = {change};
  handler.submit(commands);
  exchange.client.send("\x01z");
  exchange.bench.run();
  EXPECT_EQ(handler.describe(channel)->framing->kind, Framing::Kind::kVarintPrefixed);
  ASSERT_EQ(exchange.thread.claim().size(), 1u);
  EXPECT_EQ(exchange.thread.held()[1].request.framing_epoch, 1u);

  exchange.answer(0, "");
  exchange.answer(0, "");
  exchange.client.end();
  exchange.bench.run();
  EXPECT_FALSE(handler.describe(channel).has_value());
}

TEST(ProcessorPool, WhoMeetsAConnectionThatIsClosedLearnsOfIt) {
  Exchange exchange({"a", "b"});
  const ChannelId channel = exchange.thread.held()[0].request.channel;
  EXPECT_EQ(exchange.thread.handler->describe(channel)->cut, CloseReason::kNone);
  exchange.bench.submit({ProcessorBench::close(channel, CloseReason::kClosedByService)});
  exchange.bench.run();
  EXPECT_EQ(exchange.thread.handler->describe(channel)->cut, CloseReason::kClosedByService);
  exchange.bench.takeEvent(Event::Kind::kCut);
}

TEST(ProcessorPool, WhoMeetsAConnectionBehindAClosingReplyLearnsOfIt) {
  Exchange exchange({"a", "b"});
  const ChannelId channel = exchange.thread.held()[0].request.channel;
  Command closing = exchange.reply(0, "A");
  closing.reason = CloseReason::kClosedByHandler;
  exchange.thread.answer(0, {closing});
  exchange.bench.run();
  EXPECT_EQ(exchange.thread.handler->describe(channel)->cut, CloseReason::kClosedByHandler);
  exchange.bench.takeEvent(Event::Kind::kCut);
}

TEST(ConnectionDirectory, KnowsASlotByItsGeneration) {
  ConnectionDirectory directory;
  const ChannelId channel = {0, 3, 7};
  const ChannelId other = {0, 3, 8};
  EXPECT_FALSE(directory.find(channel).has_value());
  directory.setFraming(channel, Framing());
  directory.cut(channel, CloseReason::kClosedByService);
  directory.remove(channel);
  ConnectionInfo info;
  info.index = 2;
  directory.add(channel, info);
  EXPECT_EQ(directory.find(channel)->index, 2u);
  EXPECT_FALSE(directory.find(other).has_value());
  directory.setFraming(other, Framing());
  directory.cut(other, CloseReason::kClosedByService);
  EXPECT_FALSE(directory.find(channel)->framing.has_value()) << "of another connection";
  EXPECT_EQ(directory.find(channel)->cut, CloseReason::kNone) << "of another connection";
  directory.setFraming(channel, Framing());
  EXPECT_TRUE(directory.find(channel)->framing.has_value());
  directory.remove(channel);
  EXPECT_FALSE(directory.find(channel).has_value());
  directory.setFraming(channel, Framing());
  EXPECT_FALSE(directory.find(channel).has_value());
  directory.add(other, {});
  EXPECT_FALSE(directory.find(channel).has_value());
}

}  // namespace
}  // namespace odradek
