#include "epoll_poller.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "../core/clock.h"

namespace odradek {
namespace {

// Stands for the eventfd; connections' tokens have 24 bits of slot and never all ones.
constexpr uint64_t kWakeToken = UINT64_MAX;

constexpr int64_t kLongestMs = 1'000'000'000;

}  // namespace

EpollPoller::~EpollPoller() {
  if (wake_ >= 0) ::close(wake_);
  if (epoll_ >= 0) ::close(epoll_);
}

int EpollPoller::open() {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return errno;
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) return errno;
  // Edge-triggered, so every write is an event of its own and the counter is never read.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kWakeToken;
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) == 0 ? 0 : errno;
}

int EpollPoller::add(int fd, uint64_t token) {
  epoll_event event{};
  // EPOLLOUT stays quiet until a write has found the kernel full: it costs no wake-ups.
  event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = token;
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void EpollPoller::remove(int fd) {
  // Can't fail for what was added; and if it could, events for a token of the past are dropped.
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

int EpollPoller::wait(PollEvent* events, int capacity, int64_t timeout_ns) {
  int timeout_ms = -1;
  if (timeout_ns >= 0) timeout_ms = static_cast<int>(std::min(toMs(timeout_ns), kLongestMs));
  const int most = std::min(capacity, static_cast<int>(buffer_.size()));
  const int count = ::epoll_wait(epoll_, buffer_.data(), most, timeout_ms);
  if (count < 0) return -errno;
  int used = 0;
  for (int i = 0; i < count; i++) {
    const epoll_event& event = buffer_[static_cast<size_t>(i)];
    if (event.data.u64 == kWakeToken) continue;
    events[used++] = {
        .token = event.data.u64,
        .readable = (event.events & EPOLLIN) != 0,
        .writable = (event.events & EPOLLOUT) != 0,
        .peer_closed = (event.events & (EPOLLRDHUP | EPOLLHUP)) != 0,
        .urgent = (event.events & EPOLLPRI) != 0,
        .failed = (event.events & EPOLLERR) != 0,
    };
  }
  return used;
}

void EpollPoller::wake() {
  const uint64_t one = 1;
  // Full only after 2^64 wakes; then the counter is readable all the same.
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof(one));
}

}  // namespace odradek
