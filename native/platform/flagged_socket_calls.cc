// Linux and the BSDs: all of it in the one call. SIGPIPE is left out by MSG_NOSIGNAL, call by call.
#include <netinet/in.h>

#include "socket_calls.h"

namespace odradek {

int openSocket(int family) {
  return ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
}

int acceptSocket(int listener, sockaddr* address, socklen_t* length) {
  return ::accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

}  // namespace odradek
