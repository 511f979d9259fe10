// The calls that make a socket, which systems do not have in common. The build compiles one of
// flagged_socket_calls.cc and darwin_socket_calls.cc.
#pragma once

#include <sys/socket.h>

namespace odradek {

// socket() and accept() of TCP: non-blocking, not inherited by programs that are started, and
// without SIGPIPE. A descriptor, or -1 and errno.
int openSocket(int family);
int acceptSocket(int listener, sockaddr* address, socklen_t* length);

}  // namespace odradek
