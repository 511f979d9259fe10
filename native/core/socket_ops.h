// Every socket system call, as a seam. Results are the kernel's: counts, or -errno.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "ip_address.h"

namespace odradek {

struct Endpoint {
  std::string host;
  uint16_t port = 0;
  // The host's address, where the kernel has told it.
  IpAddress ip = {};
};

class SocketOps {
 public:
  virtual ~SocketOps() = default;

  // A bound, listening, non-blocking socket whose accepted sockets get TCP_NODELAY and
  // SO_KEEPALIVE; `bound` is where it listens. A descriptor or -errno; `step` names the call that
  // failed.
  virtual int listen(const Endpoint& where, int backlog, Endpoint* bound, const char** step) = 0;

  // A non-blocking connection, its ends in `local` and `remote`; or -errno.
  virtual int accept(int listener, Endpoint* local, Endpoint* remote) = 0;

  virtual ssize_t read(int fd, const iovec* parts, int count) = 0;
  virtual ssize_t write(int fd, const iovec* parts, int count) = 0;

  // Closes the write side: the peer reads what was written, then the end.
  virtual int shutdownWrite(int fd) = 0;

  // The pending error of a socket (errno, 0 if none).
  virtual int takeError(int fd) = 0;

  virtual void close(int fd) = 0;

  // A descriptor that is held in reserve for the moment when none are left; or -errno.
  virtual int openSpare() = 0;
};

}  // namespace odradek
