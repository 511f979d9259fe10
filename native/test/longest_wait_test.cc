// Since when the longest waiting waits, as whoever looks from outside is told: requests that nobody
// has taken, and connections that wait for room or for memory.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../core/handler_set.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::BenchOptions;
using test::FakeConnection;
using test::framed;
using test::framedAll;
using test::ProcessorBench;

constexpr int64_t kMs = 1'000'000;

TEST(LongestWait, IsThatOfTheOldestRequestThatNobodyHasTaken) {
  ProcessorBench bench;
  FakeConnection& first = bench.connect();
  FakeConnection& second = bench.connect();
  EXPECT_EQ(bench.requests.oldestNs(), INT64_MAX);
  first.send(framed("1"));
  bench.run();
  const int64_t began_ns = bench.requests.oldestNs();
  EXPECT_EQ(began_ns, bench.kernel.clock.now());
  bench.kernel.clock.advance(5 * kMs);
  second.send(framed("2"));
  bench.run();
  EXPECT_EQ(bench.requests.oldestNs(), began_ns);
  bench.echo(bench.claim(1));
  EXPECT_EQ(bench.requests.oldestNs(), began_ns + 5 * kMs);
  bench.echo(bench.claim());
  EXPECT_EQ(bench.requests.oldestNs(), INT64_MAX);
  bench.run();
}

TEST(LongestWait, OfPlacesOfAPoolIsTheOldestOfThemAll) {
  HandlerSet any(false, 1);
  HandlerSet bound(true, 1);
  any.enter(0, nullptr);
  bound.enter(0, nullptr);
  bound.enter(1, nullptr);
  EXPECT_EQ(any.oldestNs(), INT64_MAX);
  EXPECT_EQ(bound.oldestNs(), INT64_MAX);
  const auto request = [](uint32_t slot, uint32_t place, int64_t at_ns) {
    Request made;
    made.channel.slot = slot;
    made.place = place;
    made.received_at_ns = at_ns;
    return made;
  };
  any.push(request(1, 0, 7));
  any.push(request(2, 0, 9));
  EXPECT_EQ(any.oldestNs(), 7);
  bound.push(request(1, 0, 9));
  bound.push(request(2, 1, 7));
  EXPECT_EQ(bound.oldestNs(), 7);
  std::vector<Request> taken;
  any.takeRun(0, 1, taken);
  bound.takeRun(1, 1, taken);
  EXPECT_EQ(any.oldestNs(), 9);
  EXPECT_EQ(bound.oldestNs(), 9);
}

TEST(LongestWait, ForRoomIsThatOfTheFirstInLine) {
  ProcessorBench bench({.queued_max_requests = 1});
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 3; i++) clients.push_back(&bench.connect());
  clients[0]->send(framed("0"));
  bench.run();
  EXPECT_EQ(bench.processor->waitsSinceNs(), INT64_MAX);
  clients[1]->send(framed("1"));
  bench.run();
  const int64_t began_ns = bench.kernel.clock.now();
  bench.kernel.clock.advance(5 * kMs);
  clients[2]->send(framed("2"));
  bench.run();
  EXPECT_EQ(bench.processor->waitsSinceNs(), began_ns);
  bench.kernel.clock.advance(5 * kMs);
  bench.reply(bench.claimOne(), "ok");
  bench.run();
  EXPECT_EQ(bench.processor->waitsSinceNs(), began_ns + 5 * kMs) << "the next in line";
  clients[2]->reset();
  bench.run();
  EXPECT_EQ(bench.processor->waitsSinceNs(), INT64_MAX) << "gone";
  bench.echo(bench.claim());
  bench.run();
}

TEST(LongestWait, ForMemoryGoesOnWhileOthersGetSome) {
  ProcessorBench bench({.queued_max_request_bytes = 12});
  std::vector<FakeConnection*> clients;
  for (int i = 0; i < 3; i++) clients.push_back(&bench.connect());
  clients[0]->send(framed("request0"));
  bench.run();
  clients[1]->send(framed("request1"));
  bench.run();
  const int64_t began_ns = bench.kernel.clock.now();
  bench.kernel.clock.advance(5 * kMs);
  clients[2]->send(framed("request2"));
  bench.run();
  EXPECT_EQ(bench.processor->waitsSinceNs(), began_ns);
  bench.reply(bench.claimOne(), "ok");
  bench.run();
  EXPECT_EQ(bench.processor->waitsSinceNs(), began_ns + 5 * kMs);
  bench.reply(bench.claimOne(), "ok");
  bench.run();
  // Those that were answered may have more to read, for which there was nothing left.
  bench.reply(bench.claimOne(), "ok");
  bench.run();
  EXPECT_EQ(bench.processor->waitsSinceNs(), INT64_MAX);
}

TEST(LongestWait, OfAProcessorThatHasLeftIsNone) {
  BenchOptions options = {.queued_max_requests = 1};
  options.processors = 2;
  ProcessorBench bench(options);
  FakeConnection& first = bench.connect();
  FakeConnection& second = bench.connect();
  first.send(framed("1"));
  bench.run();
  second.send(framed("2"));
  bench.run();
  EXPECT_NE(bench.at(0).waitsSinceNs(), INT64_MAX);
  ASSERT_TRUE(bench.at(0).leave({&bench.at(1)}));
  bench.turn();
  bench.runOne(1);
  EXPECT_EQ(bench.at(0).waitsSinceNs(), INT64_MAX);
  EXPECT_NE(bench.at(1).waitsSinceNs(), INT64_MAX) << "it waits on there";
  bench.echo(bench.claim());
  bench.runOne(1);
  EXPECT_EQ(bench.at(1).waitsSinceNs(), INT64_MAX);
  bench.echo(bench.claim());
  bench.runOne(1);
}

TEST(LongestWait, EndsWithTheLoop) {
  ProcessorBench bench({.queued_max_requests = 1});
  FakeConnection& client = bench.connect();
  client.send(framedAll({"1", "2"}));
  bench.run();
  EXPECT_NE(bench.processor->waitsSinceNs(), INT64_MAX);
  bench.processor->stop(CloseReason::kDeadline);
  EXPECT_FALSE(bench.turn());
  EXPECT_EQ(bench.processor->waitsSinceNs(), INT64_MAX);
}

}  // namespace
}  // namespace odradek
