// A processor under load: fairness, slow readers, a full request queue, memory that runs out.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
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

// --- Fairness ----------------------------------------------------------------------------------

TEST(ProcessorFairness, ABusyConnectionGetsABoundedShareOfATurn) {
  ProcessorBench bench;
  FakeConnection& busy = bench.connect();
  FakeConnection& quiet = bench.connect();
  busy.send(framed(std::string(4'000'000, 'x')));
  quiet.send(framed("a"));
  ASSERT_TRUE(bench.turn());
  const uint64_t read = bench.processor->counters().bytes_read.value();
  EXPECT_LE(read, 2 * kReadBytesPerTurn) << "one more read may begin within the bound";
  EXPECT_EQ(bench.claimOne().body, "a");
  bench.run();
  EXPECT_EQ(bench.claimOne().body.size(), 4'000'000u);
}

TEST(ProcessorFairness, AnUnfinishedShareGoesOnWithoutAnEvent) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed(std::string(2'000'000, 'x')));
  ASSERT_TRUE(bench.turn());
  EXPECT_FALSE(bench.poller.slept);
  ASSERT_TRUE(bench.turn());
  EXPECT_EQ(bench.poller.last_timeout_ns, 0);
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 1u);
}

TEST(ProcessorFairness, ALargeReplyIsWrittenInShares) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(SIZE_MAX);
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  std::vector<Command> parts;
  const std::string part(100'000, 'x');
  for (int i = 0; i < 100; i++) {
    parts.push_back(bench.replyCommand(request, part, i == 99 ? 1 : 0));
  }
  bench.submit(parts);
  const uint64_t before = bench.processor->counters().bytes_written.value();
  ASSERT_TRUE(bench.turn());
  const uint64_t written = bench.processor->counters().bytes_written.value() - before;
  // Once as the reply comes and once as the connection is served.
  EXPECT_LE(written, 2 * (kWriteBytesPerTurn + part.size()));
  bench.run();
  EXPECT_EQ(client.take().size(), 10'000'000u);
}

// --- Slow readers ------------------------------------------------------------------------------

TEST(ProcessorSlowReader, GetsEverythingInOrderAndCostsNothingMeanwhile) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(10);
  client.send(framedAll({"a", "b", "c"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.submit({bench.replyCommand(requests[0], "0123456789abcdef"),
                bench.replyCommand(requests[1], "second")});
  bench.run();
  const uint64_t writes = client.writes;
  const uint64_t waits = bench.poller.waits;
  EXPECT_EQ(bench.run(), 1);
  EXPECT_EQ(bench.poller.waits, waits + 1);
  EXPECT_EQ(client.writes, writes) << "the kernel is full: nobody tries";
  bench.reply(requests[2], "third");
  bench.run();
  EXPECT_EQ(client.writes, writes);

  std::string got;
  while (got.size() < 27) {
    const std::string piece = client.take(7);
    ASSERT_FALSE(piece.empty());
    got += piece;
    bench.run();
  }
  EXPECT_EQ(got, "0123456789abcdefsecondthird");
  EXPECT_EQ(bench.processor->counters().responses.value(), 3u);
  client.send(framed("d"));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "d");
}

// As kqueue, which tells of room to those alone who await it.
TEST(ProcessorSlowReader, RoomIsAwaitedWhereItIsNotTold) {
  ProcessorBench bench;
  bench.poller.tells_room_on_demand = true;
  FakeConnection& client = bench.connect();
  client.setWindow(3);
  client.send(framed("a"));
  bench.run();
  bench.reply(bench.claimOne(), "123456789");
  bench.run();
  std::string got;
  for (int i = 0; i < 3; i++) {
    got += client.take();
    bench.run();
  }
  EXPECT_EQ(got, "123456789");
  client.send(framed("b"));
  bench.run();
  EXPECT_EQ(bench.claimBodies().size(), 1u);
}

TEST(ProcessorSlowReader, IsMutedUntilItsReplyHasLeft) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(2);
  client.send(framed("a") + framed("b").substr(0, 2));
  bench.run();
  bench.reply(bench.claimOne(), "abcd");
  client.send(framed("b").substr(2));
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u);
  client.take();
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "b");
}

TEST(ProcessorSlowReader, PinsOnlyItsOwnBytes) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(1);
  client.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  Command reply;
  reply.channel = request.channel;
  reply.settles = 1;
  reply.block = Block::make(bench.reply_memory, kSlabBytes);
  std::memcpy(reply.block->data(), "slab", 4);
  reply.length = 4;
  bench.submit({reply});
  bench.run();
  EXPECT_EQ(bench.reply_memory.live, 0) << "the slab of the whole turn's replies is free";
  std::string got;
  for (int i = 0; i < 4; i++) {
    got += client.take();
    bench.run();
  }
  EXPECT_EQ(got, "slab");
}

TEST(ProcessorSlowReader, AWriteCutShortGoesOn) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.send(framed("a"));
  bench.run();
  client.cutWrite(3);
  client.failWrites({EINTR});
  bench.reply(bench.claimOne(), "abcdef");
  bench.run();
  EXPECT_EQ(client.take(), "abcdef");
}

TEST(ProcessorSlowReader, AResetSettlesWhatWaits) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  client.setWindow(1);
  client.send(framedAll({"a", "b"}));
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  client.reset();
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerReset, 2);
}

// --- A full request queue ----------------------------------------------------------------------

TEST(ProcessorRoom, AConnectionWithoutRoomWaitsAndGoesOn) {
  ProcessorBench bench({.queued_max_requests = 2});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b", "c"}));
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 2u);
  EXPECT_EQ(bench.processor->counters().waiting_for_room.value(), 1u);
  const uint64_t waits = bench.poller.waits;
  EXPECT_EQ(bench.run(), 1) << "waiting costs no turns";
  EXPECT_EQ(bench.poller.waits, waits + 1);

  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"c"}));
  EXPECT_EQ(bench.processor->counters().waiting_for_room.value(), 0u);
  EXPECT_EQ(client.take(), framedAll({"a", "b"}));
}

TEST(ProcessorRoom, RoomWakesASleepingLoop) {
  ProcessorBench bench({.queued_max_requests = 1});
  FakeConnection& first = bench.connect();
  FakeConnection& second = bench.connect();
  first.send(framed("1"));
  second.send(framed("2"));
  bench.run();
  bench.poller.on_sleep = [&] {
    bench.poller.on_sleep = nullptr;
    EXPECT_EQ(bench.claimOne().body, "1");
    EXPECT_EQ(bench.poller.wakes, 1u);
  };
  ASSERT_TRUE(bench.turn());
  ASSERT_TRUE(bench.turn());
  EXPECT_EQ(bench.claimOne().body, "2");
}

TEST(ProcessorRoom, TheLongestWaitingIsServedFirst) {
  ProcessorBench bench({.queued_max_requests = 1});
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 6; i++) {
    clients.push_back(&bench.connect());
    clients.back()->send(framed(std::to_string(i)));
    bench.run();
  }
  Strings order;
  for (int i = 0; i < 6; i++) {
    const Taken request = bench.claimOne();
    order.push_back(request.body);
    bench.reply(request, "ok");
    // The first one asks again, and goes to the end of the line.
    if (i == 0) clients[0]->send(framed("again"));
    bench.run();
  }
  EXPECT_EQ(order, (Strings{"0", "1", "2", "3", "4", "5"}));
  EXPECT_EQ(bench.claimBodies(), (Strings{"again"}));
}

TEST(ProcessorRoom, AConnectionThatEndsLeavesTheLine) {
  ProcessorBench bench({.queued_max_requests = 1});
  FakeConnection& first = bench.connect();
  first.send(framed("1"));
  bench.run();
  FakeConnection& gone = bench.connect();
  FakeConnection& stays = bench.connect();
  gone.send(framed("gone"));
  bench.run();
  stays.send(framed("stays"));
  bench.run();
  EXPECT_EQ(bench.processor->counters().waiting_for_room.value(), 2u);
  gone.reset();
  bench.run();
  EXPECT_EQ(bench.processor->counters().waiting_for_room.value(), 1u);
  bench.reply(bench.claimOne(), "ok");
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"stays"}));
}

TEST(ProcessorRoom, WhenAllWhoWaitedAreGoneTheRoomGoesBack) {
  ProcessorBench bench({.queued_max_requests = 1});
  FakeConnection& first = bench.connect();
  first.send(framed("1"));
  bench.run();
  for (int i = 0; i < 200; i++) {
    FakeConnection& gone = bench.connect();
    gone.send(framed("gone"));
    bench.run();
    gone.reset();
    bench.run();
  }
  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(test::freePermits(bench.requests), 1u);
  FakeConnection& last = bench.connect();
  last.send(framed("last"));
  bench.run();
  EXPECT_EQ(bench.claimBodies(), (Strings{"last"}));
}

TEST(ProcessorRoom, HalfClosedWhileItWaitsItIsAnswered) {
  ProcessorBench bench({.queued_max_requests = 1});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"a", "b", "c"}));
  client.end();
  bench.run();
  std::string expected;
  for (const char* body : {"a", "b", "c"}) {
    const Taken request = bench.claimOne();
    EXPECT_EQ(request.body, body);
    bench.reply(request, framed(body));
    bench.run();
    expected += framed(body);
  }
  EXPECT_EQ(client.take(), expected);
  bench.expectClosed(client, CloseReason::kPeerClosed);
}

// max_pending_requests filled by requests that are answered only when another one comes.
TEST(ProcessorRoom, ParkedRequestsDontKeepOutTheOneThatCompletesThem) {
  ProcessorBench bench({.queued_max_requests = 2, .max_pending_requests = 100});
  std::vector<Taken> parked;
  for (int i = 0; i < 50; i++) {
    bench.connect().send(framed("poll"));
    bench.run();
    parked.push_back(bench.claimOne());
  }
  FakeConnection& producer = bench.connect();
  producer.send(framed("produce"));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "produce");
  bench.echo(parked);
  bench.run();
}

TEST(ProcessorRoom, TwoProcessorsShareTheQueue) {
  ProcessorBench bench({.queued_max_requests = 1});
  test::FakePoller poller(bench.kernel);
  Processor other(1, Processor::Seams{poller, bench.kernel, bench.kernel.clock, bench.memory},
                  bench.requests, bench.memory_pool, bench.unsent, bench.handovers, bench.quotas,
                  bench.ends, bench.consumer);
  ASSERT_EQ(other.open(), 0);
  FakeConnection& theirs = bench.kernel.connected();
  NewConnection connection;
  connection.fd = theirs.fd();
  connection.config = &bench.config;
  ASSERT_EQ(other.offer(connection, bench), Processor::Offer::kTaken);
  FakeConnection& ours = bench.connect();
  ours.send(framedAll({"1", "2", "3", "4"}));
  bench.run();
  theirs.send(framedAll({"one", "two"}));
  const auto runOther = [&] {
    do {
      other.turn();
    } while (!poller.slept);
  };
  runOther();
  Strings order;
  for (int i = 0; i < 6; i++) {
    const std::vector<Taken> taken = bench.claim(1);
    ASSERT_EQ(taken.size(), 1u) << i;
    order.push_back(taken[0].body);
    if (taken[0].channel.processor == 0) {
      bench.echo(taken);
    } else {
      auto* batch = new CommandBatch();
      batch->commands = {bench.replyCommand(taken[0], "ok")};
      other.submit(batch);
      bench.requests.release(1);
    }
    bench.run();
    runOther();
  }
  // The first one has asked for a second place before the other asked for its first.
  EXPECT_EQ(order, (Strings{"1", "2", "one", "3", "two", "4"}));
  other.stop(CloseReason::kDeadline);
  EXPECT_FALSE(other.turn());
}

// --- Memory that runs out ----------------------------------------------------------------------

TEST(ProcessorMemory, AFrameForWhichThereIsNoneEndsItsConnectionAlone) {
  ProcessorBench bench;
  FakeConnection& large = bench.connect();
  FakeConnection& small = bench.connect();
  small.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  large.send(framed(std::string(500'000, 'x')).substr(0, 60'000));
  bench.memory.refuseAfter(0);
  bench.run();
  bench.memory.allow();
  bench.expectOrderlyEnd(large, CloseReason::kOutOfMemory);
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(small.take(), "A");
}

// Each allocation of an exchange with three connections is refused once.
TEST(ProcessorMemory, WhateverIsRefusedEverythingIsSettled) {
  bool was_refused = true;
  int runs = 0;
  for (; was_refused; runs++) {
    ASSERT_LT(runs, 1000);
    ProcessorBench bench({.queued_max_requests = 4});
    std::vector<FakeConnection*> clients;
    for (int i = 0; i < 3; i++) clients.push_back(&bench.connect());
    bench.memory.refuseAfter(runs);
    uint32_t answered = 0;
    for (uint32_t round = 0; round < 6; round++) {
      for (FakeConnection* client : clients) {
        client->send(framed(std::string(round % 2 == 0 ? 200'000 : 20'000, 'x')));
        client->send(framed("small") + framed("half").substr(0, 5));
        bench.run();
        client->send(framed("half").substr(5));
      }
      bench.run();
      for (int i = 0; i < 20; i++) {
        const std::vector<Taken> taken = bench.claim();
        std::vector<Command> replies;
        for (const Taken& request : taken) replies.push_back(bench.replyCommand(request, "ok"));
        answered += static_cast<uint32_t>(taken.size());
        bench.submit(replies);
        bench.run();
      }
    }
    was_refused = bench.memory.refusals > 0;
    bench.memory.allow();
    for (FakeConnection* client : clients) client->end();
    bench.run();
    bench.kernel.clock.advance(kLingerNs);
    bench.run();
    EXPECT_EQ(bench.requests.pending(), 0u);
    EXPECT_EQ(bench.processor->counters().connections.value(), 0u) << "run " << runs;
    uint32_t closed = 0;
    for (const Event& event : bench.takeEvents()) {
      EXPECT_EQ(event.kind, Event::Kind::kClosed);
      const CloseReason expected =
          was_refused ? CloseReason::kOutOfMemory : CloseReason::kPeerClosed;
      EXPECT_TRUE(event.reason == expected || event.reason == CloseReason::kPeerClosed);
      closed++;
    }
    EXPECT_EQ(closed, 3u);
    if (!was_refused) {
      EXPECT_EQ(answered, 3u * 6u * 3u);
    }
  }
  EXPECT_GT(runs, 10);
}

TEST(ProcessorMemory, UrgentDataDoesntStallAConnection) {
  ProcessorBench bench;
  FakeConnection& client = bench.connect();
  const std::string frame = framed("urgent");
  client.sendUrgent(frame.substr(0, 7));
  client.send(frame.substr(7));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "urgent");
}

}  // namespace
}  // namespace odradek
