// A processor that leaves while it serves: its connections go on elsewhere, in whatever state they
// are, and what was sent to it arrives. Then it comes back.
#include <gtest/gtest.h>

#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::framedAll;
using test::ProcessorBench;
using test::Taken;
using Strings = std::vector<std::string>;

// Processor 1 has a connection and leaves; processors 0 (and 2) stay.
class HandoverTest : public testing::Test {
 protected:
  explicit HandoverTest(test::BenchOptions options = {.processors = 3}) : bench(options) {}

  // The last turn of a processor that leaves.
  void leave(uint32_t id, const std::vector<uint32_t>& heirs) {
    askToLeave(id, heirs);
    finishLeaving(id);
  }

  void askToLeave(uint32_t id, const std::vector<uint32_t>& heirs) {
    std::vector<Processor*> processors;
    for (const uint32_t heir : heirs) processors.push_back(&bench.at(heir));
    ASSERT_TRUE(bench.at(id).leave(processors));
  }

  void finishLeaving(uint32_t id) {
    ASSERT_FALSE(bench.at(id).turn());
    EXPECT_TRUE(bench.at(id).hasLeft());
    EXPECT_EQ(bench.at(id).counters().connections.value(), 0u);
    expectLeft(id);
  }

  // kLeft is among the events, which are otherwise kept.
  void expectLeft(uint32_t id) {
    int left = 0;
    for (Event& event : bench.takeEvents()) {
      if (event.kind == Event::Kind::kLeft) {
        EXPECT_EQ(event.channel.processor, id);
        left++;
      } else {
        events.push_back(std::move(event));
      }
    }
    EXPECT_EQ(left, 1);
  }

  void comeBack(uint32_t id) {
    ASSERT_EQ(bench.at(id).comeBack(), 0);
    bench.at(id).openDoors();
  }

  // The one connection that processor 0 has got works.
  void expectServed(FakeConnection& client, const std::string& body, uint32_t by = 0) {
    client.send(framed(body));
    bench.runOne(by);
    const Taken taken = bench.claimOne();
    EXPECT_EQ(taken.body, body);
    bench.echo({taken});
    bench.runOne(by);
    EXPECT_EQ(client.take(), framed(body));
  }

  void expectClosed(CloseReason reason, uint32_t unanswered = 0) {
    for (Event& event : bench.takeEvents()) events.push_back(std::move(event));
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].kind, Event::Kind::kClosed);
    EXPECT_EQ(events[0].reason, reason);
    EXPECT_EQ(events[0].count, unanswered);
    events.clear();
  }

  std::vector<Event> events;
  ProcessorBench bench;
};

// --- Connections in every state ------------------------------------------------------------------

TEST_F(HandoverTest, AnIdleConnectionIsServedByAnotherAndKeepsItsId) {
  FakeConnection& client = bench.connect(1);
  const ChannelId id = bench.lastOpened();
  leave(1, {0});
  client.send(framed("on"));
  bench.run();
  const Taken taken = bench.claimOne();
  EXPECT_EQ(taken.channel, id);
  EXPECT_EQ(taken.channel.processor, 1u);
  bench.echo({taken});
  bench.run();
  EXPECT_EQ(client.take(), framed("on"));
  EXPECT_EQ(bench.at(0).counters().connections.value(), 1u);
  EXPECT_EQ(bench.at(0).counters().requests.value(), 1u);
  client.end();
  bench.run();
  expectClosed(CloseReason::kPeerClosed);
}

TEST_F(HandoverTest, ConnectionsGoToAllHeirsInEqualShares) {
  for (int i = 0; i < 10; i++) bench.connect(1);
  leave(1, {0, 2});
  bench.run();
  bench.runOne(2);
  EXPECT_EQ(bench.at(0).counters().connections.value(), 5u);
  EXPECT_EQ(bench.at(2).counters().connections.value(), 5u);
}

TEST_F(HandoverTest, AHalfReceivedFrameGoesAlong) {
  FakeConnection& small = bench.connect(1);
  FakeConnection& large = bench.connect(1);
  const std::string body(200'000, 'x');
  small.send(framed("half a frame").substr(0, 9));
  large.send(framed(body).substr(0, 70'000));
  bench.runOne(1);
  leave(1, {0});
  small.send(framed("half a frame").substr(9) + framed("next"));
  large.send(framed(body).substr(70'000));
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"half a frame", "next", body}));
}

TEST_F(HandoverTest, WhatCameJustBeforeItLeftIsNotMissed) {
  FakeConnection& client = bench.connect(1);
  client.send(framedAll({"1", "2"}));
  // Its last poll is full of other events.
  for (int i = 0; i < kEventsPerPoll; i++) bench.pollerOf(1).inject({.token = ~uint64_t{0}});
  leave(1, {0});
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"1", "2"}));
}

TEST_F(HandoverTest, AParkedRequestIsAnsweredByItsOldId) {
  FakeConnection& client = bench.connect(1);
  client.send(framedAll({"parked", "behind"}));
  bench.runOne(1);
  const std::vector<Taken> taken = bench.claim();
  ASSERT_EQ(taken.size(), 2u);
  leave(1, {0});
  client.send(framed("muted"));
  bench.run();
  EXPECT_TRUE(bench.claim().empty()) << "it goes on being muted";
  bench.echo({taken[0]});
  bench.run();
  EXPECT_EQ(client.take(), framed("parked"));
  bench.echo({taken[1]});
  bench.run();
  EXPECT_EQ(client.take(), framed("behind"));
  EXPECT_EQ(bench.claimBodies(), Strings{"muted"});
}

TEST_F(HandoverTest, QueuedRequestsAreAnsweredThroughTheirOldProcessor) {
  FakeConnection& client = bench.connect(1);
  client.send(framedAll({"1", "2", "3"}));
  bench.runOne(1);
  leave(1, {0});
  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(client.take(), framedAll({"1", "2", "3"}));
}

TEST_F(HandoverTest, AReplyThatTheKernelDidNotTakeLeavesLater) {
  FakeConnection& client = bench.connect(1);
  client.setWindow(10);
  client.send(framed("ask"));
  bench.runOne(1);
  const std::string reply(5'000, 'r');
  bench.reply(bench.claimOne(), reply);
  bench.runOne(1);
  leave(1, {0});
  client.setWindow(100'000);
  std::string received = client.take();
  bench.run();
  received += client.take();
  EXPECT_EQ(received, reply);
  expectServed(client, "and on");
}

TEST_F(HandoverTest, AResetOnTheWayIsNoticed) {
  FakeConnection& client = bench.connect(1);
  client.send(framed("ask"));
  bench.runOne(1);
  const Taken taken = bench.claimOne();
  leave(1, {0});
  client.reset();
  bench.run();
  EXPECT_EQ(bench.takeEvent(Event::Kind::kReset).channel, taken.channel);
  bench.echo({taken});
  bench.run();
  expectClosed(CloseReason::kPeerReset, 1);
}

TEST_F(HandoverTest, ADeadOneIsClosedWhenItsRequestsAreSettled) {
  FakeConnection& client = bench.connect(1);
  client.send(framed("ask"));
  bench.runOne(1);
  const Taken taken = bench.claimOne();
  client.reset();
  bench.runOne(1);
  EXPECT_EQ(bench.takeEvent(Event::Kind::kReset).channel, taken.channel);
  leave(1, {0});
  bench.run();
  bench.echo({taken});
  bench.run();
  expectClosed(CloseReason::kPeerReset, 1);
}

TEST_F(HandoverTest, AClosingOneIsAnsweredAndThenCloses) {
  FakeConnection& client = bench.connect(1);
  client.send(framedAll({"1", "2"}));
  client.end();
  bench.runOne(1);
  const std::vector<Taken> taken = bench.claim();
  leave(1, {0});
  bench.echo(taken);
  bench.run();
  EXPECT_EQ(client.take(), framedAll({"1", "2"}));
  EXPECT_TRUE(client.sawEnd());
  expectClosed(CloseReason::kPeerClosed);
}

TEST_F(HandoverTest, ALingeringOneEndsAtItsOwnTime) {
  FakeConnection& early = bench.connect(1);
  const ChannelId first = bench.lastOpened();
  bench.submit({ProcessorBench::close(first, CloseReason::kClosedByService)});
  bench.runOne(1);
  EXPECT_TRUE(early.sawEnd());
  bench.kernel.clock.advance(kLingerNs / 2);
  // The heir has one that lingers on longer.
  FakeConnection& late = bench.connect(0);
  const ChannelId second = bench.lastOpened();
  bench.submit({ProcessorBench::close(second, CloseReason::kClosedByService)});
  bench.run();
  leave(1, {0});
  bench.run();
  EXPECT_TRUE(early.isOpen());
  EXPECT_LE(bench.poller.last_timeout_ns, kLingerNs / 2);
  bench.kernel.clock.advance(kLingerNs / 2);
  bench.run();
  EXPECT_FALSE(early.isOpen());
  EXPECT_TRUE(late.isOpen());
  expectClosed(CloseReason::kClosedByService);
  bench.kernel.clock.advance(kLingerNs / 2);
  bench.run();
  EXPECT_FALSE(late.isOpen());
  expectClosed(CloseReason::kClosedByService);
}

TEST_F(HandoverTest, TheLeaversSlabsAreFreed) {
  FakeConnection& client = bench.connect(1);
  client.send(framed("kept"));
  bench.runOne(1);
  leave(1, {0});
  const int64_t with_request = bench.memory.live;
  EXPECT_EQ(bench.claimBodies(), Strings{"kept"});
  EXPECT_EQ(bench.memory.live, with_request - 1) << "it was the last to hold its slab";
}

// --- Waiting -------------------------------------------------------------------------------------

class CrowdedHandoverTest : public HandoverTest {
 protected:
  CrowdedHandoverTest() : HandoverTest({.queued_max_requests = 1, .processors = 3}) {}
};

TEST_F(CrowdedHandoverTest, ThoseWaitingForRoomWaitOnInTheirOrder) {
  FakeConnection& ours = bench.connect(0);
  ours.send(framed("first"));
  bench.run();
  FakeConnection& one = bench.connect(1);
  FakeConnection& other = bench.connect(1);
  other.send(framed("second"));
  bench.runOne(1);
  one.send(framed("third"));
  bench.runOne(1);
  EXPECT_EQ(bench.at(1).counters().waiting_for_room.value(), 2u);
  leave(1, {0});
  bench.run();
  EXPECT_EQ(bench.at(1).counters().waiting_for_room.value(), 0u);
  EXPECT_EQ(bench.at(0).counters().waiting_for_room.value(), 2u);
  for (const char* body : {"first", "second", "third"}) {
    const std::vector<Taken> taken = bench.claim(1);
    ASSERT_EQ(taken.size(), 1u) << body;
    EXPECT_EQ(taken[0].body, body);
    bench.echo(taken);
    bench.run();
  }
}

TEST_F(CrowdedHandoverTest, RoomGrantedToALeaverGoesToOthers) {
  FakeConnection& ours = bench.connect(0);
  FakeConnection& theirs = bench.connect(1);
  FakeConnection& third = bench.connect(2);
  ours.send(framed("ours"));
  bench.run();
  theirs.send(framed("theirs"));
  bench.runOne(1);
  third.send(framed("third"));
  bench.runOne(2);
  // Granted by this claim to processor 1, which has not taken it when it leaves; it may take it
  // yet.
  EXPECT_EQ(bench.claimBodies(), Strings{"ours"});
  leave(1, {0});
  Strings bodies;
  for (int i = 0; i < 3; i++) {
    bench.run();
    bench.runOne(2);
    for (const std::string& body : bench.claimBodies()) bodies.push_back(body);
  }
  EXPECT_EQ(bodies.size(), 2u);
}

class NegotiatingHandoverTest : public HandoverTest {
 protected:
  NegotiatingHandoverTest()
      : HandoverTest({.waits_for_accept = true, .max_in_flight = 4, .processors = 3}) {}

  Command command(Command::Kind kind) {
    Command command;
    command.kind = kind;
    command.channel = bench.lastOpened();
    return command;
  }
};

TEST_F(NegotiatingHandoverTest, CommandsThatAreNoRepliesArriveInOrder) {
  FakeConnection& client = bench.connect(1);
  client.send(framedAll({"before", "after"}));
  bench.runOne(1);
  leave(1, {0});
  bench.run();
  EXPECT_TRUE(bench.claim().empty()) << "nobody has accepted it";
  bench.submit({command(Command::Kind::kAccept)});
  bench.run();
  const std::vector<Taken> taken = bench.claim();
  ASSERT_EQ(taken.size(), 2u);
  bench.submit({command(Command::Kind::kHold)});
  bench.run();
  EXPECT_EQ(bench.takeEvent(Event::Kind::kHeld).count, 2u);
  // Held when it moves on.
  leave(0, {2});
  client.send("line\n");
  bench.runOne(2);
  bench.echo(taken);
  Command reframe = command(Command::Kind::kSetFraming);
  reframe.framing.kind = Framing::Kind::kDelimited;
  reframe.framing.delimiter[0] = std::byte{'\n'};
  reframe.framing.delimiter_bytes = 1;
  bench.submit({std::move(reframe)});
  bench.runOne(2);
  EXPECT_EQ(client.take(), framedAll({"before", "after"}));
  EXPECT_EQ(bench.claimBodies(), Strings{"line"});
  bench.submit({ProcessorBench::close(bench.lastOpened(), CloseReason::kClosedByService)});
  bench.runOne(2);
  EXPECT_TRUE(client.sawEnd());
}

// --- Commands on their way -----------------------------------------------------------------------

TEST_F(HandoverTest, WhatIsInTheMailboxWhenItLeavesArrives) {
  FakeConnection& client = bench.connect(1);
  client.send(framedAll({"1", "2", "3"}));
  bench.runOne(1);
  const std::vector<Taken> taken = bench.claim();
  // One is submitted before its last turn, one in the middle, one after it.
  bench.echo({taken[0]});
  bench.pollerOf(1).on_sleep = [&] {
    bench.echo({taken[1]});
    askToLeave(1, {0});
  };
  bench.runOne(1);
  expectLeft(1);
  EXPECT_EQ(client.take(), framedAll({"1", "2"}));
  bench.echo({taken[2]});
  bench.run();
  EXPECT_EQ(client.take(), framed("3"));
}

TEST_F(HandoverTest, AConnectionThatMovesTwiceIsFound) {
  FakeConnection& client = bench.connect(1);
  client.send(framedAll({"1", "2", "3"}));
  bench.runOne(1);
  const std::vector<Taken> taken = bench.claim();
  leave(1, {0});
  bench.echo({taken[0]});
  // Processor 0 leaves before it has looked at what it was given.
  leave(0, {2});
  bench.echo({taken[1]});
  bench.runOne(2);
  bench.echo({taken[2]});
  bench.runOne(2);
  EXPECT_EQ(client.take(), framedAll({"1", "2", "3"}));
  client.end();
  bench.runOne(2);
  expectClosed(CloseReason::kPeerClosed);
}

TEST_F(HandoverTest, LateCommandsForAConnectionThatEndedReachNobody) {
  FakeConnection& client = bench.connect(1);
  const ChannelId ended = bench.lastOpened();
  leave(1, {0});
  client.end();
  bench.run();
  expectClosed(CloseReason::kPeerClosed);
  Command late = ProcessorBench::close(ended, CloseReason::kClosedByService);
  bench.submit({late});
  comeBack(1);
  FakeConnection& next = bench.connect(1);
  EXPECT_EQ(bench.lastOpened().slot, ended.slot) << "the slot is free again";
  EXPECT_NE(bench.lastOpened().generation, ended.generation);
  bench.submit({late});
  bench.runOne(1);
  expectServed(next, "not closed", 1);
}

// --- New connections -----------------------------------------------------------------------------

TEST_F(HandoverTest, ThoseStillQueuedAreServed) {
  std::vector<FakeConnection*> clients;
  for (uint32_t i = 0; i < kNewConnectionQueue; i++) {
    clients.push_back(&bench.offer(Processor::Offer::kTaken, 1));
  }
  bench.offer(Processor::Offer::kFull, 1);
  leave(1, {0});
  EXPECT_EQ(bench.room_calls, 1) << "whoever waits for room looks elsewhere";
  bench.offer(Processor::Offer::kGone, 1);
  for (FakeConnection* client : clients) client->send(framed("hello"));
  bench.run();
  EXPECT_EQ(bench.claim().size(), clients.size());
}

TEST_F(HandoverTest, OnesOfferedInItsLastTurnAreServed) {
  askToLeave(1, {0});
  FakeConnection& client = bench.offer(Processor::Offer::kTaken, 1);
  finishLeaving(1);
  client.send(framed("hello"));
  bench.run();
  EXPECT_EQ(bench.claimBodies(), Strings{"hello"});
}

// --- Coming back ---------------------------------------------------------------------------------

TEST_F(HandoverTest, ItComesBackAndServesBesideWhatItGaveAway) {
  FakeConnection& moved = bench.connect(1);
  const ChannelId old_id = bench.lastOpened();
  leave(1, {0});
  comeBack(1);
  FakeConnection& fresh = bench.connect(1);
  EXPECT_NE(bench.lastOpened().slot, old_id.slot) << "whose slot is part of an id in use";
  expectServed(moved, "moved", 0);
  expectServed(fresh, "fresh", 1);
  // Both in one batch, and in one mailbox of old.
  moved.send(framed("m"));
  fresh.send(framed("f"));
  bench.run();
  bench.runOne(1);
  bench.echo(bench.claim());
  bench.run();
  bench.runOne(1);
  EXPECT_EQ(moved.take(), framed("m"));
  EXPECT_EQ(fresh.take(), framed("f"));
}

TEST_F(HandoverTest, AConnectionMayComeHome) {
  FakeConnection& client = bench.connect(1);
  client.send(framed("parked"));
  bench.runOne(1);
  const Taken parked = bench.claimOne();
  leave(1, {0});
  comeBack(1);
  bench.run();
  leave(0, {1});
  bench.echo({parked});
  bench.runOne(1);
  EXPECT_EQ(client.take(), framed("parked"));
  expectServed(client, "home", 1);
  leave(1, {2});
  expectServed(client, "away again", 2);
}

TEST_F(HandoverTest, AfterTheLastOfThemEndedCommandsGoStraightAgain) {
  FakeConnection& client = bench.connect(1);
  leave(1, {0});
  comeBack(1);
  FakeConnection& fresh = bench.connect(1);
  client.end();
  bench.run();
  expectClosed(CloseReason::kPeerClosed);
  std::unique_lock held(bench.handovers.mutex);
  expectServed(fresh, "without the mutex", 1);
}

TEST_F(HandoverTest, ManyTimesWithRequestsUnderWay) {
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 20; i++) clients.push_back(&bench.connect(static_cast<uint32_t>(i % 3)));
  uint32_t away = 3;
  for (int round = 0; round < 60; round++) {
    const std::string frame = framed("round " + std::to_string(round));
    for (FakeConnection* client : clients) client->send(frame.substr(0, 6));
    for (uint32_t id = 0; id < 3; id++) bench.runOne(id);
    if (away < 3) comeBack(away);
    away = static_cast<uint32_t>(round % 3);
    for (FakeConnection* client : clients) client->send(frame.substr(6));
    bench.runOne(away);
    leave(away, {(away + 1) % 3, (away + 2) % 3});
    for (uint32_t id = 0; id < 3; id++) bench.runOne(id);
    const std::vector<Taken> taken = bench.claim();
    ASSERT_EQ(taken.size(), clients.size());
    bench.echo(taken);
    for (uint32_t id = 0; id < 3; id++) bench.runOne(id);
    for (FakeConnection* client : clients) ASSERT_EQ(client->take(), frame) << round;
  }
}

// --- Ends in the middle --------------------------------------------------------------------------

TEST_F(HandoverTest, AStopWins) {
  FakeConnection& client = bench.connect(1);
  askToLeave(1, {0});
  bench.at(1).stop(CloseReason::kServerClosed);
  EXPECT_FALSE(bench.at(1).turn());
  expectLeft(1);
  EXPECT_FALSE(bench.at(1).hasLeft());
  EXPECT_FALSE(client.isOpen());
  expectClosed(CloseReason::kServerClosed);
  EXPECT_FALSE(bench.at(1).leave({&bench.at(0)})) << "it has ended";
}

TEST_F(HandoverTest, AnHeirThatStopsClosesWhatItHasNotLookedAt) {
  FakeConnection& client = bench.connect(1);
  client.send(framed("ask"));
  bench.runOne(1);
  const Taken taken = bench.claimOne();
  leave(1, {0});
  bench.echo({taken});
  bench.at(0).stop(CloseReason::kServerClosed);
  EXPECT_FALSE(bench.at(0).turn());
  EXPECT_EQ(client.take(), framed("ask")) << "given before the stop";
  expectClosed(CloseReason::kServerClosed);
}

TEST_F(HandoverTest, AnHeirThatHasEndedGetsNothing) {
  FakeConnection& client = bench.connect(1);
  bench.poller.lose(EBADF);
  EXPECT_FALSE(bench.at(0).turn());
  EXPECT_EQ(bench.takeEvent(Event::Kind::kFatal).error, EBADF);
  leave(1, {0, 2});
  expectServed(client, "by the other", 2);
}

TEST_F(HandoverTest, WithoutALivingHeirItsConnectionsAreClosed) {
  FakeConnection& client = bench.connect(1);
  bench.poller.lose(EBADF);
  EXPECT_FALSE(bench.at(0).turn());
  EXPECT_EQ(bench.takeEvent(Event::Kind::kFatal).error, EBADF);
  askToLeave(1, {0});
  EXPECT_FALSE(bench.at(1).turn());
  expectLeft(1);
  EXPECT_FALSE(client.isOpen());
  expectClosed(CloseReason::kReactorLost);
}

TEST_F(HandoverTest, AnHeirThatCannotWatchOneClosesThatOne) {
  FakeConnection& refused = bench.connect(1);
  FakeConnection& client = bench.connect(1);
  leave(1, {0});
  bench.poller.failAdds({ENOSPC});
  bench.run();
  EXPECT_FALSE(refused.isOpen());
  expectClosed(CloseReason::kIoError);
  expectServed(client, "the other");
}

TEST_F(HandoverTest, ADrainingHeirClosesAnIdleOne) {
  FakeConnection& client = bench.connect(1);
  leave(1, {0});
  bench.at(0).drain();
  bench.run();
  EXPECT_TRUE(client.sawEnd());
}

TEST_F(HandoverTest, ALeaverThatWasLostStillSaysThatItIsGone) {
  bench.connect(1);
  askToLeave(1, {0});
  bench.pollerOf(1).lose(EBADF);
  EXPECT_FALSE(bench.at(1).turn());
  expectLeft(1);
  EXPECT_EQ(events.size(), 2u) << "kClosed and kFatal";
}

}  // namespace
}  // namespace odradek
