// The Poller on Linux: epoll, edge-triggered, woken by an eventfd.
#pragma once

#include <sys/epoll.h>

#include <array>

#include "../core/bounds.h"
#include "../core/poller.h"

namespace odradek {

class EpollPoller final : public Poller {
 public:
  EpollPoller() = default;
  EpollPoller(const EpollPoller&) = delete;
  EpollPoller& operator=(const EpollPoller&) = delete;
  ~EpollPoller() override;

  int open() override;
  int add(int fd, uint64_t token) override;
  void remove(int fd) override;
  int wait(PollEvent* events, int capacity, int64_t timeout_ns) override;
  void wake() override;
  int descriptor() const override { return epoll_; }

 private:
  int epoll_ = -1;
  int wake_ = -1;
  std::array<epoll_event, kEventsPerPoll> buffer_;
};

}  // namespace odradek
