#include "../core/block.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "../core/bounds.h"
#include "fake_memory.h"

namespace odradek {
namespace {

using test::FakeMemory;

TEST(Block, IsReleasedByItsLastHolder) {
  FakeMemory memory;
  Block* block = Block::make(memory, 100);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(block->capacity, 100u);
  EXPECT_TRUE(block->isSole());
  block->retain(2);
  EXPECT_FALSE(block->isSole());
  std::memset(block->data(), 1, 100);
  block->release(2);
  EXPECT_TRUE(block->isSole());
  EXPECT_EQ(memory.live, 1);
  block->release();
  EXPECT_EQ(memory.live, 0);
}

TEST(Block, RefusedMemoryIsNull) {
  FakeMemory memory;
  memory.refuseAfter(0);
  EXPECT_EQ(Block::make(memory, 1), nullptr);
}

TEST(Block, ASizeBeyondItsCounterIsRefusedUnasked) {
  FakeMemory memory;
  EXPECT_EQ(Block::make(memory, size_t{UINT32_MAX} + 1), nullptr);
  EXPECT_EQ(memory.allocations, 0u);
}

TEST(SlabPool, TheSlabThatComesBackIsTheNextOneGiven) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  Block* slab = pool->take();
  ASSERT_NE(slab, nullptr);
  EXPECT_EQ(slab->capacity, kSlabBytes);
  slab->release();
  EXPECT_EQ(memory.live, 1);
  EXPECT_EQ(pool->take(), slab);
  EXPECT_TRUE(slab->isSole());
  slab->release();
  pool->close();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabPool, KeepsABoundedNumberOfSpares) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  std::vector<Block*> slabs;
  for (uint32_t i = 0; i < kSpareSlabs + 20; i++) slabs.push_back(pool->take());
  for (Block* slab : slabs) slab->release();
  Block* one = pool->take();  // looks through what came back
  EXPECT_EQ(memory.live, kSpareSlabs);
  one->release();
  pool->close();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabPool, RefusedMemoryIsNull) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  memory.refuseAfter(0);
  EXPECT_EQ(pool->take(), nullptr);
  memory.allow();
  Block* slab = pool->take();
  ASSERT_NE(slab, nullptr);
  memory.refuseAfter(0);
  slab->release();
  EXPECT_EQ(pool->take(), slab) << "a spare needs no memory";
  slab->release();
  pool->close();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabPool, SlabsOutliveTheirPoolsOwner) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  Block* first = pool->take();
  Block* second = pool->take();
  pool->close();
  EXPECT_EQ(memory.live, 2);
  std::memset(first->data(), 7, kSlabBytes);
  first->release();
  EXPECT_EQ(memory.live, 1);
  second->release();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabPool, SlabsComeBackFromAnotherThreadWhileTheOwnerTakesAndCloses) {
  for (int round = 0; round < 50; round++) {
    FakeMemory memory;
    SlabPool* pool = SlabPool::make(memory);
    std::vector<Block*> slabs;
    for (int i = 0; i < 100; i++) slabs.push_back(pool->take());
    std::thread handler([&] {
      for (Block* slab : slabs) slab->release();
    });
    for (int i = 0; i < 20; i++) pool->take()->release();
    pool->close();
    handler.join();
    ASSERT_EQ(memory.live, 0);
  }
}

TEST(SlabWriter, FillsOneSlabAfterTheOther) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  {
    SlabWriter writer(pool);
    EXPECT_EQ(writer.room(), 0u);
    ASSERT_TRUE(writer.ensure(1000));
    EXPECT_EQ(writer.room(), kSlabBytes);
    writer.commit(kSlabBytes - 10);
    Block* first = writer.issue();
    EXPECT_EQ(writer.room(), 10u);
    EXPECT_EQ(writer.offset(), kSlabBytes - 10);
    ASSERT_TRUE(writer.ensure(10));
    EXPECT_EQ(writer.room(), 10u);
    ASSERT_TRUE(writer.ensure(11));
    EXPECT_EQ(writer.room(), kSlabBytes);
    EXPECT_EQ(memory.live, 2);
    first->release();
    EXPECT_EQ(memory.live, 2) << "the first one waits in the pool";
  }
  pool->close();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabWriter, BeginsAnewOnceEverythingIssuedHasComeBack) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  {
    SlabWriter writer(pool);
    ASSERT_TRUE(writer.ensure(100));
    writer.commit(100);
    Block* slab = writer.issue();
    Block* again = writer.issue();
    EXPECT_EQ(slab, again);
    slab->release();
    ASSERT_TRUE(writer.ensure(100));
    EXPECT_EQ(writer.offset(), 100u) << "one frame is still out";
    slab->release();
    ASSERT_TRUE(writer.ensure(100));
    EXPECT_EQ(writer.offset(), 0u);
    writer.commit(1);
    writer.issue()->release(1);
  }
  EXPECT_EQ(memory.live, 1);
  pool->close();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabWriter, FramesOutliveTheWriterAndThePool) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  Block* slab = nullptr;
  {
    SlabWriter writer(pool);
    ASSERT_TRUE(writer.ensure(10));
    std::memset(writer.at(), 9, 10);
    writer.commit(10);
    slab = writer.issue();
    writer.issue();
  }
  pool->close();
  EXPECT_EQ(slab->data()[9], std::byte{9});
  slab->release();
  EXPECT_EQ(memory.live, 1);
  slab->release();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabWriter, RefusedMemoryIsSaidAndLaterGranted) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  {
    SlabWriter writer(pool);
    memory.refuseAfter(0);
    EXPECT_FALSE(writer.ensure(1));
    EXPECT_EQ(writer.room(), 0u);
    memory.allow();
    EXPECT_TRUE(writer.ensure(1));
  }
  pool->close();
  EXPECT_EQ(memory.live, 0);
}

TEST(SlabWriter, FramesAreReleasedByAnotherThreadWhileItWrites) {
  FakeMemory memory;
  SlabPool* pool = SlabPool::make(memory);
  {
    SlabWriter writer(pool);
    for (int round = 0; round < 200; round++) {
      std::vector<Block*> frames;
      for (int i = 0; i < 50; i++) {
        ASSERT_TRUE(writer.ensure(4096));
        std::memset(writer.at(), round & 0x7f, 4096);
        writer.commit(4096);
        frames.push_back(writer.issue());
      }
      std::thread handler([&] {
        for (Block* frame : frames) frame->release();
      });
      ASSERT_TRUE(writer.ensure(kMinReadBytes));
      std::memset(writer.at(), 1, kMinReadBytes);
      handler.join();
    }
  }
  pool->close();
  EXPECT_EQ(memory.live, 0);
}

}  // namespace
}  // namespace odradek
