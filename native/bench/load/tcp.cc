#include "tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "fail.h"

namespace odradek::bench {
namespace {

constexpr uint32_t kSourceAddresses = 200;

sockaddr_in loopback(uint32_t host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host);
  return address;
}

void setOn(int fd, int level, int option) {
  const int on = 1;
  if (setsockopt(fd, level, option, &on, sizeof(on)) != 0) failWithErrno("setsockopt");
}

}  // namespace

int64_t nowNs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

int connectTo(uint16_t port, size_t index) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) failWithErrno("socket");
  setOn(fd, IPPROTO_TCP, TCP_NODELAY);
  // The port is chosen at connect, when the whole four-tuple is known.
  setOn(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
  const sockaddr_in from = loopback(2 + static_cast<uint32_t>(index % kSourceAddresses), 0);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof(from)) != 0) failWithErrno("bind");
  const sockaddr_in to = loopback(1, port);
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
  if (result != 0 && errno != EINPROGRESS) failWithErrno("connect");
  return fd;
}

void raiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) failWithErrno("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) failWithErrno("setrlimit");
}

int makePoll() {
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  if (poll < 0) failWithErrno("epoll_create1");
  return poll;
}

void watch(int poll, int fd, uint64_t key) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  event.data.u64 = key;
  if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) != 0) failWithErrno("epoll_ctl");
}

int watchTimer(int poll, int64_t interval_ns, uint64_t key) {
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer < 0) failWithErrno("timerfd_create");
  const timespec interval{interval_ns / 1'000'000'000, interval_ns % 1'000'000'000};
  const itimerspec times{interval, interval};
  if (timerfd_settime(timer, 0, &times, nullptr) != 0) failWithErrno("timerfd_settime");
  watch(poll, timer, key);
  return timer;
}

void readTimer(int timer) {
  uint64_t expiries = 0;
  if (read(timer, &expiries, sizeof(expiries)) < 0 && errno != EAGAIN) failWithErrno("read");
}

void awaitEndOfInput() {
  char scratch[256];
  while (true) {
    const ssize_t count = read(STDIN_FILENO, scratch, sizeof(scratch));
    if (count == 0 || (count < 0 && errno != EINTR)) return;
  }
}

double cpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace odradek::bench
