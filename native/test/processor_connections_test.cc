// Connections as they come: the queue, the slots, the gate of onConnect.
#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::ProcessorBench;
using test::Taken;

TEST(ProcessorConnections, TheQueueIsBoundedAndItsRoomIsTold) {
  ProcessorBench bench;
  for (uint32_t i = 0; i < kNewConnectionQueue; i++) bench.offer();
  bench.offer(Processor::Offer::kFull);
  bench.offer(Processor::Offer::kFull);
  EXPECT_EQ(bench.room_calls, 0);
  ASSERT_TRUE(bench.turn());
  EXPECT_EQ(bench.room_calls, 1) << "each listener is told once";
  EXPECT_EQ(bench.processor->counters().connections.value(), kNewConnectionQueue);
  bench.offer();
  bench.run();
  EXPECT_EQ(bench.room_calls, 1);
  EXPECT_EQ(bench.processor->counters().connections.value(), kNewConnectionQueue + 1u);
}

TEST(ProcessorConnections, AnOfferWakesASleepingLoop) {
  ProcessorBench bench;
  bench.poller.on_sleep = [&] {
    bench.poller.on_sleep = nullptr;
    bench.offer();
  };
  ASSERT_TRUE(bench.turn());
  EXPECT_EQ(bench.poller.wakes, 1u);
  ASSERT_TRUE(bench.turn());
  EXPECT_EQ(bench.processor->counters().opened.value(), 1u);
}

TEST(ProcessorConnections, AnAwakeLoopIsNotWoken) {
  ProcessorBench bench;
  bench.run();
  bench.offer();
  EXPECT_EQ(bench.poller.wakes, 0u);
  ASSERT_TRUE(bench.turn());
  EXPECT_EQ(bench.poller.last_timeout_ns, 0);
  EXPECT_EQ(bench.processor->wakes(), 0u);
}

TEST(ProcessorConnections, OneThatCantBeWatchedIsClosedAlone) {
  ProcessorBench bench;
  bench.poller.failAdds({ENOSPC});
  FakeConnection& refused = bench.offer();
  FakeConnection& taken = bench.offer();
  bench.run();
  EXPECT_TRUE(refused.sawEnd());
  EXPECT_EQ(bench.processor->counters().connections.value(), 1u);
  taken.send(framed("a"));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "a");
}

TEST(ProcessorConnections, IndexesCountUpAndIdsAreNeverUsedTwice) {
  ProcessorBench bench;
  std::set<std::pair<uint32_t, uint32_t>> ids;
  for (uint32_t i = 0; i < 20; i++) {
    FakeConnection& client = bench.offer();
    bench.run();
    std::vector<Event> events = bench.consumer.takeEvents();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].index, i);
    EXPECT_TRUE(ids.insert({events[0].channel.slot, events[0].channel.generation}).second);
    if (i % 3 != 0) {
      client.end();
      bench.run();
      bench.consumer.takeEvents();
    }
  }
}

// A slot is used again at once; what belonged to the connection before must not reach the next.
TEST(ProcessorConnections, LateCommandsNeverReachTheNextConnectionOfASlot) {
  ProcessorBench bench;
  FakeConnection& first = bench.connect();
  first.send(framed("a"));
  bench.run();
  const Taken old = bench.claimOne();
  const Command late_reply = bench.replyCommand(old, "late");
  bench.reply(old, "A");
  first.end();
  bench.run();
  bench.expectClosed(first, CloseReason::kPeerClosed);

  FakeConnection& second = bench.connect();
  EXPECT_EQ(bench.lastOpened().slot, old.channel.slot);
  EXPECT_NE(bench.lastOpened().generation, old.channel.generation);
  second.send(framed("b"));
  bench.run();
  const Taken request = bench.claimOne();
  EXPECT_EQ(request.sequence, old.sequence);
  Command accept;
  accept.kind = Command::Kind::kAccept;
  accept.channel = old.channel;
  Command framing;
  framing.kind = Command::Kind::kSetFraming;
  framing.channel = old.channel;
  auto* batch = new CommandBatch();
  batch->commands = {late_reply, accept, framing,
                     bench.close(old.channel, CloseReason::kClosedByService)};
  bench.processor->submit(batch);
  bench.run();
  EXPECT_TRUE(second.isOpen());
  EXPECT_EQ(second.take(), "");
  bench.reply(request, "B");
  bench.run();
  EXPECT_EQ(second.take(), "B");
}

TEST(ProcessorConnections, EventsOfAClosedSocketNeverReachTheNextConnectionOfASlot) {
  ProcessorBench bench;
  FakeConnection& first = bench.connect();
  const ChannelId old = bench.lastOpened();
  first.end();
  bench.run();
  bench.expectClosed(first, CloseReason::kPeerClosed);
  FakeConnection& second = bench.connect();
  EXPECT_EQ(bench.lastOpened().slot, old.slot);
  PollEvent stale;
  stale.token = uint64_t{old.generation} << 32 | old.slot;
  stale.readable = stale.peer_closed = stale.failed = true;
  bench.poller.inject(stale);
  stale.token = UINT64_MAX - 1;  // never given out
  bench.poller.inject(stale);
  bench.run();
  EXPECT_TRUE(second.isOpen());
  EXPECT_EQ(second.reads, 0u);
}

TEST(ProcessorConnections, ManyComeAndGo) {
  ProcessorBench bench;
  for (int round = 0; round < 50; round++) {
    std::vector<FakeConnection*> clients;
    for (int i = 0; i < 15; i++) {
      clients.push_back(&bench.offer());
      clients.back()->send(framed(std::to_string(i)));
    }
    bench.run();
    bench.echo(bench.claim());
    bench.run();
    for (int i = 0; i < 15; i++) {
      FakeConnection& client = *clients[static_cast<size_t>(i)];
      EXPECT_EQ(client.take(), framed(std::to_string(i)));
      if (i % 2 == 0) {
        client.reset();
      } else {
        client.end();
      }
    }
    bench.run();
    EXPECT_EQ(bench.takeEvents().size(), 15u);
    ASSERT_EQ(bench.processor->counters().connections.value(), 0u);
  }
}

// --- onConnect ---------------------------------------------------------------------------------

Command accept(const ChannelId& channel) {
  Command command;
  command.kind = Command::Kind::kAccept;
  command.channel = channel;
  return command;
}

Command greeting(ProcessorBench& bench, const ChannelId& channel, std::string_view text) {
  Taken nothing;
  nothing.channel = channel;
  return bench.replyCommand(nothing, text, 0);
}

TEST(ProcessorGate, NothingIsReadBeforeTheServiceAccepts) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  EXPECT_EQ(client.reads, 0u);
  bench.submit({greeting(bench, bench.lastOpened(), "hello"), accept(bench.lastOpened())});
  bench.run();
  EXPECT_EQ(client.take(), "hello");
  bench.reply(bench.claimOne(), "A");
  bench.run();
  EXPECT_EQ(client.take(), "A");
}

TEST(ProcessorGate, AGreetingAloneDoesntOpenIt) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.submit({greeting(bench, bench.lastOpened(), "hello")});
  bench.run();
  EXPECT_EQ(client.take(), "hello");
  EXPECT_EQ(client.reads, 0u);
  bench.submit({accept(bench.lastOpened())});
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "a");
}

TEST(ProcessorGate, ASecondAcceptDoesntUnmuteARequestInWork) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& client = bench.connect();
  bench.submit({accept(bench.lastOpened())});
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  client.send(framed("b"));
  bench.submit({accept(bench.lastOpened())});
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u);
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "b");
}

TEST(ProcessorGate, ARefusedConnectionGetsItsLastWords) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.submit({greeting(bench, bench.lastOpened(), "no"),
                bench.close(bench.lastOpened(), CloseReason::kRefused)});
  bench.run();
  EXPECT_EQ(client.take(), "no");
  bench.expectOrderlyEnd(client, CloseReason::kRefused);
  EXPECT_FALSE(client.sawReset());
  EXPECT_EQ(bench.requests.queued(), 0u);
}

TEST(ProcessorGate, AClientThatLeavesBeforehandIsNoticed) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& reset = bench.connect();
  reset.reset();
  bench.run();
  bench.expectClosed(reset, CloseReason::kPeerReset);

  FakeConnection& ended = bench.connect();
  ended.end();
  EXPECT_LE(bench.run(), 2);
  EXPECT_TRUE(ended.isOpen()) << "the service has not decided";
  bench.submit({accept(bench.lastOpened())});
  bench.run();
  bench.expectClosed(ended, CloseReason::kPeerClosed);
}

TEST(ProcessorGate, AFramingSetBeforeTheAcceptCutsTheFirstBytes) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& client = bench.connect();
  client.send("line\n");
  Command lines;
  lines.kind = Command::Kind::kSetFraming;
  lines.channel = bench.lastOpened();
  lines.framing.kind = Framing::Kind::kDelimited;
  lines.framing.delimiter[0] = std::byte{'\n'};
  lines.framing.delimiter_bytes = 1;
  bench.submit({lines});
  bench.run();
  EXPECT_EQ(client.reads, 0u);
  bench.submit({accept(bench.lastOpened())});
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "line");
}

TEST(ProcessorGate, ADrainLetsOutAGreetingThatWasGivenBefore) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& client = bench.connect();
  const ChannelId id = bench.lastOpened();
  bench.submit({greeting(bench, id, "hello"), accept(id)});
  bench.processor->drain();
  bench.run();
  EXPECT_EQ(client.take(), "hello");
  EXPECT_TRUE(client.sawEnd());
}

TEST(ProcessorGate, ADrainClosesWhatIsNotAccepted) {
  ProcessorBench bench({.waits_for_accept = true});
  FakeConnection& client = bench.connect();
  bench.processor->drain();
  bench.run();
  EXPECT_TRUE(client.sawEnd());
  bench.submit({accept(bench.lastOpened())});
  client.end();
  bench.run();
  bench.expectClosed(client, CloseReason::kServerClosed);
}

}  // namespace
}  // namespace odradek
