#include "visits.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "fail.h"
#include "tcp.h"

namespace odradek::bench {
namespace {

constexpr size_t kScratchBytes = 256 * 1024;
constexpr int kMostEvents = 256;
constexpr int kLongestSleepMs = 20;
// While connections are opened to be held, so many wait for their reply at once: fewer than the
// shortest accept queue holds, so that the kernel never drops one.
constexpr size_t kOpeningAtOnce = 64;

size_t slotsFor(const Options& options) {
  if (options.mode == Mode::kHold) return std::min(options.connections, kOpeningAtOnce);
  return options.connections;
}

bool isOpen(int fd) {
  char byte = 0;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

}  // namespace

Visits::Visits(const Options& options, const Request& request)
    : options_(options),
      poll_(makePoll()),
      slots_(slotsFor(options), Connection(request, 1)),
      scratch_(kScratchBytes),
      report_(options) {}

void Visits::storm() {
  for (size_t slot = 0; slot < slots_.size(); slot++) begin(slot);
  runUntil(nowNs() + static_cast<int64_t>(options_.warmup_seconds * 1e9));
  announceMeasuring(options_);
  const int64_t began_ns = nowNs();
  report_.begin(began_ns);
  runUntil(began_ns + static_cast<int64_t>(options_.seconds * 1e9));
  report_.print(nowNs());
  if (options_.is_attended) awaitEndOfInput();
}

void Visits::hold() {
  for (size_t slot = 0; slot < slots_.size(); slot++) begin(slot);
  while (held_.size() < options_.connections) turn();
  std::printf("{\"held\":%zu}\n", held_.size());
  std::fflush(stdout);
  awaitEndOfInput();
  const auto lost = std::count_if(held_.begin(), held_.end(), [](int fd) { return !isOpen(fd); });
  if (lost > 0) fail("the server closed %td idle connections", lost);
}

void Visits::begin(size_t slot) {
  Connection& connection = slots_[slot];
  const int64_t now_ns = nowNs();
  const size_t index = begun_++;
  connection.open(connectTo(options_.port, index));
  watch(poll_, connection.fd(), slot);
  // Sent by the first edge: the socket becomes writable when it is connected.
  connection.queue(now_ns, static_cast<uint32_t>(index + 1), false);
}

void Visits::turn() {
  epoll_event events[kMostEvents];
  const int timeout_ms = options_.spin ? 0 : kLongestSleepMs;
  const int count = epoll_wait(poll_, events, kMostEvents, timeout_ms);
  for (int i = 0; i < count; i++) {
    const uint64_t slot = events[i].data.u64;
    Connection& connection = slots_[slot];
    if ((events[i].events & EPOLLOUT) != 0) connection.flush();
    if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) continue;
    if (connection.receive(scratch_) > 0) finish(slot, connection.takeAnswer());
  }
}

void Visits::finish(size_t slot, const Answer& answer) {
  Connection& connection = slots_[slot];
  if (options_.mode == Mode::kHold) {
    epoll_ctl(poll_, EPOLL_CTL_DEL, connection.fd(), nullptr);
    held_.push_back(connection.fd());
    if (begun_ < options_.connections) begin(slot);
    return;
  }
  report_.add(answer, nowNs());
  connection.close();
  begin(slot);
}

void Visits::runUntil(int64_t end_ns) {
  while (nowNs() < end_ns && !report_.hasEnough()) turn();
}

}  // namespace odradek::bench
