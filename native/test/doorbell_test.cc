// The handshake step by step, and two threads that pass tokens through it.
#include "../core/doorbell.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace odradek {
namespace {

TEST(Doorbell, AnAwakeConsumerIsNotWoken) {
  Doorbell doorbell;
  EXPECT_FALSE(doorbell.ring());
  EXPECT_FALSE(doorbell.ring());
}

TEST(Doorbell, ASleepingConsumerIsWokenByTheFirstRingAlone) {
  Doorbell doorbell;
  ASSERT_TRUE(doorbell.trySleep());
  EXPECT_TRUE(doorbell.ring());
  EXPECT_FALSE(doorbell.ring());
}

TEST(Doorbell, ARingSinceTheConsumerLookedRefusesSleep) {
  Doorbell doorbell;
  doorbell.awake();
  doorbell.ring();
  EXPECT_FALSE(doorbell.trySleep());
  doorbell.awake();
  EXPECT_TRUE(doorbell.trySleep());
}

TEST(Doorbell, ARingBeforeTheConsumerLooksIsAnsweredByTheLook) {
  Doorbell doorbell;
  doorbell.ring();
  doorbell.awake();
  EXPECT_TRUE(doorbell.trySleep());
}

TEST(Doorbell, EverySleepNeedsARingOfItsOwn) {
  Doorbell doorbell;
  for (int i = 0; i < 3; i++) {
    ASSERT_TRUE(doorbell.trySleep());
    EXPECT_TRUE(doorbell.ring());
    doorbell.awake();
  }
}

// A sleeper that a lost wake-up would leave asleep for good; the test's time limit would tell.
class Sleeper {
 public:
  void wake() {
    std::lock_guard lock(mutex_);
    is_woken_ = true;
    changed_.notify_one();
  }

  void sleep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_woken_; });
    is_woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_woken_ = false;
};

TEST(Doorbell, NoWakeUpIsLostBetweenThreads) {
  constexpr int kProducers = 2;
  constexpr uint64_t kItems = 20'000;
  Doorbell doorbell;
  Sleeper sleeper;
  std::atomic<uint64_t> left{0};
  uint64_t sleeps = 0;

  std::vector<std::thread> producers;
  for (int i = 0; i < kProducers; i++) {
    producers.emplace_back([&] {
      for (uint64_t item = 0; item < kItems; item++) {
        left.fetch_add(1, std::memory_order_relaxed);
        if (doorbell.ring()) sleeper.wake();
        // Lets the consumer fall asleep between the items.
        if (item % 64 == 0) std::this_thread::yield();
      }
    });
  }
  uint64_t taken = 0;
  while (true) {
    doorbell.awake();
    taken += left.exchange(0, std::memory_order_relaxed);
    if (taken == kProducers * kItems) break;
    if (!doorbell.trySleep()) continue;
    sleeps++;
    sleeper.sleep();
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(left.load(), 0u);
  EXPECT_GT(sleeps, 0u) << "the consumer never slept: the test shows nothing";
}

}  // namespace
}  // namespace odradek
