// One listener is removed: its connections end, the others don't notice.
#include <gtest/gtest.h>

#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::framedAll;
using test::ProcessorBench;
using test::Taken;
using Stage = ListenerEnds::Stage;

constexpr uint16_t kGoing = 1;

FakeConnection& connectAt(ProcessorBench& bench, uint16_t listener, uint32_t id = 0) {
  bench.next_listener = listener;
  return bench.connect(id);
}

void advance(ProcessorBench& bench, Stage stage) {
  bench.ends.advance(kGoing, stage);
  bench.processor->endListeners();
  for (auto& other : bench.others) other->processor->endListeners();
}

TEST(ProcessorListeners, IdleConnectionsOfItEndAtOnceAndOthersStay) {
  ProcessorBench bench;
  FakeConnection& staying = bench.connect();
  FakeConnection& going = connectAt(bench, kGoing);
  advance(bench, Stage::kDraining);
  bench.run();
  bench.expectOrderlyEnd(going, CloseReason::kListenerRemoved);
  staying.send(framed("still here"));
  bench.run();
  bench.echo(bench.claim());
  bench.run();
  EXPECT_EQ(staying.take(), framed("still here"));
  EXPECT_EQ(bench.quotas.ofListener(kGoing), 0u);
}

TEST(ProcessorListeners, WhatWasReceivedIsAnsweredAndCounted) {
  ProcessorBench bench;
  FakeConnection& going = connectAt(bench, kGoing);
  going.send(framedAll({"a", "b", "c"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.reply(requests[0], framed("a"));
  bench.run();
  advance(bench, Stage::kDraining);
  bench.run();
  going.send(framed("too late"));
  bench.run();
  EXPECT_FALSE(going.sawEnd());
  bench.reply(requests[1], framed("b"));
  bench.reply(requests[2], framed("c"));
  bench.run();
  EXPECT_EQ(going.take(), framedAll({"a", "b", "c"}));
  bench.expectOrderlyEnd(going, CloseReason::kListenerRemoved);
  EXPECT_EQ(bench.ends.answered(kGoing), 2u) << "the first one was answered before";
}

TEST(ProcessorListeners, ThoseStillQueuedAreClosed) {
  ProcessorBench bench;
  bench.next_listener = kGoing;
  FakeConnection& queued = bench.offer();
  advance(bench, Stage::kDraining);
  bench.run();
  EXPECT_TRUE(queued.sawEnd());
  EXPECT_TRUE(bench.takeEvents().empty()) << "the service never hears of it";
  EXPECT_EQ(bench.quotas.total(), 0u);
}

TEST(ProcessorListeners, WhatIsLeftIsCutAndLateRepliesReachNobody) {
  ProcessorBench bench;
  FakeConnection& staying = bench.connect();
  FakeConnection& going = connectAt(bench, kGoing);
  going.send(framedAll({"a", "b", "c"}));
  staying.send(framed("x"));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  ASSERT_EQ(requests.size(), 4u);
  advance(bench, Stage::kDraining);
  bench.run();
  EXPECT_TRUE(bench.takeEvents().empty());
  advance(bench, Stage::kCut);
  bench.run();
  bench.expectClosed(going, CloseReason::kDeadline, 3);
  EXPECT_EQ(bench.ends.answered(kGoing), 0u);
  bench.echo(requests);
  bench.run();
  EXPECT_EQ(staying.take(), framed("x"));
  EXPECT_EQ(bench.processor->counters().stray_replies.value(), 0u);
}

TEST(ProcessorListeners, RepliesInTheSameTurnAsTheCutAreSettled) {
  ProcessorBench bench;
  FakeConnection& going = connectAt(bench, kGoing);
  going.send(framedAll({"a", "b"}));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  bench.reply(requests[0], framed("a"));
  advance(bench, Stage::kDraining);
  advance(bench, Stage::kCut);
  bench.reply(requests[1], framed("b"));
  bench.run();
  bench.expectClosed(going, CloseReason::kDeadline, 0);
  EXPECT_EQ(going.take(), framedAll({"a", "b"}));
  EXPECT_EQ(bench.ends.answered(kGoing), 2u) << "they left after the change";
}

TEST(ProcessorListeners, ADeadOneThatWaitsForItsHandlersIsCutToo) {
  ProcessorBench bench;
  FakeConnection& going = connectAt(bench, kGoing);
  going.send(framed("a"));
  bench.run();
  const std::vector<Taken> requests = bench.claim();
  going.reset();
  bench.run();
  bench.takeEvents();
  advance(bench, Stage::kDraining);
  bench.run();
  EXPECT_TRUE(bench.takeEvents().empty());
  advance(bench, Stage::kCut);
  bench.run();
  bench.expectClosed(going, CloseReason::kPeerReset, 1);
  bench.echo(requests);
  bench.run();
}

// Whether its heir looks before or after the connection has come.
TEST(ProcessorListeners, OneThatIsHandedOverMeanwhileEndsWithItsHeir) {
  for (const bool heir_looks_first : {false, true}) {
    ProcessorBench bench({.processors = 2});
    FakeConnection& going = connectAt(bench, kGoing);
    going.send(framed("a"));
    bench.run();
    const std::vector<Taken> requests = bench.claim();
    ASSERT_TRUE(bench.processor->leave({&bench.at(1)}));
    if (heir_looks_first) {
      advance(bench, Stage::kDraining);
      bench.runOne(1);
      EXPECT_FALSE(bench.turn());
    } else {
      EXPECT_FALSE(bench.turn());
      advance(bench, Stage::kDraining);
    }
    bench.runOne(1);
    EXPECT_FALSE(going.sawEnd());
    bench.echo(requests);
    bench.runOne(1);
    EXPECT_EQ(going.take(), framed("a"));
    EXPECT_TRUE(going.sawEnd());
    going.end();
    bench.runOne(1);
    EXPECT_EQ(bench.quotas.ofListener(kGoing), 0u);
    EXPECT_EQ(bench.ends.answered(kGoing), 1u);
    EXPECT_EQ(bench.processor->comeBack(), 0);
  }
}

}  // namespace
}  // namespace odradek
