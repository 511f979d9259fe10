// Where and when a processor's loop sleeps: in its own poll, elsewhere, and after spinning.
#include <gtest/gtest.h>

#include "../core/bounds.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::ProcessorBench;

// --- Elsewhere ---------------------------------------------------------------------------------

class ElsewhereTest : public testing::Test {
 protected:
  // Turns until the loop may rest; how many.
  int runToRest() {
    for (int turns = 1; turns < 1000; turns++) {
      bench.processor->turn();
      EXPECT_FALSE(bench.poller.slept);
      if (bench.processor->rest(&timeout_ns)) return turns;
    }
    ADD_FAILURE() << "the loop spins";
    return 0;
  }

  ProcessorBench bench{{.processor = {.sleeps_elsewhere = true}}};
  int64_t timeout_ns = 0;
};

TEST_F(ElsewhereTest, ATurnNeverSleepsAndRestSaysForHowLong) {
  EXPECT_EQ(runToRest(), 1);
  EXPECT_EQ(timeout_ns, -1);
}

TEST_F(ElsewhereTest, WorkThatComesWhileItRestsWakesThePollerOnce) {
  runToRest();
  bench.offer();
  EXPECT_EQ(bench.poller.wakes, 1u);
  bench.offer();
  EXPECT_EQ(bench.poller.wakes, 1u);
  runToRest();
  EXPECT_EQ(bench.processor->counters().connections.value(), 2u);
}

TEST_F(ElsewhereTest, WorkThatComesWhileItDoesNotRestMakesRestRefuse) {
  runToRest();
  FakeConnection& client = bench.offer();
  bench.processor->turn();
  client.send(framed("hello"));
  bench.processor->turn();
  bench.echo(bench.claim());
  EXPECT_FALSE(bench.processor->rest(&timeout_ns));
  EXPECT_EQ(bench.poller.wakes, 1u) << "only for the connection";
  runToRest();
  EXPECT_EQ(client.take(), framed("hello"));
}

TEST_F(ElsewhereTest, WhatIsGivenWhileItRestsIsObeyedAtOnce) {
  runToRest();
  FakeConnection& client = bench.offer();
  runToRest();
  client.send(framed("hello"));
  runToRest();
  const auto taken = bench.claim();
  auto* batch = new CommandBatch();
  batch->commands.push_back(bench.replyCommand(taken[0], framed("hello")));
  const uint64_t wakes = bench.poller.wakes;
  bench.processor->obey(batch);
  EXPECT_EQ(client.take(), framed("hello"));
  EXPECT_EQ(bench.poller.wakes, wakes);
  bench.requests.release(1);
}

TEST_F(ElsewhereTest, ALingeringConnectionGivesTheRestAnEnd) {
  runToRest();
  FakeConnection& client = bench.offer();
  runToRest();
  bench.takeEvents();
  bench.submit({ProcessorBench::close(bench.lastOpened(), CloseReason::kClosedByService)});
  runToRest();
  EXPECT_EQ(timeout_ns, kLingerNs);
  bench.kernel.clock.advance(kLingerNs);
  runToRest();
  EXPECT_FALSE(client.isOpen());
  EXPECT_EQ(timeout_ns, -1);
}

TEST_F(ElsewhereTest, MemoryThatLiesUnusedGivesTheRestAnEnd) {
  const int64_t due_ns = bench.kernel.clock.now() + 1000;
  bench.memory.tidy_due_ns = due_ns;
  runToRest();
  EXPECT_EQ(timeout_ns, 1000);
  EXPECT_EQ(bench.memory.tidy_due_ns, due_ns);
  bench.kernel.clock.advance(1000);
  runToRest();
  EXPECT_EQ(bench.memory.tidy_due_ns, INT64_MAX);
  EXPECT_EQ(timeout_ns, -1);
}

TEST_F(ElsewhereTest, TheFirstDeadlineEndsTheRest) {
  runToRest();
  bench.offer();
  runToRest();
  bench.takeEvents();
  bench.submit({ProcessorBench::close(bench.lastOpened(), CloseReason::kClosedByService)});
  bench.memory.tidy_due_ns = bench.kernel.clock.now() + kLingerNs - 1;
  runToRest();
  EXPECT_EQ(timeout_ns, kLingerNs - 1);
  bench.memory.tidy_due_ns = bench.kernel.clock.now() + kLingerNs + 1;
  runToRest();
  EXPECT_EQ(timeout_ns, kLingerNs);
}

TEST_F(ElsewhereTest, ItEndsInTheTurnAfterStop) {
  runToRest();
  bench.processor->stop(CloseReason::kDeadline);
  EXPECT_FALSE(bench.memory.has_let_go);
  EXPECT_FALSE(bench.processor->turn());
  EXPECT_TRUE(bench.memory.has_let_go) << "nobody will come to tidy it";
}

// --- Spinning ----------------------------------------------------------------------------------

class BusyPollTest : public testing::Test {
 protected:
  static constexpr int64_t kSpinNs = 10'000;
  static constexpr int64_t kLookNs = 1'000;

  BusyPollTest() { bench.kernel.clock.creep(kLookNs); }

  uint64_t waitsOfATurn() {
    const uint64_t before = bench.poller.waits;
    bench.turn();
    return bench.poller.waits - before;
  }

  ProcessorBench bench{{.processor = {.busy_poll_ns = kSpinNs}}};
};

TEST_F(BusyPollTest, LooksAgainAndAgainBeforeItSleeps) {
  // One look for each tick of the clock, and the poll that sleeps.
  EXPECT_EQ(waitsOfATurn(), uint64_t{kSpinNs / kLookNs} + 1);
  EXPECT_TRUE(bench.poller.slept);
}

TEST_F(BusyPollTest, AnEventEndsTheSpinning) {
  FakeConnection& client = bench.connect();
  client.send(framed("hello"));
  EXPECT_EQ(waitsOfATurn(), 1u);
  EXPECT_EQ(bench.claimBodies(), std::vector<std::string>{"hello"});
}

TEST_F(BusyPollTest, ARingEndsTheSpinning) {
  FakeConnection& client = bench.connect();
  client.send(framed("hello"));
  bench.run();
  const auto taken = bench.claim();
  // The turn finds the reply first; the ring is still there when it would spin.
  bench.echo(taken);
  EXPECT_EQ(waitsOfATurn(), 2u);
  EXPECT_FALSE(bench.poller.slept);
  EXPECT_EQ(client.take(), framed("hello"));
}

TEST_F(BusyPollTest, WhatIsOwedIsDoneWithoutSpinning) {
  FakeConnection& client = bench.connect();
  std::string much;
  while (much.size() < 3 * kReadBytesPerTurn) much += framed(std::string(30'000, 'x'));
  client.send(much);
  bench.turn();
  EXPECT_EQ(waitsOfATurn(), 1u) << "the connection is still being read";
}

}  // namespace
}  // namespace odradek
