// macOS has no flags for it: three calls more a socket.
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>

#include "socket_calls.h"

namespace odradek {
namespace {

int prepared(int fd) {
  if (fd < 0) return fd;
  const int on = 1;
  const bool is_ready = ::fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
                        ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
                        ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) == 0;
  if (is_ready) return fd;
  // EINVAL: the client is gone already, which accept() would have said by ECONNABORTED.
  const int error = errno == EINVAL ? ECONNABORTED : errno;
  ::close(fd);
  errno = error;
  return -1;
}

}  // namespace

int openSocket(int family) { return prepared(::socket(family, SOCK_STREAM, IPPROTO_TCP)); }

int acceptSocket(int listener, sockaddr* address, socklen_t* length) {
  return prepared(::accept(listener, address, length));
}

}  // namespace odradek
