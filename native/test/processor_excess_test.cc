// More connections than there may be: which are closed, and how.
#include <gtest/gtest.h>

#include <vector>

#include "../core/bounds.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::ProcessorBench;
using test::Taken;

void allow(ProcessorBench& bench, uint32_t connections) {
  ConnectionLimits limits;
  limits.max_connections = connections;
  limits.listeners.resize(2);
  limits.listeners[1].is_protected = true;
  bench.quotas.update(limits);
  for (uint32_t id = 0; id <= bench.others.size(); id++) bench.at(id).closeExcess();
}

FakeConnection& connectAt(ProcessorBench& bench, int64_t after_ns, uint16_t listener = 0) {
  bench.kernel.clock.advance(after_ns);
  bench.next_listener = listener;
  return bench.connect();
}

TEST(ProcessorExcess, ThoseThatWereQuietForLongestAreClosedInOrder) {
  ProcessorBench bench;
  FakeConnection& first = connectAt(bench, 1000);
  FakeConnection& second = connectAt(bench, 1000);
  FakeConnection& third = connectAt(bench, 1000);
  // The first has been served since.
  bench.kernel.clock.advance(1000);
  first.send(framed("a"));
  bench.run();
  bench.reply(bench.claimOne(), "A");
  bench.run();
  EXPECT_EQ(first.take(), "A");
  allow(bench, 2);
  bench.run();
  EXPECT_TRUE(second.sawEnd());
  EXPECT_FALSE(first.sawEnd());
  EXPECT_FALSE(third.sawEnd());
  second.end();
  bench.run();
  bench.expectClosed(second, CloseReason::kTooManyConnections);
  EXPECT_EQ(bench.processor->counters().evicted.value(), 1u);
  EXPECT_EQ(bench.quotas.total(), 2u);
}

TEST(ProcessorExcess, OneAtWorkIsClosedLastAndItsRequestIsAnswered) {
  ProcessorBench bench;
  FakeConnection& at_work = connectAt(bench, 1000);
  at_work.send(framed("a"));
  bench.run();
  const Taken request = bench.claimOne();
  FakeConnection& idle = connectAt(bench, 1000);
  allow(bench, 1);
  bench.run();
  EXPECT_TRUE(idle.sawEnd());
  EXPECT_FALSE(at_work.sawEnd());
  // A protected one takes the last place.
  connectAt(bench, 1000, 1);
  bench.run();
  EXPECT_FALSE(at_work.sawEnd());
  bench.reply(request, "A");
  bench.run();
  EXPECT_EQ(at_work.take(), "A");
  EXPECT_TRUE(at_work.sawEnd());
}

TEST(ProcessorExcess, ThoseThatCloseAlreadyMakeRoomFirst) {
  ProcessorBench bench;
  FakeConnection& idle = connectAt(bench, 1000);
  FakeConnection& closing = connectAt(bench, 1000);
  bench.submit({ProcessorBench::close(bench.lastOpened(), CloseReason::kClosedByService)});
  bench.run();
  EXPECT_TRUE(closing.sawEnd());
  allow(bench, 1);
  bench.run();
  EXPECT_FALSE(idle.sawEnd());
  closing.end();
  bench.run();
  bench.expectClosed(closing, CloseReason::kClosedByService);
  EXPECT_FALSE(bench.quotas.hasExcess());
}

TEST(ProcessorExcess, AProtectedListenersConnectionsStay) {
  ProcessorBench bench;
  std::vector<FakeConnection*> guarded;
  for (int i = 0; i < 3; i++) guarded.push_back(&connectAt(bench, 1000, 1));
  FakeConnection& other = connectAt(bench, 1000);
  allow(bench, 1);
  bench.run();
  EXPECT_TRUE(other.sawEnd());
  for (FakeConnection* client : guarded) EXPECT_FALSE(client->sawEnd());
  other.end();
  bench.run();
  bench.expectClosed(other, CloseReason::kTooManyConnections);
  EXPECT_FALSE(bench.quotas.hasExcess()) << "there is nobody to be closed";
}

TEST(ProcessorExcess, SeveralProcessorsCloseNoMoreThanThereAreTooMany) {
  ProcessorBench bench({.processors = 2});
  std::vector<FakeConnection*> clients;
  for (uint32_t i = 0; i < 6; i++) clients.push_back(&bench.connect(i % 2));
  allow(bench, 3);
  bench.runOne(0);
  bench.runOne(1);
  uint32_t ended = 0;
  for (FakeConnection* client : clients) ended += client->sawEnd() ? 1 : 0;
  EXPECT_EQ(ended, 3u);
  bench.kernel.clock.advance(kLingerNs);
  bench.runOne(0);
  bench.runOne(1);
  EXPECT_EQ(bench.quotas.total(), 3u);
}

}  // namespace
}  // namespace odradek
