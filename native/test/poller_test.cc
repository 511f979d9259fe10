// What every Poller has to do, shown on the one that this system has.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "../platform/default_poller.h"
#include "../platform/posix_socket_ops.h"
#include "sockets.h"

namespace odradek {
namespace {

using test::connectedPair;
using test::Descriptor;

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kPatienceNs = 20'000 * kNsPerMs;

class PollerTest : public testing::Test {
 protected:
  PollerTest() { EXPECT_EQ(poller.open(), 0); }

  // A connection that the poller watches, its first events taken.
  void watch(uint64_t token) {
    std::tie(ours, theirs) = connectedPair();
    ASSERT_EQ(poller.add(ours.fd(), token), 0);
    drain();
  }

  // Waits until something has happened, and merges what is told about one token.
  PollEvent next(uint64_t token) {
    PollEvent merged;
    const int count = wait(kPatienceNs);
    EXPECT_GT(count, 0);
    for (int i = 0; i < count; i++) {
      const PollEvent& event = events[static_cast<size_t>(i)];
      EXPECT_EQ(event.token, token);
      merge(event, &merged);
    }
    merged.token = token;
    return merged;
  }

  static void merge(const PollEvent& event, PollEvent* into) {
    into->readable |= event.readable;
    into->writable |= event.writable;
    into->peer_closed |= event.peer_closed;
    into->urgent |= event.urgent;
    into->failed |= event.failed;
  }

  int wait(int64_t timeout_ns) {
    return poller.wait(events.data(), static_cast<int>(events.size()), timeout_ns);
  }
  void drain() {
    while (wait(0) > 0) {
    }
  }

  std::string readAll() {
    std::string got(100'000, '\0');
    const ssize_t count = ::recv(ours.fd(), got.data(), got.size(), 0);
    got.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return got;
  }

  void fill() {
    const std::string bytes(100'000, 'x');
    while (::send(ours.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0) {
    }
  }

  DefaultPoller poller;
  std::array<PollEvent, 16> events;
  Descriptor ours;
  Descriptor theirs;
};

TEST_F(PollerTest, AnIdleWaitOfNoTimeReturnsAtOnce) { EXPECT_EQ(wait(0), 0); }

TEST_F(PollerTest, ADeadlineIsOverWhenTheWaitReturns) {
  for (const int64_t timeout_ns : {int64_t{1}, kNsPerMs / 2, 20 * kNsPerMs}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(wait(timeout_ns), 0);
    const auto passed = std::chrono::steady_clock::now() - start;
    EXPECT_GE(passed, std::chrono::nanoseconds(timeout_ns));
  }
}

TEST_F(PollerTest, WhatHoldsWhenASocketIsAddedIsAnEvent) {
  std::tie(ours, theirs) = connectedPair();
  ASSERT_EQ(::send(theirs.fd(), "a", 1, 0), 1);
  ASSERT_EQ(poller.add(ours.fd(), 5), 0);
  PollEvent seen;
  while (!seen.readable) merge(next(5), &seen);
}

TEST_F(PollerTest, BytesAreToldOnceThoughTheyAreNotRead) {
  watch(7);
  ASSERT_EQ(::send(theirs.fd(), "a", 1, 0), 1);
  const PollEvent event = next(7);
  EXPECT_TRUE(event.readable);
  EXPECT_FALSE(event.peer_closed);
  EXPECT_FALSE(event.failed);
  EXPECT_EQ(wait(0), 0);
  ASSERT_EQ(::send(theirs.fd(), "b", 1, 0), 1);
  EXPECT_TRUE(next(7).readable) << "more is another event";
}

TEST_F(PollerTest, AShortReadHasTakenEverything) {
  watch(7);
  for (int i = 0; i < 100; i++) {
    ASSERT_EQ(::send(theirs.fd(), "ping", 4, 0), 4);
    EXPECT_TRUE(next(7).readable);
    // No second read to see EAGAIN: what comes later has to be told.
    EXPECT_EQ(readAll(), "ping");
  }
}

TEST_F(PollerTest, RoomIsToldOnlyAfterTheSocketWasFull) {
  watch(7);
  ASSERT_EQ(::send(ours.fd(), "a", 1, 0), 1);
  std::string got(200'000, '\0');
  ASSERT_EQ(::recv(theirs.fd(), got.data(), got.size(), 0), 1);
  EXPECT_EQ(wait(20 * kNsPerMs), 0);

  fill();
  ASSERT_EQ(poller.awaitRoom(ours.fd(), 7), 0);
  PollEvent seen;
  while (!seen.writable) {
    ASSERT_GT(::recv(theirs.fd(), got.data(), got.size(), 0), 0);
    const int count = wait(0);
    for (int i = 0; i < count; i++) merge(events[static_cast<size_t>(i)], &seen);
  }
  EXPECT_EQ(::send(ours.fd(), "a", 1, MSG_NOSIGNAL), 1);
}

TEST_F(PollerTest, TheEndOfThePeersSideIsTold) {
  watch(7);
  ASSERT_EQ(::send(theirs.fd(), "last", 4, 0), 4);
  ::shutdown(theirs.fd(), SHUT_WR);
  PollEvent seen;
  while (!seen.peer_closed) merge(next(7), &seen);
  EXPECT_TRUE(seen.readable);
  EXPECT_FALSE(seen.failed);
  EXPECT_EQ(readAll(), "last");
  EXPECT_EQ(readAll(), "");
}

TEST_F(PollerTest, AResetIsTold) {
  watch(7);
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(theirs.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  theirs.close();
  PollEvent seen;
  while (!seen.failed) merge(next(7), &seen);
  PosixSocketOps sockets;
  EXPECT_EQ(sockets.takeError(ours.fd()), ECONNRESET);
  EXPECT_EQ(wait(0), 0) << "told once, and no busy loop after it";
}

TEST_F(PollerTest, UrgentDataIsTold) {
  watch(7);
  ASSERT_EQ(::send(theirs.fd(), "ab", 2, MSG_OOB), 2);
  PollEvent seen;
  while (!seen.urgent) merge(next(7), &seen);
}

TEST_F(PollerTest, AClosedSocketIsNotToldOfAnyMore) {
  watch(7);
  ASSERT_EQ(::send(theirs.fd(), "a", 1, 0), 1);
  ours.close();
  EXPECT_EQ(wait(0), 0);
}

TEST_F(PollerTest, MoreEventsThanAskedForComeLater) {
  constexpr size_t kPairs = 20;
  std::vector<std::pair<Descriptor, Descriptor>> pairs;
  for (size_t i = 0; i < kPairs; i++) {
    pairs.push_back(connectedPair());
    ASSERT_EQ(poller.add(pairs[i].first.fd(), i), 0);
  }
  drain();
  for (auto& [server, client] : pairs) ASSERT_EQ(::send(client.fd(), "a", 1, 0), 1);
  std::vector<bool> seen(kPairs, false);
  size_t count = 0;
  while (count < kPairs) {
    const int some = poller.wait(events.data(), 3, kPatienceNs);
    ASSERT_GT(some, 0);
    ASSERT_LE(some, 3);
    for (int i = 0; i < some; i++) {
      const size_t token = events[static_cast<size_t>(i)].token;
      if (!events[static_cast<size_t>(i)].readable || seen[token]) continue;
      seen[token] = true;
      count++;
    }
  }
}

TEST_F(PollerTest, TokensAreGivenBackWhole) {
  const uint64_t token = uint64_t{0xffff'fffe} << 32 | 0x00ff'ffff;
  watch(token);
  ASSERT_EQ(::send(theirs.fd(), "a", 1, 0), 1);
  EXPECT_TRUE(next(token).readable);
}

TEST_F(PollerTest, AWakeEndsTheNextWait) {
  poller.wake();
  EXPECT_EQ(wait(-1), 0);
  EXPECT_EQ(wait(0), 0);
}

TEST_F(PollerTest, EveryWakeCountsAgain) {
  for (int i = 0; i < 100; i++) {
    poller.wake();
    EXPECT_EQ(wait(-1), 0);
  }
}

TEST_F(PollerTest, WakesAndEventsDontHideEachOther) {
  watch(7);
  ASSERT_EQ(::send(theirs.fd(), "a", 1, 0), 1);
  poller.wake();
  bool is_told = false;
  for (int i = 0; i < 3 && !is_told; i++) is_told = wait(20 * kNsPerMs) == 1;
  EXPECT_TRUE(is_told);
}

TEST_F(PollerTest, AWakeEndsAWaitUnderWay) {
  // Each round waits without end: a wake that got lost would end in the test's time limit.
  for (int i = 0; i < 200; i++) {
    std::thread waker([&] { poller.wake(); });
    EXPECT_EQ(wait(-1), 0);
    waker.join();
  }
}

TEST_F(PollerTest, AnotherLoopCanWaitForIt) {
  DefaultPoller outer;
  ASSERT_EQ(outer.open(), 0);
  ASSERT_EQ(outer.add(poller.descriptor(), 1), 0);
  while (outer.wait(events.data(), 1, 0) > 0) {
  }
  watch(7);
  ASSERT_EQ(::send(theirs.fd(), "a", 1, 0), 1);
  ASSERT_EQ(outer.wait(events.data(), 1, kPatienceNs), 1);
  EXPECT_TRUE(events[0].readable);
}

TEST_F(PollerTest, ALostPollerSaysSo) {
  const int descriptor = poller.descriptor();
  const int spare = ::dup(descriptor);
  ::close(descriptor);
  EXPECT_EQ(wait(0), -EBADF);
  // Given back, so that the destructor closes what is its own.
  ::dup2(spare, descriptor);
  ::close(spare);
}

TEST_F(PollerTest, WhatCantBeWatchedIsAnError) { EXPECT_EQ(poller.add(-1, 1), EBADF); }

TEST(Poller, LeavesNoDescriptorBehind) {
  const int before = test::openDescriptors();
  {
    DefaultPoller poller;
    ASSERT_EQ(poller.open(), 0);
    EXPECT_GT(test::openDescriptors(), before);
  }
  EXPECT_EQ(test::openDescriptors(), before);
}

}  // namespace
}  // namespace odradek
