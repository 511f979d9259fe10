// Memory for requests: who is read while there is none, and that all of it comes back (which every
// bench checks at its end).
#include <gtest/gtest.h>

#include <string>
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

BenchOptions withMemory(int64_t bytes) { return {.queued_max_request_bytes = bytes}; }

uint64_t waiting(const ProcessorBench& bench) {
  return bench.processor->counters().waiting_for_memory.value();
}

TEST(ProcessorMemory, NoMoreIsReadThanThereIsRoomFor) {
  ProcessorBench bench(withMemory(20));
  FakeConnection& client = bench.connect();
  client.send(framedAll({"12345678", "22345678", "32345678"}));
  bench.run();
  EXPECT_EQ(client.unreadByServer(), 36u - 20u);
  EXPECT_EQ(bench.memory_pool.available(), 0);
  for (const char* body : {"12345678", "22345678", "32345678"}) {
    const Taken request = bench.claimOne();
    EXPECT_EQ(request.body, body);
    bench.reply(request, "a");
    bench.run();
  }
  EXPECT_EQ(client.take(), "aaa");
  EXPECT_EQ(bench.memory_pool.available(), 20);
}

TEST(ProcessorMemory, OthersAreReadAsRequestsAreSettledLongestWaitingFirst) {
  ProcessorBench bench(withMemory(12));
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 4; i++) clients.push_back(&bench.connect());
  for (int i : {2, 0, 3, 1}) {
    clients[static_cast<size_t>(i)]->send(framed("request" + std::to_string(i)));
    bench.run();
  }
  EXPECT_EQ(waiting(bench), 3u);
  Strings bodies;
  for (int i = 0; i < 4; i++) {
    const Taken request = bench.claimOne();
    bodies.push_back(request.body);
    bench.kernel.clock.advance(kMs);
    bench.reply(request, "a");
    bench.run();
  }
  EXPECT_EQ(bodies, (Strings{"request2", "request0", "request3", "request1"}));
  EXPECT_EQ(waiting(bench), 0u);
  EXPECT_EQ(bench.memory_pool.depletedNs(), 4 * kMs);
}

TEST(ProcessorMemory, OneFrameMayOverdrawToItsEnd) {
  Framing framing;
  framing.max_frame_bytes = 100;
  ProcessorBench bench({.framing = framing, .queued_max_request_bytes = 10});
  FakeConnection& one = bench.connect();
  FakeConnection& other = bench.connect();
  one.send(framed(std::string(100, 'a')).substr(0, 8));
  other.send(framed(std::string(100, 'b')).substr(0, 8));
  bench.run();
  EXPECT_LE(bench.memory_pool.available(), 0) << "two halves, and nothing left for either";
  one.send(framed(std::string(100, 'a')).substr(8));
  other.send(framed(std::string(100, 'b')).substr(8));
  bench.run();
  const Taken first = bench.claimOne();
  EXPECT_GE(bench.memory_pool.available(), -104 - 10);
  EXPECT_EQ(waiting(bench), 1u);
  bench.reply(first, "A");
  bench.run();
  const Taken second = bench.claimOne();
  EXPECT_NE(first.body, second.body);
  EXPECT_EQ(second.body.size(), 100u);
  bench.reply(second, "B");
  bench.run();
}

TEST(ProcessorMemory, AFrameMayBeLargerThanThePool) {
  ProcessorBench bench(withMemory(1));
  FakeConnection& client = bench.connect();
  const std::string body(300'000, 'x');
  client.send(framed(body));
  bench.run();
  const Taken request = bench.claimOne();
  EXPECT_EQ(request.body, body);
  EXPECT_EQ(bench.memory_pool.available(), 1 - 300'004);
  bench.reply(request, "a");
  bench.run();
}

TEST(ProcessorMemory, AHalfThatDoesNotGoOnLetsAnotherPass) {
  ProcessorBench bench(withMemory(10));
  FakeConnection& stalled = bench.connect();
  FakeConnection& other = bench.connect();
  const std::string frame = framed(std::string(100, 'a'));
  stalled.send(frame.substr(0, 50));
  bench.run();
  EXPECT_EQ(bench.memory_pool.available(), -40) << "it was its turn";
  other.send(framed("hello"));
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u) << "nothing of it is here, so nothing waits for its end";
  stalled.send(frame.substr(50));
  bench.run();
  const Taken request = bench.claimOne();
  EXPECT_EQ(request.body.size(), 100u);
  bench.reply(request, "a");
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "hello");
}

TEST(ProcessorMemory, TheTurnPassesFromOneThatStallsToOneThatDoesNot) {
  ProcessorBench bench(withMemory(20));
  FakeConnection& stalled = bench.connect();
  FakeConnection& other = bench.connect();
  other.send(framed(std::string(40, 'b')).substr(0, 10));
  stalled.send(framed(std::string(40, 'a')).substr(0, 30));
  bench.run();
  EXPECT_EQ(bench.memory_pool.available(), -20);
  other.send(framed(std::string(40, 'b')).substr(10));
  bench.run();
  EXPECT_EQ(bench.claimOne().body, std::string(40, 'b'));
}

TEST(ProcessorMemory, TheTurnPassesFromProcessorToProcessor) {
  BenchOptions options = withMemory(20);
  options.processors = 2;
  ProcessorBench bench(options);
  FakeConnection& stalled = bench.connect(0);
  FakeConnection& other = bench.connect(1);
  other.send(framed(std::string(40, 'b')).substr(0, 10));
  bench.runOne(1);
  Strings claimed;
  bench.poller.on_sleep = [&] {
    if (bench.memory_pool.available() != -20) return;
    other.send(framed(std::string(40, 'b')).substr(10));
    bench.runOne(1);
    claimed = bench.claimBodies();
  };
  stalled.send(framed(std::string(40, 'a')).substr(0, 30));
  bench.runOne(0);
  EXPECT_EQ(claimed, Strings{std::string(40, 'b')}) << "the first sleeps, and has passed it on";
}

TEST(ProcessorMemory, AClosedConnectionsPartComesBack) {
  ProcessorBench bench(withMemory(30));
  FakeConnection& gone = bench.connect();
  FakeConnection& client = bench.connect();
  gone.send(framed(std::string(100, 'a')).substr(0, 60));
  bench.run();
  client.send(framed("hello"));
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u);
  gone.reset();
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "hello");
}

TEST(ProcessorMemory, ARequestOfAClosedConnectionIsCountedUntilItIsSettled) {
  ProcessorBench bench(withMemory(9));
  FakeConnection& gone = bench.connect();
  FakeConnection& client = bench.connect();
  gone.send(framed("hello"));
  bench.run();
  const Taken request = bench.claimOne();
  gone.reset();
  client.send(framed("world"));
  bench.run();
  EXPECT_EQ(bench.requests.queued(), 0u);
  bench.reply(request, "a");
  bench.run();
  EXPECT_EQ(bench.claimOne().body, "world");
}

TEST(ProcessorMemory, WhoWaitsAndEndsIsForgotten) {
  ProcessorBench bench(withMemory(9));
  FakeConnection& client = bench.connect();
  client.send(framed("hello"));
  bench.run();
  const Taken request = bench.claimOne();
  for (int i = 0; i < 200; i++) {
    FakeConnection& other = bench.connect();
    other.send(framed("other"));
    bench.run();
    other.reset();
    bench.run();
  }
  EXPECT_EQ(waiting(bench), 0u);
  bench.reply(request, "a");
  bench.run();
  EXPECT_EQ(client.take(), "a");
}

// The server doesn't read: the wait is its own. But it begins nobody's clock anew.
TEST(ProcessorMemory, TheClockOfAFrameStopsMeanwhile) {
  BenchOptions options = withMemory(6);
  options.framing.max_frame_bytes = 20;
  options.processor.timeouts = {.frame_ns = 100 * kMs};
  ProcessorBench bench(options);
  FakeConnection& holder = bench.connect();
  FakeConnection& slow = bench.connect();
  const std::string frame = framed(std::string(20, 'a'));
  holder.send(frame.substr(0, 1));
  bench.run();
  slow.send(frame.substr(0, 5));
  bench.run();
  holder.send(frame.substr(1));
  bench.run();
  const Taken request = bench.claimOne();
  bench.kernel.clock.advance(60 * kMs);
  slow.send(frame.substr(5, 18));
  bench.run();
  EXPECT_GT(slow.unreadByServer(), 0u) << "no deeper than a frame";
  bench.kernel.clock.advance(1000 * kMs);
  bench.run();
  EXPECT_FALSE(slow.sawEnd());
  bench.reply(request, "a");
  bench.run();
  EXPECT_EQ(slow.unreadByServer(), 0u);
  bench.pass(39);
  EXPECT_FALSE(slow.sawEnd());
  bench.pass(14);
  EXPECT_TRUE(slow.sawEnd()) << "its hundred milliseconds are over";
  slow.end();
  bench.run();
  bench.expectClosed(slow, CloseReason::kFrameTimeout);
}

TEST(ProcessorMemory, SeveralInFlightAreCountedOneByOne) {
  BenchOptions options = withMemory(1000);
  options.max_in_flight = 4;
  ProcessorBench bench(options);
  FakeConnection& client = bench.connect();
  client.send(framedAll({std::string(100, 'a'), "b", std::string(200, 'c'), "d"}));
  bench.run();
  const std::vector<Taken> taken = bench.claim();
  ASSERT_EQ(taken.size(), 4u);
  EXPECT_EQ(bench.memory_pool.available(), 1000 - 104 - 5 - 204 - 5);
  bench.reply(taken[0], "A");
  bench.run();
  EXPECT_EQ(bench.memory_pool.available(), 1000 - 5 - 204 - 5);
  for (size_t i = 1; i < 4; i++) bench.reply(taken[i], "A");
  bench.run();
  EXPECT_EQ(bench.memory_pool.available(), 1000);
}

TEST(ProcessorMemory, RefusedMemoryLosesNothingOfIt) {
  ProcessorBench bench(withMemory(100'000));
  FakeConnection& client = bench.connect();
  client.send(framed(std::string(50'000, 'a')).substr(0, 30'000));
  bench.run();
  bench.memory.refuseAfter(0);
  client.send(std::string(20'000, 'a'));
  bench.run();
  bench.memory.allow();
  EXPECT_EQ(bench.memory_pool.available(), 100'000);
}

TEST(ProcessorMemory, WhatIsCutAnewIsCountedAnew) {
  ProcessorBench bench(withMemory(100));
  FakeConnection& client = bench.connect();
  client.send(framedAll({"first", "a\nb\n"}));
  bench.run();
  const std::vector<Taken> taken = bench.claim();
  ASSERT_EQ(taken.size(), 2u);
  Command command;
  command.kind = Command::Kind::kSetFraming;
  command.channel = taken[1].channel;
  command.sequence = taken[1].sequence;
  command.settles = 1;
  command.block = test::blockOf(bench.reply_memory, "a\nb\nc");
  command.length = 5;
  command.framing.kind = Framing::Kind::kDelimited;
  command.framing.delimiter_bytes = 1;
  command.framing.delimiter[0] = std::byte{'\n'};
  bench.submit({command, bench.replyCommand(taken[0], "1")});
  bench.run();
  EXPECT_EQ(bench.memory_pool.available(), 100 - 5);
  const std::vector<Taken> lines = bench.claim();
  ASSERT_EQ(lines.size(), 2u);
  bench.reply(lines[0], "2", 2);
  bench.run();
  EXPECT_EQ(bench.memory_pool.available(), 100 - 1) << "the part of a line";
}

TEST(ProcessorMemory, AnHeirReadsWhatWaited) {
  BenchOptions options = withMemory(9);
  options.processors = 2;
  ProcessorBench bench(options);
  FakeConnection& client = bench.connect();
  FakeConnection& other = bench.connect();
  client.send(framed("hello"));
  bench.run();
  other.send(framed("world"));
  bench.run();
  const Taken request = bench.claimOne();
  ASSERT_TRUE(bench.at(0).leave({&bench.at(1)}));
  bench.turn();
  bench.runOne(1);
  bench.reply(request, "a");
  bench.runOne(1);
  EXPECT_EQ(bench.claimOne().body, "world");
}

}  // namespace
}  // namespace odradek
