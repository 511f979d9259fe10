// kqueue's interface, for the tests of KqueuePoller on a system without it. The numbers are
// FreeBSD's.
#pragma once

#include <cstdint>
#include <ctime>

struct kevent {
  uintptr_t ident;
  int16_t filter;
  uint16_t flags;
  unsigned fflags;
  int64_t data;
  void* udata;
};

inline constexpr int EVFILT_READ = -1;
inline constexpr int EVFILT_WRITE = -2;
inline constexpr int EVFILT_USER = -11;
inline constexpr int EV_ADD = 0x0001;
inline constexpr int EV_DELETE = 0x0002;
inline constexpr int EV_ONESHOT = 0x0010;
inline constexpr int EV_CLEAR = 0x0020;
inline constexpr int EV_EOF = 0x8000;
inline constexpr int NOTE_TRIGGER = 0x01000000;

inline void EV_SET(struct kevent* event, uintptr_t ident, int16_t filter, uint16_t flags,
                   unsigned fflags, int64_t data, void* udata) {
  *event = {ident, filter, flags, fflags, data, udata};
}

extern "C" {
int kqueue();
int kevent(int queue, const struct kevent* changes, int count, struct kevent* events, int capacity,
           const timespec* timeout);
}
