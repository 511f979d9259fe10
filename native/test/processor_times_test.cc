// Where requests spend their time, as far as a processor sees it.
#include <gtest/gtest.h>

#include <string>
#include <utility>
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

class TimesTest : public testing::Test {
 protected:
  const ProcessorTimes& times() const { return bench.processor->times(); }
  int64_t now() { return bench.kernel.clock.now(); }
  void pass(int64_t ms) { bench.kernel.clock.advance(ms * kMs); }

  std::vector<Taken> request(FakeConnection& client, const std::vector<std::string>& bodies) {
    client.send(framedAll(bodies));
    bench.run();
    return bench.claim();
  }

  // The answer to requests, all of them received with the first.
  Command answer(const Taken& request, std::string_view bytes, uint32_t settles = 1) {
    Command command = bench.replyCommand(request, bytes, settles);
    command.answers = {
        .count = settles, .received_at_ns = request.received_at_ns, .given_at_ns = now()};
    return command;
  }

  static void expect(const TimeHistogram& histogram, uint64_t count, int64_t sum_ms) {
    EXPECT_EQ(histogram.count(), count);
    EXPECT_EQ(histogram.sumNs(), static_cast<uint64_t>(sum_ms * kMs));
  }

  ProcessorBench bench;
};

TEST_F(TimesTest, ARequestIsTimedFromItsLastByteToThatOfItsReply) {
  FakeConnection& client = bench.connect();
  const std::vector<Taken> taken = request(client, {"a"});
  pass(5);
  Command reply = answer(taken[0], framed("b"));
  pass(2);
  bench.submit({std::move(reply)});
  bench.run();
  EXPECT_EQ(client.take(), framed("b"));
  expect(times().response_queue, 1, 2);
  expect(times().response_send, 1, 0);
  expect(times().total, 1, 7);
}

TEST_F(TimesTest, AReaderThatIsSlowMakesTheSendingLong) {
  FakeConnection& client = bench.connect();
  const std::vector<Taken> taken = request(client, {"a"});
  const std::string reply = framed(std::string(100, 'b'));
  client.setWindow(60);
  bench.submit({answer(taken[0], reply)});
  bench.run();
  expect(times().response_queue, 1, 0);
  expect(times().response_send, 0, 0);
  expect(times().total, 0, 0);
  pass(30);
  std::string seen = client.take();
  bench.run();
  seen += client.take();
  EXPECT_EQ(seen, reply) << "in two parts";
  expect(times().response_send, 1, 30);
  expect(times().total, 1, 30);
}

TEST_F(TimesTest, OneCommandMayAnswerMany) {
  FakeConnection& client = bench.connect();
  const std::vector<Taken> taken = request(client, {"a", "b", "c"});
  pass(1);
  bench.submit({answer(taken[0], framedAll({"a", "b", "c"}), 3)});
  bench.run();
  expect(times().total, 3, 3);
  expect(times().response_send, 3, 0);
}

TEST_F(TimesTest, WhatNeverLeavesHasNoTotal) {
  FakeConnection& client = bench.connect();
  const std::vector<Taken> taken = request(client, {"a", "b"});
  client.reset();
  bench.run();
  EXPECT_EQ(bench.takeEvent(Event::Kind::kReset).channel, taken[0].channel);
  bench.submit({answer(taken[0], framed("a")), answer(taken[1], framed("b"))});
  bench.run();
  bench.expectClosed(client, CloseReason::kPeerReset, 2);
  expect(times().total, 0, 0);
  expect(times().response_send, 0, 0);
}

TEST_F(TimesTest, WhatIsSettledWithoutAnAnswerIsNotTimed) {
  FakeConnection& client = bench.connect();
  const std::vector<Taken> taken = request(client, {"a"});
  Command command = bench.replyCommand(taken[0], "");
  command.discarded = true;
  bench.submit({std::move(command)});
  bench.run();
  expect(times().total, 0, 0);
  expect(times().response_queue, 0, 0);
}

TEST_F(TimesTest, AReplyOfAThreadThatIsEarlyWaitsForItsTurn) {
  ProcessorBench shared({.max_in_flight = 2});
  FakeConnection& client = shared.connect();
  client.send(framedAll({"a", "b"}));
  shared.run();
  const std::vector<Taken> taken = shared.claim();
  const auto give = [&](const Taken& request, int64_t given_at_ns) {
    Command command = shared.replyCommand(request, framed(request.body));
    command.answers = {
        .count = 1, .received_at_ns = request.received_at_ns, .given_at_ns = given_at_ns};
    shared.submit({std::move(command)});
    shared.run();
  };
  give(taken[1], shared.kernel.clock.now());
  expect(shared.processor->times().response_queue, 0, 0);
  shared.kernel.clock.advance(4 * kMs);
  give(taken[0], shared.kernel.clock.now());
  EXPECT_EQ(client.take(), framedAll({"a", "b"}));
  expect(shared.processor->times().response_queue, 2, 4);
  expect(shared.processor->times().total, 2, 8);
}

TEST_F(TimesTest, AThrottleCountsForWhatItAskedFor) {
  bench.connect();
  Command command;
  command.kind = Command::Kind::kThrottle;
  bench.takeEvents();
  command.channel = bench.lastOpened();
  command.length = 250;
  bench.submit({command});
  bench.run();
  expect(times().throttle, 1, 250);
}

}  // namespace
}  // namespace odradek
