#include "../core/send.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../core/bounds.h"
#include "fake_kernel.h"
#include "fake_memory.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::blockOf;
using test::FakeConnection;
using test::FakeKernel;
using test::FakeMemory;
using Outcome = Send::Outcome;

class SendTest : public testing::Test {
 protected:
  SendTest() : client(kernel.connected()) {}
  ~SendTest() override {
    send.reset();
    EXPECT_EQ(memory.live, 0);
  }

  // Queues bytes that settle the next request.
  void push(std::string_view bytes) {
    Segment segment;
    if (!bytes.empty()) segment.block = blockOf(memory, bytes);
    segment.length = static_cast<uint32_t>(bytes.size());
    segment.settles = 1;
    segment.sequence = next_sequence++;
    send->push(segment);
  }

  Outcome flush() { return send->flush(kernel, client.fd(), &calls, &bytes); }

  // The sequences of the segments that are done, taken off the front.
  std::vector<uint32_t> settled() {
    std::vector<uint32_t> sequences;
    Segment segment;
    while (send->popSettled(&segment)) {
      sequences.push_back(segment.sequence);
      if (segment.block != nullptr) segment.block->release();
    }
    return sequences;
  }

  FakeKernel kernel;
  FakeMemory memory;
  FakeConnection& client;
  std::unique_ptr<Send> send = std::make_unique<Send>();
  uint32_t next_sequence = 0;
  uint64_t calls = 0;
  uint64_t bytes = 0;
};

TEST_F(SendTest, NothingIsDoneAtOnce) {
  EXPECT_TRUE(send->empty());
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(calls, 0u);
}

TEST_F(SendTest, EverythingGoesInOneGatheredWrite) {
  push("one,");
  push("");
  push("three");
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(calls, 1u);
  EXPECT_EQ(bytes, 9u);
  EXPECT_EQ(client.take(), "one,three");
  EXPECT_EQ(settled(), (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_TRUE(send->empty());
}

TEST_F(SendTest, AReplyWithoutBytesNeedsNoWriteAndKeepsItsPlace) {
  push("");
  EXPECT_EQ(settled(), (std::vector<uint32_t>{0}));
  push("a");
  push("");
  EXPECT_EQ(settled(), std::vector<uint32_t>()) << "the reply before it has not left";
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(settled(), (std::vector<uint32_t>{1, 2}));
}

TEST_F(SendTest, AFullKernelTakesApartTheRest) {
  client.setWindow(5);
  push("abc");
  push("def");
  push("ghi");
  EXPECT_EQ(flush(), Outcome::kFull);
  EXPECT_EQ(calls, 1u);
  EXPECT_EQ(settled(), (std::vector<uint32_t>{0}));
  EXPECT_EQ(flush(), Outcome::kFull) << "EAGAIN";
  EXPECT_EQ(client.take(), "abcde");
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(client.take(), "fghi");
  EXPECT_EQ(settled(), (std::vector<uint32_t>{1, 2}));
}

TEST_F(SendTest, ByteByByte) {
  client.setWindow(1);
  std::string all;
  std::string got;
  for (int i = 0; i < 20; i++) {
    const std::string reply(static_cast<size_t>(i % 4), static_cast<char>('a' + i));
    all += reply;
    push(reply);
  }
  std::vector<uint32_t> order;
  while (!send->empty()) {
    flush();
    for (const uint32_t sequence : settled()) order.push_back(sequence);
    got += client.take();
  }
  EXPECT_EQ(got, all);
  ASSERT_EQ(order.size(), 20u);
  for (uint32_t i = 0; i < 20; i++) EXPECT_EQ(order[i], i);
}

TEST_F(SendTest, AWriteEndsExactlyBetweenTwoReplies) {
  client.setWindow(3);
  push("abc");
  push("def");
  EXPECT_EQ(flush(), Outcome::kFull);
  EXPECT_EQ(settled(), (std::vector<uint32_t>{0}));
  client.take();
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(client.take(), "def");
}

TEST_F(SendTest, MoreRepliesThanPartsOfOneWrite) {
  std::string all;
  for (int i = 0; i < 2 * kSegmentsPerWrite + 1; i++) {
    push(std::to_string(i) + ",");
    all += std::to_string(i) + ",";
  }
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(calls, 3u);
  EXPECT_EQ(client.take(), all);
  EXPECT_EQ(settled().size(), static_cast<size_t>(2 * kSegmentsPerWrite + 1));
}

TEST_F(SendTest, AnInterruptedWriteIsMadeAgain) {
  client.failWrites({EINTR, EINTR});
  push("abc");
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(calls, 3u);
  EXPECT_EQ(client.take(), "abc");
}

// No event would tell when to go on: waiting would hang the connection, retrying would spin.
TEST_F(SendTest, ShortOfMemoryIsAnErrorLikeOthers) {
  client.failWrites({ENOBUFS});
  push("abc");
  EXPECT_EQ(flush(), Outcome::kFailed);
  EXPECT_EQ(send->error(), ENOBUFS);
}

TEST_F(SendTest, AnErrorIsToldAndNothingIsSettled) {
  client.failWrites({EPIPE});
  push("abc");
  push("def");
  EXPECT_EQ(flush(), Outcome::kFailed);
  EXPECT_EQ(send->error(), EPIPE);
  EXPECT_EQ(settled(), std::vector<uint32_t>());
  Segment segment;
  ASSERT_TRUE(send->popAny(&segment));
  EXPECT_EQ(segment.sequence, 0u);
  segment.block->release();
  EXPECT_FALSE(send->empty());
}

TEST_F(SendTest, PopAnyTakesWhatIsSentFirst) {
  client.setWindow(4);
  push("abc");
  push("def");
  flush();
  Segment segment;
  ASSERT_TRUE(send->popAny(&segment));
  EXPECT_EQ(segment.sequence, 0u);
  segment.block->release();
  EXPECT_EQ(settled(), std::vector<uint32_t>());
  ASSERT_TRUE(send->popAny(&segment));
  EXPECT_EQ(segment.sequence, 1u);
  EXPECT_EQ(segment.length, 2u) << "one byte of it has left";
  segment.block->release();
  EXPECT_FALSE(send->popAny(&segment));
}

TEST_F(SendTest, OneTurnWritesABoundedAmount) {
  client.setWindow(SIZE_MAX);
  const std::string part(kWriteBytesPerTurn / 8, 'x');
  for (int i = 0; i < 20; i++) push(part);
  push("");
  EXPECT_EQ(flush(), Outcome::kBudget);
  EXPECT_EQ(bytes, kWriteBytesPerTurn);
  EXPECT_EQ(settled().size(), 8u);
  EXPECT_EQ(flush(), Outcome::kBudget);
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(calls, 3u);
  EXPECT_EQ(settled().size(), 13u);
}

TEST_F(SendTest, DetachMovesSmallRestsOutOfLargeMemory) {
  Block* slab = Block::make(memory, kSlabBytes);
  std::memcpy(slab->data(), "0123456789", 10);
  for (uint32_t i = 0; i < 2; i++) {
    slab->retain();
    send->push(
        {.block = slab, .offset = i * 5, .length = 5, .settles = 1, .sequence = i, .answers = {}});
  }
  slab->release();
  client.setWindow(2);
  EXPECT_EQ(flush(), Outcome::kFull);
  send->detach(memory);
  EXPECT_LT(memory.live_bytes, 1000u) << "the slab is free";
  EXPECT_EQ(client.take(), "01");
  client.setWindow(100);
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(client.take(), "23456789");
  EXPECT_EQ(settled(), (std::vector<uint32_t>{0, 1}));
}

TEST_F(SendTest, DetachLeavesWhatFitsItsMemoryAndLosesNothingWhenRefused) {
  push("a whole block");
  client.setWindow(3);
  flush();
  const uint64_t before = memory.allocations;
  send->detach(memory);
  EXPECT_EQ(memory.allocations, before);

  Block* slab = Block::make(memory, kSlabBytes);
  std::memcpy(slab->data(), "tail", 4);
  send->push({.block = slab, .length = 4, .settles = 1, .answers = {}});
  memory.refuseAfter(0);
  send->detach(memory);
  client.take();
  client.setWindow(100);
  EXPECT_EQ(flush(), Outcome::kDone);
  EXPECT_EQ(client.take(), "hole blocktail");
}

TEST_F(SendTest, ItsEndLetsGoOfEverything) {
  push("abc");
  push("");
  push("def");
  client.setWindow(4);
  flush();
}

}  // namespace
}  // namespace odradek
