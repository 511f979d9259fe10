#include "loop.h"

#include <cerrno>

namespace odradek::sim {

FaultyPoller::FaultyPoller(Stage& stage) : stage_(stage), poller_(stage.kernel) {
  poller_.tells_room_on_demand = stage.plan.tells_room_on_demand;
  poller_.on_sleep = [this] {
    is_asleep_ = true;
    stage_.giveWay();
    is_asleep_ = false;
  };
}

int FaultyPoller::add(int fd, uint64_t token) {
  // The listening socket is added outside of the loops, and start() would have failed.
  if (may_be_lost_ && stage_.strikes(Fault::kAddRefused)) {
    stage_.add_refused(fd);
    return ENOSPC;
  }
  return poller_.add(fd, token);
}

void FaultyPoller::remove(int fd) {
  stage_.mayGiveWay();
  poller_.remove(fd);
}

int FaultyPoller::wait(PollEvent* events, int capacity, int64_t timeout_ns) {
  stage_.mayGiveWay();
  if (stage_.strikes(Fault::kPollInterrupted)) return -EINTR;
  if (may_be_lost_ && stage_.strikes(Fault::kPollerLost)) {
    was_lost_ = true;
    poller_.lose(EBADF);
  }
  deadline_ns_ = timeout_ns < 0 ? INT64_MAX : stage_.kernel.clock.now() + timeout_ns;
  return poller_.wait(events, capacity, timeout_ns);
}

bool FaultyPoller::isDue() const {
  return poller_.isDue() || stage_.kernel.clock.now() >= deadline_ns_;
}

}  // namespace odradek::sim
