#include "../core/request_channel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <thread>
#include <vector>

#include "../core/bounds.h"
#include "fake_consumer.h"
#include "fake_memory.h"
#include "processor_bench.h"

namespace odradek {
namespace {

using test::FakeConsumer;
using test::FakeMemory;
using test::freePermits;

// A processor, as far as the request channel knows it.
class Asker final : public PermitWaiter {
 public:
  explicit Asker(RequestChannel& channel) : channel_(channel) {}

  uint32_t acquire() { return channel_.acquire(*this); }
  uint32_t collect() { return channel_.collectGrant(*this); }
  void permitsGranted() override { calls++; }

  int calls = 0;

 private:
  RequestChannel& channel_;
};

class RequestChannelTest : public testing::Test {
 protected:
  ~RequestChannelTest() override { EXPECT_EQ(memory.live, 0); }

  std::vector<Request> made(uint32_t count) {
    std::vector<Request> requests;
    for (uint32_t i = 0; i < count; i++) {
      Request request;
      request.sequence = next_sequence++;
      request.block = Block::make(memory, 1);
      requests.push_back(request);
    }
    return requests;
  }

  void push(RequestChannel& channel, uint32_t count, uint32_t unused = 0) {
    std::vector<Request> requests = made(count);
    channel.push(requests, unused);
    EXPECT_TRUE(requests.empty());
  }

  // Claims, lets go of the memory, and tells the sequences.
  std::vector<uint32_t> claim(RequestChannel& channel, size_t most = 1000) {
    std::vector<Request> claimed;
    is_drained = channel.claim(claimed, most);
    std::vector<uint32_t> sequences;
    for (Request& request : claimed) {
      sequences.push_back(request.sequence);
      request.block->release();
    }
    return sequences;
  }

  FakeMemory memory;
  FakeConsumer consumer;
  uint32_t next_sequence = 0;
  bool is_drained = false;
};

TEST_F(RequestChannelTest, RequestsComeInTheirOrder) {
  RequestChannel channel(10, 10, consumer);
  Asker asker(channel);
  ASSERT_EQ(asker.acquire(), 10u);
  push(channel, 2, 8);
  push(channel, 0, 0);
  ASSERT_EQ(asker.acquire(), 8u);
  push(channel, 1, 7);
  EXPECT_EQ(channel.queued(), 3u);
  EXPECT_EQ(claim(channel), (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_TRUE(is_drained);
  EXPECT_EQ(channel.queued(), 0u);
  EXPECT_EQ(channel.pending(), 3u);
  channel.release(3);
  EXPECT_EQ(channel.pending(), 0u);
  EXPECT_EQ(freePermits(channel), 10u);
}

TEST_F(RequestChannelTest, AClaimTakesNoMoreThanAsked) {
  RequestChannel channel(10, 10, consumer);
  Asker asker(channel);
  asker.acquire();
  push(channel, 5, 5);
  EXPECT_EQ(claim(channel, 3).size(), 3u);
  EXPECT_FALSE(is_drained);
  EXPECT_EQ(claim(channel, 3).size(), 2u);
  EXPECT_TRUE(is_drained);
}

TEST_F(RequestChannelTest, RequestsRingTheConsumerAndUnusedPermitsDont) {
  RequestChannel channel(10, 10, consumer);
  Asker asker(channel);
  ASSERT_TRUE(consumer.doorbell().trySleep());
  ASSERT_EQ(asker.acquire(), 10u);
  push(channel, 0, 10);
  EXPECT_EQ(consumer.wakes, 0u);
  ASSERT_EQ(asker.acquire(), 10u);
  push(channel, 1, 9);
  EXPECT_EQ(consumer.wakes, 1u);
  ASSERT_EQ(asker.acquire(), 9u);
  push(channel, 1, 8);
  EXPECT_EQ(consumer.wakes, 1u) << "it is awake";
  claim(channel);
}

TEST_F(RequestChannelTest, PermitsAreGivenAQuantumAtATime) {
  RequestChannel channel(kPermitQuantum + 10, 1000, consumer);
  Asker asker(channel);
  EXPECT_EQ(asker.acquire(), kPermitQuantum);
  EXPECT_EQ(asker.acquire(), 10u);
  EXPECT_EQ(asker.acquire(), 0u);
  channel.forget(asker);
  push(channel, 0, kPermitQuantum + 10);
  EXPECT_EQ(freePermits(channel), kPermitQuantum + 10);
}

TEST_F(RequestChannelTest, RoomGoesToTheLongestWaiter) {
  RequestChannel channel(2, 100, consumer);
  Asker first(channel);
  Asker second(channel);
  Asker third(channel);
  ASSERT_EQ(first.acquire(), 2u);
  push(channel, 2);
  EXPECT_EQ(second.acquire(), 0u);
  EXPECT_EQ(third.acquire(), 0u);
  EXPECT_EQ(second.acquire(), 0u) << "asking again changes nothing";

  claim(channel, 1);
  EXPECT_EQ(second.calls, 1);
  EXPECT_EQ(third.calls, 0);
  claim(channel, 1);
  EXPECT_EQ(second.calls, 1);
  EXPECT_EQ(third.calls, 1);
  EXPECT_EQ(second.collect(), 1u);
  EXPECT_EQ(third.collect(), 1u);
  EXPECT_EQ(third.collect(), 0u);
  push(channel, 0, 2);
  EXPECT_EQ(freePermits(channel), 2u);
}

TEST_F(RequestChannelTest, NobodyOvertakesAWaiter) {
  RequestChannel channel(2, 100, consumer);
  Asker holder(channel);
  Asker waiter(channel);
  Asker late(channel);
  ASSERT_EQ(holder.acquire(), 2u);
  ASSERT_EQ(waiter.acquire(), 0u);
  // The room goes to the waiter before anybody else can ask.
  push(channel, 0, 2);
  EXPECT_EQ(waiter.calls, 1);
  EXPECT_EQ(late.acquire(), 0u);
  EXPECT_EQ(waiter.collect(), 2u);
  push(channel, 0, 2);
  EXPECT_EQ(late.calls, 1);
  EXPECT_EQ(late.collect(), 2u);
  push(channel, 0, 2);
}

TEST_F(RequestChannelTest, OneGrantIsAQuantumAtMost) {
  RequestChannel channel(kPermitQuantum + 1, 1000, consumer);
  Asker holder(channel);
  Asker first(channel);
  Asker second(channel);
  ASSERT_EQ(holder.acquire(), kPermitQuantum);
  ASSERT_EQ(holder.acquire(), 1u);
  ASSERT_EQ(first.acquire(), 0u);
  ASSERT_EQ(second.acquire(), 0u);
  push(channel, kPermitQuantum + 1);
  claim(channel);
  EXPECT_EQ(first.collect(), kPermitQuantum);
  EXPECT_EQ(second.collect(), 1u);
  push(channel, 0, kPermitQuantum + 1);
}

TEST_F(RequestChannelTest, ClaimsStopAtMaxPendingAndGoOnAfterARelease) {
  RequestChannel channel(10, 2, consumer);
  Asker asker(channel);
  asker.acquire();
  push(channel, 5, 5);
  consumer.doorbell().awake();
  EXPECT_EQ(claim(channel).size(), 2u);
  EXPECT_TRUE(is_drained) << "nothing that could be taken is left";
  EXPECT_EQ(channel.pending(), 2u);
  EXPECT_EQ(claim(channel).size(), 0u);
  EXPECT_TRUE(is_drained);

  ASSERT_TRUE(consumer.doorbell().trySleep());
  channel.release(1);
  EXPECT_EQ(consumer.wakes, 1u) << "whoever was starved is rung";
  EXPECT_EQ(claim(channel).size(), 1u);
  channel.release(2);
  EXPECT_EQ(claim(channel).size(), 2u);
  EXPECT_TRUE(is_drained);
  channel.release(2);
  EXPECT_EQ(channel.pending(), 0u);
}

TEST_F(RequestChannelTest, AReleaseThatStarvedNobodyRingsNobody) {
  RequestChannel channel(10, 10, consumer);
  Asker asker(channel);
  asker.acquire();
  push(channel, 2, 8);
  claim(channel);
  consumer.doorbell().awake();
  ASSERT_TRUE(consumer.doorbell().trySleep());
  channel.release(0);
  channel.release(2);
  EXPECT_EQ(consumer.wakes, 0u);
}

// Requests that were put back may be started again above the bound; no claim comes until it holds.
TEST_F(RequestChannelTest, PlacesTakenBackHoldUpTheClaims) {
  RequestChannel channel(10, 2, consumer);
  Asker asker(channel);
  asker.acquire();
  push(channel, 4, 6);
  EXPECT_EQ(claim(channel).size(), 2u);
  channel.release(2);
  EXPECT_EQ(claim(channel, 1).size(), 1u);
  channel.release(-2);
  EXPECT_EQ(channel.pending(), 3u);
  EXPECT_EQ(claim(channel).size(), 0u);
  EXPECT_TRUE(is_drained);
  consumer.doorbell().awake();
  ASSERT_TRUE(consumer.doorbell().trySleep());
  channel.release(1);
  EXPECT_EQ(consumer.wakes, 0u) << "still at the bound";
  channel.release(1);
  EXPECT_EQ(consumer.wakes, 1u);
  EXPECT_EQ(claim(channel).size(), 1u);
  channel.release(2);
}

// Long-polls that fill max_pending_requests don't hold places of the queue.
TEST_F(RequestChannelTest, StartedRequestsLeaveRoomInTheQueue) {
  RequestChannel channel(1, 1000, consumer);
  Asker asker(channel);
  for (int i = 0; i < 100; i++) {
    ASSERT_EQ(asker.acquire(), 1u);
    push(channel, 1);
    ASSERT_EQ(claim(channel).size(), 1u);
  }
  EXPECT_EQ(channel.pending(), 100u);
}

TEST_F(RequestChannelTest, AForgottenWaiterGivesItsGrantToTheNext) {
  RequestChannel channel(1, 10, consumer);
  Asker holder(channel);
  Asker first(channel);
  Asker second(channel);
  ASSERT_EQ(holder.acquire(), 1u);
  ASSERT_EQ(first.acquire(), 0u);
  ASSERT_EQ(second.acquire(), 0u);
  push(channel, 0, 1);
  ASSERT_EQ(first.calls, 1);
  // Granted, and not collected when it ends.
  channel.forget(first);
  EXPECT_EQ(second.calls, 1);
  EXPECT_EQ(second.collect(), 1u);
  EXPECT_EQ(first.acquire(), 0u) << "it takes nothing any more";
  push(channel, 0, 1);
  EXPECT_EQ(freePermits(channel), 1u);
}

TEST_F(RequestChannelTest, AForgottenWaiterIsNotCalled) {
  RequestChannel channel(1, 10, consumer);
  Asker holder(channel);
  Asker waiter(channel);
  ASSERT_EQ(holder.acquire(), 1u);
  ASSERT_EQ(waiter.acquire(), 0u);
  channel.forget(waiter);
  push(channel, 0, 1);
  EXPECT_EQ(waiter.calls, 0);
  EXPECT_EQ(freePermits(channel), 1u);
}

TEST_F(RequestChannelTest, OnceShutNothingIsClaimedAndNoPermitIsGranted) {
  RequestChannel channel(3, 10, consumer);
  Asker asker(channel);
  Asker waiter(channel);
  Asker late(channel);
  ASSERT_EQ(asker.acquire(), 3u);
  ASSERT_EQ(waiter.acquire(), 0u);
  push(channel, 2);
  channel.shut();
  EXPECT_TRUE(claim(channel).empty());
  EXPECT_TRUE(is_drained) << "or its consumer would look again and again";
  push(channel, 0, 1);
  EXPECT_EQ(waiter.calls, 0);
  EXPECT_EQ(waiter.collect(), 0u);
  EXPECT_EQ(late.acquire(), 0u);
}

TEST_F(RequestChannelTest, ClearLetsGoOfWhatIsQueued) {
  RequestChannel channel(10, 10, consumer);
  Asker asker(channel);
  asker.acquire();
  push(channel, 3, 7);
  claim(channel, 1);
  channel.clear();
  EXPECT_EQ(memory.live, 0);
  EXPECT_EQ(channel.queued(), 0u);
  EXPECT_EQ(channel.pending(), 0u);
  EXPECT_EQ(freePermits(channel), 10u);
}

TEST_F(RequestChannelTest, TheDestructorLetsGoOfWhatIsQueued) {
  RequestChannel channel(10, 10, consumer);
  Asker asker(channel);
  asker.acquire();
  push(channel, 3, 7);
}

using RequestChannelDeathTest = RequestChannelTest;

TEST_F(RequestChannelDeathTest, GivingBackMoreThanWasClaimedIsFatal) {
  RequestChannel channel(10, 10, consumer);
  EXPECT_DEATH(channel.release(1), "broken: pending >= 0");
}

// --- Between threads ---------------------------------------------------------------------------

// Waits without a time-out: a lost wake-up ends in the test's time limit.
class Signal {
 public:
  void give() {
    std::lock_guard lock(mutex_);
    is_given_ = true;
    changed_.notify_one();
  }
  void take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_given_; });
    is_given_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_given_ = false;
};

class SleepingConsumer final : public Consumer {
 public:
  Signal signal;

 protected:
  void wake() override { signal.give(); }
};

// A producer that sleeps while it has no permit.
class SleepingAsker final : public PermitWaiter {
 public:
  void permitsGranted() override { signal.give(); }

  uint32_t permits(RequestChannel& channel) {
    const uint32_t permits = channel.acquire(*this);
    if (permits > 0) return permits;
    signal.take();
    return channel.collectGrant(*this);
  }

 private:
  Signal signal;
};

TEST_F(RequestChannelTest, ProducersAndAConsumerThatSleepsLoseNothing) {
  constexpr uint32_t kEach = 20'000;
  constexpr uint32_t kProducers = 2;
  SleepingConsumer sleeper;
  RequestChannel channel(5, 3, sleeper);
  std::atomic<uint32_t> most_queued{0};
  std::vector<std::thread> producers;
  for (uint32_t producer = 0; producer < kProducers; producer++) {
    producers.emplace_back([&, producer] {
      SleepingAsker asker;
      uint32_t sequence = 0;
      std::vector<Request> requests;
      while (sequence < kEach) {
        uint32_t permits = asker.permits(channel);
        while (permits > 0 && sequence < kEach) {
          Request request;
          request.channel.processor = producer;
          request.sequence = sequence++;
          request.block = Block::make(memory, 1);
          requests.push_back(request);
          permits--;
        }
        channel.push(requests, permits);
        const uint32_t queued = channel.queued();
        if (queued > most_queued) most_queued = queued;
      }
      channel.forget(asker);
    });
  }
  uint32_t expected[kProducers] = {};
  uint32_t taken = 0;
  bool is_ordered = true;
  std::vector<Request> claimed;
  while (taken < kProducers * kEach) {
    sleeper.doorbell().awake();
    const bool drained = channel.claim(claimed, 2);
    for (Request& request : claimed) {
      is_ordered = is_ordered && request.sequence == expected[request.channel.processor]++;
      request.block->release();
    }
    taken += static_cast<uint32_t>(claimed.size());
    const auto count = static_cast<uint32_t>(claimed.size());
    claimed.clear();
    channel.release(static_cast<int32_t>(count));
    if (drained && taken < kProducers * kEach && sleeper.doorbell().trySleep()) {
      sleeper.signal.take();
    }
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_TRUE(is_ordered);
  EXPECT_LE(most_queued, 5u);
  EXPECT_EQ(channel.pending(), 0u);
  EXPECT_EQ(freePermits(channel), 5u);
}

}  // namespace
}  // namespace odradek
