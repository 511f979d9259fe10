#include "sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace odradek::test {
namespace {

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

}  // namespace

void Descriptor::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Client::Client(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  const timeval patience{.tv_sec = 20, .tv_usec = 0};
  ::setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const int on = 1;
  ::setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const sockaddr_in address = loopback(port);
  is_connected_ =
      ::connect(fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

void Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

std::string Client::read(size_t bytes) {
  std::string got(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    const ssize_t count = ::recv(fd(), got.data() + done, bytes - done, 0);
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  got.resize(done);
  return got;
}

bool Client::sawEnd() {
  char byte = 0;
  return ::recv(fd(), &byte, 1, 0) == 0;
}

void Client::end() { ::shutdown(fd(), SHUT_WR); }

void Client::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  socket_.close();
}

std::pair<Descriptor, Descriptor> connectedPair() {
  const Descriptor listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof(address);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listener.fd(), name, sizeof(address)), 0);
  EXPECT_EQ(::listen(listener.fd(), 1), 0);
  ::getsockname(listener.fd(), name, &length);
  Descriptor client(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(client.fd(), name, sizeof(address)), 0);
  Descriptor server(::accept(listener.fd(), nullptr, nullptr));
  ::fcntl(server.fd(), F_SETFL, O_NONBLOCK);
  return {std::move(server), std::move(client)};
}

int openDescriptors() {
  int count = 0;
  for (int fd = 0; fd < 4096; fd++) {
    if (::fcntl(fd, F_GETFD) >= 0) count++;
  }
  return count;
}

}  // namespace odradek::test
