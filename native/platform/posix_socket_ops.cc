#include "posix_socket_ops.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "socket_calls.h"

namespace odradek {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_storage);

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

// `host` is an address; names are resolved before they come here.
bool parse(const Endpoint& where, Address* address) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address->storage);
  if (::inet_pton(AF_INET, where.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(where.port);
    address->length = sizeof(sockaddr_in);
    return true;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address->storage);
  if (::inet_pton(AF_INET6, where.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(where.port);
    address->length = sizeof(sockaddr_in6);
    return true;
  }
  return false;
}

Endpoint format(const Address& address) {
  Endpoint endpoint;
  char text[INET6_ADDRSTRLEN] = "";
  if (address.storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
    endpoint.ip = IpAddress::v4(0, 0, 0, 0);
    std::memcpy(&endpoint.ip.bytes[12], &v4->sin_addr, 4);
    endpoint.port = ntohs(v4->sin_port);
  } else if (address.storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
    std::memcpy(endpoint.ip.bytes.data(), &v6->sin6_addr, endpoint.ip.bytes.size());
    endpoint.port = ntohs(v6->sin6_port);
  }
  endpoint.host = text;
  return endpoint;
}

bool setFlag(int fd, int level, int option) {
  const int on = 1;
  return ::setsockopt(fd, level, option, &on, sizeof(on)) == 0;
}

int failed(int fd) {
  const int error = errno;
  if (fd >= 0) ::close(fd);
  return -error;
}

}  // namespace

int PosixSocketOps::listen(const Endpoint& where, int backlog, Endpoint* bound, const char** step) {
  *step = "bind";
  Address address;
  if (!parse(where, &address)) return -EINVAL;
  *step = "socket";
  const int fd = openSocket(address.storage.ss_family);
  if (fd < 0) return failed(fd);
  *step = "setsockopt";
  // SO_REUSEADDR as Node and libuv set it: a restart doesn't wait for TIME_WAIT. The other two
  // are inherited by accepted sockets, which saves two system calls a connection.
  if (!setFlag(fd, SOL_SOCKET, SO_REUSEADDR)) return failed(fd);
  if (!setFlag(fd, IPPROTO_TCP, TCP_NODELAY)) return failed(fd);
  if (!setFlag(fd, SOL_SOCKET, SO_KEEPALIVE)) return failed(fd);
  *step = "bind";
  if (::bind(fd, address.get(), address.length) != 0) return failed(fd);
  *step = "listen";
  if (::listen(fd, backlog) != 0) return failed(fd);
  *step = "getsockname";
  Address name;
  if (::getsockname(fd, name.get(), &name.length) != 0) return failed(fd);
  *bound = format(name);
  return fd;
}

int PosixSocketOps::accept(int listener, Endpoint* local, Endpoint* remote) {
  Address peer;
  const int fd = acceptSocket(listener, peer.get(), &peer.length);
  if (fd < 0) return -errno;
  *remote = format(peer);
  Address name;
  if (::getsockname(fd, name.get(), &name.length) == 0) *local = format(name);
  return fd;
}

ssize_t PosixSocketOps::read(int fd, const iovec* parts, int count) {
  const ssize_t bytes =
      count == 1 ? ::recv(fd, parts[0].iov_base, parts[0].iov_len, 0) : ::readv(fd, parts, count);
  return bytes < 0 ? -errno : bytes;
}

ssize_t PosixSocketOps::write(int fd, const iovec* parts, int count) {
  ssize_t bytes = 0;
  if (count == 1) {
    bytes = ::send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
  } else {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    bytes = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  }
  return bytes < 0 ? -errno : bytes;
}

int PosixSocketOps::shutdownWrite(int fd) { return ::shutdown(fd, SHUT_WR) == 0 ? 0 : errno; }

int PosixSocketOps::takeError(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

void PosixSocketOps::close(int fd) { ::close(fd); }

int PosixSocketOps::openSpare() {
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

}  // namespace odradek
