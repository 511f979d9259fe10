// Sockets, and the time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace odradek::bench {

// Nanoseconds of the monotonic clock.
int64_t nowNs();

// Begins to connect to 127.0.0.1, from 127.0.0.2 or one of the addresses behind it in turn: one
// address has 28 thousand ports, and a closed connection keeps its port for a minute.
int connectTo(uint16_t port, size_t index);

// Allows this process as many descriptors as the system lets it have.
void raiseDescriptorLimit();

// An epoll descriptor.
int makePoll();

// Edge-triggered in both directions, once and for all.
void watch(int poll, int fd, uint64_t key);

// Makes the poll return, with this key, at each multiple of the interval after now; gives the
// timer, which has to be read each time.
int watchTimer(int poll, int64_t interval_ns, uint64_t key);
void readTimer(int timer);

// Returns when nobody holds the other end of standard input.
void awaitEndOfInput();

// CPU time that this process has used, in seconds.
double cpuSeconds();

}  // namespace odradek::bench
