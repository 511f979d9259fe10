#include "steady_load.h"

#include <sys/epoll.h>

#include "fail.h"
#include "tcp.h"

namespace odradek::bench {
namespace {

constexpr size_t kScratchBytes = 256 * 1024;
constexpr int kMostEvents = 256;
// The end of a measurement is looked for this often even if nothing happens.
constexpr int kLongestSleepMs = 20;
constexpr uint64_t kTimerKey = ~uint64_t{0};

}  // namespace

SteadyLoad::SteadyLoad(const Options& options, const Request& request)
    : options_(options),
      poll_(makePoll()),
      connections_(options.connections, Connection(request, options.pipeline)),
      scratch_(kScratchBytes),
      report_(options) {}

void SteadyLoad::run() {
  open();
  start();
  const int64_t warm_ns = nowNs() + static_cast<int64_t>(options_.warmup_seconds * 1e9);
  runUntil(warm_ns);
  announceMeasuring(options_);
  const int64_t began_ns = nowNs();
  report_.begin(began_ns);
  runUntil(began_ns + static_cast<int64_t>(options_.seconds * 1e9));
  const int64_t ended_ns = nowNs();
  if (schedule_) countUnanswered(ended_ns);
  report_.print(ended_ns);
  if (options_.is_attended) awaitEndOfInput();
}

void SteadyLoad::open() {
  for (size_t i = 0; i < connections_.size(); i++) {
    connections_[i].open(connectTo(options_.port, i));
    watch(poll_, connections_[i].fd(), i);
  }
}

void SteadyLoad::start() {
  const int64_t now_ns = nowNs();
  if (options_.rate > 0) {
    schedule_.emplace(options_.rate, connections_.size(), now_ns);
    if (!options_.spin) timer_ = watchTimer(poll_, schedule_->intervalNs(), kTimerKey);
    return;
  }
  for (size_t i = 0; i < connections_.size(); i++) refill(i, now_ns);
}

void SteadyLoad::runUntil(int64_t end_ns) {
  while (nowNs() < end_ns && !report_.hasEnough()) {
    turn();
    if (schedule_) sendDue();
  }
}

void SteadyLoad::turn() {
  epoll_event events[kMostEvents];
  const int timeout_ms = options_.spin ? 0 : kLongestSleepMs;
  const int count = epoll_wait(poll_, events, kMostEvents, timeout_ms);
  for (int i = 0; i < count; i++) {
    const uint64_t index = events[i].data.u64;
    if (index == kTimerKey) {
      readTimer(timer_);
      continue;
    }
    if ((events[i].events & EPOLLOUT) != 0) connections_[index].flush();
    if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive(index);
  }
}

void SteadyLoad::sendDue() {
  const int64_t now_ns = nowNs();
  for (int64_t index = schedule_->nextDue(now_ns); index >= 0; index = schedule_->nextDue(now_ns)) {
    refill(static_cast<size_t>(index), now_ns);
  }
}

void SteadyLoad::receive(size_t index) {
  Connection& connection = connections_[index];
  size_t complete = connection.receive(scratch_);
  if (complete == 0) return;
  const int64_t now_ns = nowNs();
  for (; complete > 0; complete--) report_.add(connection.takeAnswer(), now_ns);
  refill(index, now_ns);
}

void SteadyLoad::refill(size_t index, int64_t now_ns) {
  Connection& connection = connections_[index];
  if (schedule_) {
    while (connection.hasRoom() && schedule_->hasDue(index)) {
      queue(connection, schedule_->take(index));
    }
  } else if (connection.underWay() == 0) {
    while (connection.hasRoom()) queue(connection, now_ns);
  }
  connection.flush();
}

void SteadyLoad::queue(Connection& connection, int64_t started_ns) {
  const uint32_t number = next_number_++;
  const bool is_marked = options_.mark_every > 0 && number % options_.mark_every == 0;
  connection.queue(started_ns, number, is_marked);
}

void SteadyLoad::countUnanswered(int64_t now_ns) {
  for (size_t i = 0; i < connections_.size(); i++) {
    const Connection& connection = connections_[i];
    for (size_t n = 0; n < connection.underWay(); n++) {
      report_.addUnanswered(connection.underWayAt(n), now_ns);
    }
    // Those that were due and found no room on their connection.
    while (schedule_->hasDue(i)) report_.addUnanswered({schedule_->take(i), false}, now_ns);
  }
}

}  // namespace odradek::bench
