// What KqueuePoller asks of kqueue, and how it reads what kqueue says: on systems that have none,
// over a fake of it (fake_kqueue/sys/event.h). What every poller has to do is in poller_test.cc.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <deque>
#include <vector>

#ifdef ODRADEK_FAKE_KQUEUE

#include "../platform/kqueue_poller.h"

namespace odradek {
namespace {

struct Fake {
  std::vector<struct kevent> changes;
  std::deque<struct kevent> events;
  int open_error = 0;
  std::deque<int> change_errors;
  int wait_error = 0;
  bool waits_for_ever = false;
  timespec waited = {};
  int capacity = 0;
};

Fake* fake = nullptr;

}  // namespace
}  // namespace odradek

extern "C" int kqueue() {
  errno = odradek::fake->open_error;
  return errno == 0 ? ::open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
}

extern "C" int kevent(int, const struct kevent* changes, int count, struct kevent* events,
                      int capacity, const timespec* timeout) {
  odradek::Fake& fake = *odradek::fake;
  for (int i = 0; i < count; i++) {
    fake.changes.push_back(changes[i]);
    if (fake.change_errors.empty()) continue;
    errno = fake.change_errors.front();
    fake.change_errors.pop_front();
    if (errno != 0) return -1;
  }
  if (events == nullptr) return 0;
  fake.capacity = capacity;
  fake.waits_for_ever = timeout == nullptr;
  if (timeout != nullptr) fake.waited = *timeout;
  if (fake.wait_error != 0) {
    errno = fake.wait_error;
    return -1;
  }
  int told = 0;
  while (told < capacity && !fake.events.empty()) {
    events[told++] = fake.events.front();
    fake.events.pop_front();
  }
  return told;
}

namespace odradek {
namespace {

class KqueuePollerTest : public testing::Test {
 protected:
  KqueuePollerTest() {
    fake = &kernel;
    EXPECT_EQ(poller.open(), 0);
  }
  ~KqueuePollerTest() override { fake = nullptr; }

  void tell(int filter, uint64_t token, int flags = 0, unsigned fflags = 0) {
    struct kevent event;
    EV_SET(&event, 5, static_cast<int16_t>(filter), static_cast<uint16_t>(flags), fflags, 1,
           reinterpret_cast<void*>(token));
    kernel.events.push_back(event);
  }

  PollEvent next() {
    EXPECT_EQ(poller.wait(told.data(), 16, 0), 1);
    return told[0];
  }

  Fake kernel;
  KqueuePoller poller;
  std::array<PollEvent, 16> told;
};

TEST_F(KqueuePollerTest, OpensWithAUserEventToBeWokenBy) {
  ASSERT_EQ(kernel.changes.size(), 1u);
  EXPECT_EQ(kernel.changes[0].filter, EVFILT_USER);
  EXPECT_EQ(kernel.changes[0].flags, EV_ADD | EV_CLEAR);
  EXPECT_GE(poller.descriptor(), 0);
  poller.wake();
  ASSERT_EQ(kernel.changes.size(), 2u);
  EXPECT_EQ(kernel.changes[1].filter, EVFILT_USER);
  EXPECT_EQ(kernel.changes[1].ident, kernel.changes[0].ident);
  EXPECT_EQ(kernel.changes[1].fflags, static_cast<unsigned>(NOTE_TRIGGER));
}

TEST_F(KqueuePollerTest, WatchesReadingAlone) {
  EXPECT_EQ(poller.add(9, 0xabc), 0);
  ASSERT_EQ(kernel.changes.size(), 2u);
  const struct kevent& change = kernel.changes[1];
  EXPECT_EQ(change.ident, 9u);
  EXPECT_EQ(change.filter, EVFILT_READ);
  EXPECT_EQ(change.flags, EV_ADD | EV_CLEAR);
  EXPECT_EQ(change.udata, reinterpret_cast<void*>(0xabc));
}

TEST_F(KqueuePollerTest, AwaitsRoomOnce) {
  EXPECT_EQ(poller.awaitRoom(9, 0xabc), 0);
  const struct kevent& change = kernel.changes.back();
  EXPECT_EQ(change.filter, EVFILT_WRITE);
  EXPECT_EQ(change.flags, EV_ADD | EV_ONESHOT);
  EXPECT_EQ(change.udata, reinterpret_cast<void*>(0xabc));
}

TEST_F(KqueuePollerTest, ForgetsBothDirections) {
  // Room was not awaited.
  kernel.change_errors = {0, ENOENT};
  poller.remove(9);
  ASSERT_EQ(kernel.changes.size(), 3u);
  EXPECT_EQ(kernel.changes[1].filter, EVFILT_READ);
  EXPECT_EQ(kernel.changes[2].filter, EVFILT_WRITE);
  for (size_t i : {1, 2}) EXPECT_EQ(kernel.changes[i].flags, EV_DELETE);
}

TEST_F(KqueuePollerTest, WhatCantBeWatchedIsAnError) {
  kernel.change_errors = {EBADF};
  EXPECT_EQ(poller.add(-1, 1), EBADF);
  kernel.change_errors = {ENOMEM};
  EXPECT_EQ(poller.awaitRoom(9, 1), ENOMEM);
}

TEST_F(KqueuePollerTest, BytesAreReadable) {
  tell(EVFILT_READ, 3);
  const PollEvent event = next();
  EXPECT_EQ(event.token, 3u);
  EXPECT_TRUE(event.readable);
  EXPECT_FALSE(event.writable);
  EXPECT_FALSE(event.peer_closed);
  EXPECT_FALSE(event.failed);
}

TEST_F(KqueuePollerTest, TheEndOfThePeersSideIsNoFailure) {
  tell(EVFILT_READ, 3, EV_EOF);
  const PollEvent event = next();
  EXPECT_TRUE(event.readable);
  EXPECT_TRUE(event.peer_closed);
  EXPECT_FALSE(event.failed);
}

TEST_F(KqueuePollerTest, AnEndWithAnErrorIsAFailure) {
  tell(EVFILT_READ, 3, EV_EOF, ECONNRESET);
  EXPECT_TRUE(next().failed);
  tell(EVFILT_WRITE, 3, EV_EOF, ECONNRESET);
  const PollEvent event = next();
  EXPECT_TRUE(event.failed);
  EXPECT_TRUE(event.writable);
}

TEST_F(KqueuePollerTest, RoomIsWritable) {
  tell(EVFILT_WRITE, 3);
  const PollEvent event = next();
  EXPECT_TRUE(event.writable);
  EXPECT_FALSE(event.readable);
  EXPECT_FALSE(event.urgent);
}

TEST_F(KqueuePollerTest, TokensAreGivenBackWhole) {
  const uint64_t token = uint64_t{0xffff'fffe} << 32 | 0x00ff'ffff;
  tell(EVFILT_READ, token);
  EXPECT_EQ(next().token, token);
}

TEST_F(KqueuePollerTest, AWakeIsNoEvent) {
  tell(EVFILT_USER, 0);
  tell(EVFILT_READ, 3);
  EXPECT_EQ(next().token, 3u);
  tell(EVFILT_USER, 0);
  EXPECT_EQ(poller.wait(told.data(), 16, -1), 0);
}

TEST_F(KqueuePollerTest, WaitsAsLongAsItIsTold) {
  poller.wait(told.data(), 16, -1);
  EXPECT_TRUE(kernel.waits_for_ever);
  poller.wait(told.data(), 16, 2'000'000'003);
  EXPECT_FALSE(kernel.waits_for_ever);
  EXPECT_EQ(kernel.waited.tv_sec, 2);
  EXPECT_EQ(kernel.waited.tv_nsec, 3);
  poller.wait(told.data(), 16, 0);
  EXPECT_EQ(kernel.waited.tv_sec, 0);
  EXPECT_EQ(kernel.waited.tv_nsec, 0);
}

TEST_F(KqueuePollerTest, TakesNoMoreThanThereIsRoomFor) {
  for (uint64_t token = 0; token < 20; token++) tell(EVFILT_READ, token);
  EXPECT_EQ(poller.wait(told.data(), 3, 0), 3);
  EXPECT_EQ(kernel.capacity, 3);
  EXPECT_EQ(poller.wait(told.data(), 16, 0), 16);
}

TEST_F(KqueuePollerTest, ASignalAndALossAreTold) {
  kernel.wait_error = EINTR;
  EXPECT_EQ(poller.wait(told.data(), 16, 0), -EINTR);
  kernel.wait_error = EBADF;
  EXPECT_EQ(poller.wait(told.data(), 16, 0), -EBADF);
}

TEST(KqueuePoller, ThatCantBeOpenedIsAnError) {
  Fake kernel{.changes = {}, .events = {}, .open_error = EMFILE, .change_errors = {}};
  fake = &kernel;
  KqueuePoller poller;
  EXPECT_EQ(poller.open(), EMFILE);
  fake = nullptr;
}

}  // namespace
}  // namespace odradek

#endif
