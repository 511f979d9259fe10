// Bytes that peers don't take: how many there are (which every bench checks to be none at its end),
// and who is closed where that is too much.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::framed;
using test::ProcessorBench;
using test::Taken;

class UnsentTest : public testing::Test {
 protected:
  explicit UnsentTest(test::BenchOptions options = {.max_unsent_bytes = 1000}) : bench(options) {}

  // A client that asks, and takes nothing of the answer but what fits into its window of 10 bytes.
  FakeConnection& debtor(size_t bytes, uint32_t id = 0) {
    FakeConnection& client = bench.connect(id);
    client.setWindow(10);
    answer(client, bytes, id);
    return client;
  }

  void answer(FakeConnection& client, size_t bytes, uint32_t id = 0) {
    client.send(framed("ask"));
    bench.runOne(id);
    const Taken request = bench.claimOne();
    bench.reply(request, std::string(bytes, 'x'));
    bench.runOne(id);
  }

  ProcessorBench bench;
};

TEST_F(UnsentTest, CountsWhatTheKernelHadNoRoomFor) {
  FakeConnection& client = debtor(310);
  EXPECT_EQ(bench.unsent.total(), 300);
  EXPECT_EQ(client.take().size(), 10u);
  bench.run();
  EXPECT_EQ(bench.unsent.total(), 290);
  client.setWindow(1000);
  EXPECT_EQ(client.take().size(), 10u);
  bench.run();
  EXPECT_EQ(bench.unsent.total(), 0);
  EXPECT_EQ(client.take().size(), 290u);
}

TEST_F(UnsentTest, ClosesThoseThatOweMost) {
  FakeConnection& small = debtor(100);
  FakeConnection& large = debtor(600);
  FakeConnection& last = debtor(300);
  EXPECT_EQ(bench.unsent.total(), 970) << "all of it may be";
  answer(bench.connect(), 500);
  EXPECT_EQ(bench.unsent.total(), 970) << "it was taken at once";
  FakeConnection& reader = debtor(100);
  bench.expectClosed(large, CloseReason::kTooManyUnsentBytes, 1);
  EXPECT_EQ(bench.processor->counters().shed.value(), 1u);
  EXPECT_EQ(bench.unsent.total(), 470);
  for (FakeConnection* client : {&small, &last, &reader}) {
    client->setWindow(1000);
    client->take();
    bench.run();
  }
  EXPECT_EQ(bench.unsent.total(), 0);
  EXPECT_TRUE(bench.takeEvents().empty()) << "nobody else is closed";
}

TEST_F(UnsentTest, ClosesAsManyAsItTakes) {
  debtor(400);
  debtor(400);
  debtor(2000);
  EXPECT_EQ(bench.processor->counters().shed.value(), 1u) << "the largest was enough";
  bench.unsent.resize(100);
  bench.run();
  EXPECT_EQ(bench.processor->counters().shed.value(), 3u);
  EXPECT_EQ(bench.unsent.total(), 0);
  EXPECT_EQ(bench.takeEvents().size(), 3u);
}

class UnsentOfTwo : public UnsentTest {
 protected:
  UnsentOfTwo() : UnsentTest({.max_unsent_bytes = 1000, .processors = 2}) {}
};

TEST_F(UnsentOfTwo, TheProcessorThatHasMostIsWokenForIt) {
  FakeConnection& large = debtor(700, 1);
  FakeConnection* small = nullptr;
  bench.pollerOf(1).on_sleep = [&] {
    if (small != nullptr) return;
    small = &debtor(400);
    EXPECT_EQ(bench.unsent.total(), 690 + 390);
  };
  bench.runOne(1);
  EXPECT_EQ(bench.at(1).wakes(), 1u);
  bench.runOne(1);
  EXPECT_EQ(bench.unsent.total(), 390);
  bench.expectClosed(large, CloseReason::kTooManyUnsentBytes, 1);
  small->setWindow(1000);
  small->take();
  bench.run();
  EXPECT_EQ(bench.unsent.total(), 0);
}

TEST_F(UnsentOfTwo, WhatOneHasNotEnoughOfTheOtherIsAskedFor) {
  debtor(700, 1);
  debtor(610);
  bench.unsent.resize(100);
  for (int i = 0; i < 3; i++) {
    bench.runOne(0);
    bench.runOne(1);
  }
  EXPECT_EQ(bench.at(0).counters().shed.value(), 1u);
  EXPECT_EQ(bench.at(1).counters().shed.value(), 1u);
  EXPECT_EQ(bench.takeEvents().size(), 2u);
}

TEST_F(UnsentOfTwo, GoesAlongWithAConnectionThatIsHandedOver) {
  FakeConnection& client = debtor(300, 1);
  ASSERT_TRUE(bench.at(1).leave({&bench.at(0)}));
  ASSERT_FALSE(bench.at(1).turn());
  EXPECT_EQ(bench.unsent.total(), 0) << "it is on its way";
  bench.run();
  EXPECT_EQ(bench.unsent.total(), 290);
  bench.unsent.resize(100);
  bench.run();
  EXPECT_EQ(bench.at(0).counters().shed.value(), 1u);
  bench.takeEvents();
  EXPECT_TRUE(client.sawReset() || client.sawEnd() || client.take().size() == 10u);
}

}  // namespace
}  // namespace odradek
