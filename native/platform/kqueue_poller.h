// The Poller on macOS and the BSDs: kqueue, edge-triggered (EV_CLEAR), woken by a user event.
#pragma once

#include <sys/types.h>
// Behind the types that it needs.
#include <sys/event.h>

#include <array>

#include "../core/bounds.h"
#include "../core/poller.h"

namespace odradek {

class KqueuePoller final : public Poller {
 public:
  KqueuePoller() = default;
  KqueuePoller(const KqueuePoller&) = delete;
  KqueuePoller& operator=(const KqueuePoller&) = delete;
  ~KqueuePoller() override;

  int open() override;
  int add(int fd, uint64_t token) override;
  int awaitRoom(int fd, uint64_t token) override;
  void remove(int fd) override;
  int wait(PollEvent* events, int capacity, int64_t timeout_ns) override;
  void wake() override;
  int descriptor() const override { return kqueue_; }

 private:
  int kqueue_ = -1;
  std::array<struct kevent, kEventsPerPoll> buffer_;
};

}  // namespace odradek
