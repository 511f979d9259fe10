// The SocketOps of POSIX systems.
#pragma once

#include "../core/socket_ops.h"

namespace odradek {

class PosixSocketOps final : public SocketOps {
 public:
  int listen(const Endpoint& where, int backlog, Endpoint* bound, const char** step) override;
  int accept(int listener, Endpoint* local, Endpoint* remote) override;
  ssize_t read(int fd, const iovec* parts, int count) override;
  ssize_t write(int fd, const iovec* parts, int count) override;
  int shutdownWrite(int fd) override;
  int takeError(int fd) override;
  void close(int fd) override;
  int openSpare() override;
};

}  // namespace odradek
