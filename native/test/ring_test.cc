#include "../core/ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>

namespace odradek {
namespace {

TEST(Ring, GivesItemsInTheOrderTheyCame) {
  Ring<std::string> ring;
  EXPECT_TRUE(ring.empty());
  ring.push("a");
  ring.push("b");
  EXPECT_EQ(ring.size(), 2u);
  EXPECT_EQ(ring.front(), "a");
  EXPECT_EQ(ring.back(), "b");
  EXPECT_EQ(ring.pop(), "a");
  EXPECT_EQ(ring.pop(), "b");
  EXPECT_TRUE(ring.empty());
}

TEST(Ring, GrowsWhileItIsWrappedAround) {
  Ring<int> ring;
  std::deque<int> expected;
  // Two in, one out: the head stands at a different place at every growth.
  for (int i = 0; i < 1000; i++) {
    ring.push(2 * i);
    ring.push(2 * i + 1);
    expected.insert(expected.end(), {2 * i, 2 * i + 1});
    ASSERT_EQ(ring.pop(), expected.front());
    expected.pop_front();
    ASSERT_EQ(ring.size(), expected.size());
    ASSERT_EQ(ring.back(), expected.back());
  }
  for (size_t i = 0; i < expected.size(); i++) ASSERT_EQ(ring.at(i), expected[i]);
}

TEST(Ring, LetsGoOfWhatItGaveAway) {
  Ring<std::shared_ptr<int>> ring;
  auto item = std::make_shared<int>(1);
  ring.push(item);
  EXPECT_EQ(item.use_count(), 2);
  ring.pop();
  EXPECT_EQ(item.use_count(), 1);
}

TEST(Ring, BeginsAnewAfterItShrank) {
  Ring<int> ring;
  ring.shrink();
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 20; i++) ring.push(i);
    ring.pushFront(-1);
    for (int i = -1; i < 20; i++) ASSERT_EQ(ring.pop(), i);
    ring.shrink();
    EXPECT_TRUE(ring.empty());
  }
  ring.pushFront(7);
  EXPECT_EQ(ring.front(), 7);
}

#ifdef ODRADEK_DEBUG
TEST(RingDeathTest, NothingIsTakenFromAnEmptyRing) {
  Ring<int> ring;
  EXPECT_DEATH(ring.pop(), "broken: size_ > 0");
  EXPECT_DEATH(ring.at(0), "broken: index < size_");
  ring.push(1);
  EXPECT_DEATH(ring.shrink(), "broken: size_ == 0");
}
#endif

}  // namespace
}  // namespace odradek
