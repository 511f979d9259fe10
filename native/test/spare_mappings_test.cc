#include "../platform/spare_mappings.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <thread>
#include <vector>

#include "../core/block.h"
#include "../core/bounds.h"
#include "../platform/system_memory.h"
#include "../platform/system_platform.h"

namespace odradek {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr int64_t kLongNs = 100 * kSpareNs;

class SpareMappingsTest : public testing::Test {
 protected:
  // Memory that stands for a mapping.
  Mapping make(size_t pages) {
    auto& bytes = made_.emplace_back(pages * kPageBytes);
    return {bytes.data(), pages};
  }

  std::vector<Mapping> takeUnneeded(size_t most = 100) {
    std::vector<Mapping> mappings(most);
    mappings.resize(spares.takeUnneeded(now_ns, mappings.data(), most));
    return mappings;
  }

  bool give(const Mapping& mapping) { return spares.give(mapping, now_ns); }
  void* take(size_t pages) { return spares.take(pages, now_ns); }

  SpareMappings spares{10};
  int64_t now_ns = kLongNs;

 private:
  std::vector<std::vector<char>> made_;
};

TEST_F(SpareMappingsTest, WhatWasGivenIsTakenByThoseWhoWantItsSize) {
  EXPECT_EQ(take(2), nullptr);
  const Mapping two = make(2);
  const Mapping three = make(3);
  EXPECT_TRUE(give(two));
  EXPECT_TRUE(give(three));
  EXPECT_EQ(take(1), nullptr);
  EXPECT_EQ(take(3), three.memory);
  EXPECT_EQ(take(3), nullptr);
  EXPECT_EQ(take(2), two.memory);
}

TEST_F(SpareMappingsTest, TheLastThatWasGivenIsTakenFirst) {
  take(1);
  const Mapping first = make(1);
  const Mapping second = make(1);
  give(first);
  give(second);
  EXPECT_EQ(take(1), second.memory) << "it may still be in the cache";
  EXPECT_EQ(take(1), first.memory);
}

TEST_F(SpareMappingsTest, KeepsABoundedNumberOfPages) {
  take(1);
  EXPECT_TRUE(give(make(6)));
  EXPECT_FALSE(give(make(5)));
  EXPECT_TRUE(give(make(4)));
  EXPECT_FALSE(give(make(1)));
  EXPECT_NE(take(4), nullptr);
  EXPECT_TRUE(give(make(1)));
}

TEST_F(SpareMappingsTest, TheLargestAreNotKept) {
  SpareMappings large(2 * SpareMappings::kMostPages);
  EXPECT_EQ(large.take(SpareMappings::kMostPages + 1, now_ns), nullptr);
  EXPECT_FALSE(large.give(make(SpareMappings::kMostPages + 1), now_ns));
  EXPECT_TRUE(large.give(make(SpareMappings::kMostPages), now_ns));
}

TEST_F(SpareMappingsTest, NothingIsKeptForNobody) {
  EXPECT_FALSE(give(make(1))) << "nobody has ever asked";
  take(1);
  now_ns += kSpareNs - 1;
  EXPECT_TRUE(give(make(1)));
  now_ns++;
  EXPECT_FALSE(give(make(1)));
}

TEST_F(SpareMappingsTest, WhatIsNotNeededForAWhileIsLetGo) {
  EXPECT_EQ(spares.dueNs(), INT64_MAX);
  take(1);
  EXPECT_EQ(spares.dueNs(), now_ns + kSpareNs);
  give(make(1));
  give(make(1));
  give(make(1));
  EXPECT_TRUE(takeUnneeded().empty()) << "not due";
  now_ns = spares.dueNs();
  EXPECT_TRUE(takeUnneeded().empty()) << "there was none when the time began";
  // Of three two are enough.
  const Mapping one = {take(1), 1};
  const Mapping two = {take(1), 1};
  give(one);
  give(two);
  now_ns = spares.dueNs();
  EXPECT_EQ(takeUnneeded().size(), 1u);
  // And from now on none.
  now_ns = spares.dueNs();
  EXPECT_EQ(takeUnneeded().size(), 2u);
  EXPECT_EQ(spares.dueNs(), INT64_MAX);
}

TEST_F(SpareMappingsTest, IsDueAsLongAsSomebodyMayGiveSome) {
  take(1);
  now_ns = spares.dueNs() - 1;
  take(1);
  now_ns++;
  EXPECT_TRUE(takeUnneeded().empty());
  EXPECT_EQ(spares.dueNs(), now_ns + kSpareNs) << "somebody has asked a nanosecond ago";
  now_ns = spares.dueNs();
  EXPECT_TRUE(takeUnneeded().empty());
  EXPECT_EQ(spares.dueNs(), INT64_MAX);
}

TEST_F(SpareMappingsTest, LetsGoOfAFewAtATime) {
  take(1);
  for (int i = 0; i < 5; i++) give(make(1));
  now_ns = spares.dueNs();
  EXPECT_TRUE(takeUnneeded().empty());
  now_ns = spares.dueNs();
  EXPECT_EQ(takeUnneeded(2).size(), 2u);
  EXPECT_LE(spares.dueNs(), now_ns) << "at once again";
  EXPECT_NE(take(1), nullptr) << "what is left may still be of use";
  EXPECT_EQ(takeUnneeded(2).size(), 2u);
  EXPECT_TRUE(takeUnneeded(2).empty());
}

TEST_F(SpareMappingsTest, LetsGoOfEverythingAtTheEnd) {
  take(1);
  give(make(1));
  give(make(2));
  give(make(2));
  std::array<Mapping, 2> mappings;
  EXPECT_EQ(spares.takeAny(mappings.data(), mappings.size()), 2u);
  EXPECT_EQ(spares.takeAny(mappings.data(), mappings.size()), 1u);
  EXPECT_EQ(spares.takeAny(mappings.data(), mappings.size()), 0u);
  EXPECT_FALSE(give(make(1))) << "whoever comes later finds nobody who would let go of it";
  EXPECT_EQ(take(1), nullptr);
  EXPECT_TRUE(give(make(1)));
}

// --- What it is for ----------------------------------------------------------------------------

TEST(SystemMemory, PiecesOfEverySizeAreTheirOwners) {
  Memory& memory = systemMemory();
  struct Piece {
    unsigned char* bytes;
    size_t size;
  };
  const size_t sizes[] = {1, 100, kMappedBytes - 1, kMappedBytes, 100'000, 5'000'000};
  for (int round = 0; round < 3; round++) {
    std::vector<Piece> pieces;
    for (int i = 0; i < 20; i++) {
      for (const size_t size : sizes) {
        auto* bytes = static_cast<unsigned char*>(memory.allocate(size));
        ASSERT_NE(bytes, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes) % alignof(std::max_align_t), 0u);
        std::memset(bytes, static_cast<int>(pieces.size() & 0xff), size);
        pieces.push_back({bytes, size});
      }
    }
    for (size_t i = 0; i < pieces.size(); i++) {
      EXPECT_EQ(pieces[i].bytes[0], i & 0xff);
      EXPECT_EQ(pieces[i].bytes[pieces[i].size - 1], i & 0xff);
      memory.release(pieces[i].bytes, pieces[i].size);
    }
  }
  memory.letGo();
}

TEST(SystemMemory, FramesGoBackAndForthBetweenThreads) {
  for (int round = 0; round < 20; round++) {
    std::vector<Block*> blocks;
    for (size_t i = 0; i < 50; i++) {
      blocks.push_back(Block::make(systemMemory(), kLargeFrameBytes + i % 3 * 10'000));
      std::memset(blocks.back()->data(), 1, blocks.back()->capacity);
    }
    std::thread handler([&] {
      for (Block* block : blocks) block->release();
    });
    for (int i = 0; i < 50; i++) Block::make(systemMemory(), kLargeFrameBytes)->release();
    systemMemory().tidy(systemPlatform().clock().now());
    handler.join();
  }
  systemMemory().letGo();
}

}  // namespace
}  // namespace odradek
