#include "kqueue_poller.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace odradek {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

// The user event's name; it is the only one of its filter.
constexpr uintptr_t kWake = 0;

// kqueue carries a pointer, which nobody follows here.
void* asData(uint64_t token) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  return reinterpret_cast<void*>(static_cast<uintptr_t>(token));
}

uint64_t asToken(const struct kevent& event) {
  return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(event.udata));
}

// One change; 0 or errno.
int change(int kqueue, uintptr_t ident, int filter, int flags, unsigned fflags, void* data) {
  struct kevent event;
  EV_SET(&event, ident, static_cast<int16_t>(filter), static_cast<uint16_t>(flags), fflags, 0,
         data);
  return ::kevent(kqueue, &event, 1, nullptr, 0, nullptr) < 0 ? errno : 0;
}

PollEvent translate(const struct kevent& event) {
  const bool is_read = event.filter == EVFILT_READ;
  const bool is_over = (event.flags & EV_EOF) != 0;
  return {
      .token = asToken(event),
      .readable = is_read,
      .writable = !is_read,
      // The end of what is read, or nobody who takes what is written.
      .peer_closed = is_over,
      // kqueue doesn't tell of urgent data everywhere, and reads stop short at it.
      .urgent = is_read,
      .failed = is_over && event.fflags != 0,
  };
}

}  // namespace

KqueuePoller::~KqueuePoller() {
  if (kqueue_ >= 0) ::close(kqueue_);
}

int KqueuePoller::open() {
  kqueue_ = ::kqueue();
  if (kqueue_ < 0) return errno;
  ::fcntl(kqueue_, F_SETFD, FD_CLOEXEC);
  return change(kqueue_, kWake, EVFILT_USER, EV_ADD | EV_CLEAR, 0, nullptr);
}

int KqueuePoller::add(int fd, uint64_t token) {
  // The write filter would tell of room after each acknowledged byte: see awaitRoom().
  return change(kqueue_, static_cast<uintptr_t>(fd), EVFILT_READ, EV_ADD | EV_CLEAR, 0,
                asData(token));
}

int KqueuePoller::awaitRoom(int fd, uint64_t token) {
  // Room that came in between is told at once.
  return change(kqueue_, static_cast<uintptr_t>(fd), EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0,
                asData(token));
}

void KqueuePoller::remove(int fd) {
  change(kqueue_, static_cast<uintptr_t>(fd), EVFILT_READ, EV_DELETE, 0, nullptr);
  // Most have none.
  change(kqueue_, static_cast<uintptr_t>(fd), EVFILT_WRITE, EV_DELETE, 0, nullptr);
}

int KqueuePoller::wait(PollEvent* events, int capacity, int64_t timeout_ns) {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(timeout_ns / kNsPerSecond);
  timeout.tv_nsec = static_cast<long>(timeout_ns % kNsPerSecond);
  const int most = std::min(capacity, static_cast<int>(buffer_.size()));
  const int count =
      ::kevent(kqueue_, nullptr, 0, buffer_.data(), most, timeout_ns < 0 ? nullptr : &timeout);
  if (count < 0) return -errno;
  int used = 0;
  for (int i = 0; i < count; i++) {
    const struct kevent& event = buffer_[static_cast<size_t>(i)];
    if (event.filter != EVFILT_USER) events[used++] = translate(event);
  }
  return used;
}

void KqueuePoller::wake() { change(kqueue_, kWake, EVFILT_USER, 0, NOTE_TRIGGER, nullptr); }

}  // namespace odradek
