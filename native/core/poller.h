// The kernel's readiness notification, as a seam (epoll, kqueue, a simulation).
//
// Edge-triggered in both directions: a descriptor is added once, with one system call, and each
// event says that something changed since the last one. The caller keeps what is still readable
// or writable, so muting a connection costs no system call, nor does waiting for room to write
// where the kernel tells of room only once there was none (epoll; not kqueue).
// A poller belongs to one thread; wake() alone may be called from any other.
#pragma once

#include <cstdint>

namespace odradek {

struct PollEvent {
  uint64_t token = 0;
  bool readable = false;
  bool writable = false;
  // The peer closed its write side, or more: reads will come to an end.
  bool peer_closed = false;
  // Urgent data came: a read stops short at it, with more behind it.
  bool urgent = false;
  // The connection failed; SocketOps::takeError says how.
  bool failed = false;
};

class Poller {
 public:
  virtual ~Poller() = default;

  // Opens the poller; 0 or errno.
  virtual int open() = 0;

  // Watches `fd` for both directions until it is closed; 0 or errno.
  virtual int add(int fd, uint64_t token) = 0;

  // A write to `fd`, which was added with this token, found no room: an event tells of room once
  // there is some. 0 or errno.
  virtual int awaitRoom(int, uint64_t) { return 0; }

  // Watches `fd` no more: another poller will.
  virtual void remove(int fd) = 0;

  // Waits for events, for a wake(), or for the time-out (nanoseconds; 0: don't wait, below 0:
  // without end). Returns the number of events, 0 after a wake or without any, -EINTR after a
  // signal, which tells nothing about events, or another -errno when the poller is lost.
  virtual int wait(PollEvent* events, int capacity, int64_t timeout_ns) = 0;

  // Ends a wait() under way or the next one. Any thread; the Doorbell decides when it is needed.
  virtual void wake() = 0;

  // A descriptor that is readable while events wait, for a loop that waits elsewhere.
  virtual int descriptor() const = 0;
};

}  // namespace odradek
