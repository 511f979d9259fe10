#include "../platform/posix_socket_ops.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <string>

#include "sockets.h"

namespace odradek {
namespace {

using test::Client;
using test::connectedPair;
using test::Descriptor;

class PosixSocketOpsTest : public testing::Test {
 protected:
  Descriptor listen(const Endpoint& where = {"127.0.0.1", 0}) {
    return Descriptor(sockets.listen(where, 16, &bound, &step));
  }

  // Waits for what is under way on loopback.
  int accept(int listener) {
    int fd = -EAGAIN;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (fd == -EAGAIN && std::chrono::steady_clock::now() < deadline) {
      fd = sockets.accept(listener, &local, &remote);
    }
    return fd;
  }

  static int flag(int fd, int level, int option) {
    int value = 0;
    socklen_t length = sizeof(value);
    EXPECT_EQ(::getsockopt(fd, level, option, &value, &length), 0);
    return value;
  }

  PosixSocketOps sockets;
  Endpoint bound;
  Endpoint local;
  Endpoint remote;
  const char* step = "";
};

TEST_F(PosixSocketOpsTest, PortZeroIsReplacedByTheOneThatWasGiven) {
  const Descriptor listener = listen();
  ASSERT_GE(listener.fd(), 0);
  EXPECT_EQ(bound.host, "127.0.0.1");
  EXPECT_GT(bound.port, 0);
  EXPECT_TRUE(Client(bound.port).isConnected());
}

TEST_F(PosixSocketOpsTest, AnAcceptedSocketIsReadyForAReactor) {
  const Descriptor listener = listen();
  EXPECT_EQ(sockets.accept(listener.fd(), &local, &remote), -EAGAIN);
  const Client client(bound.port);
  const Descriptor accepted(accept(listener.fd()));
  ASSERT_GE(accepted.fd(), 0);
  EXPECT_NE(::fcntl(accepted.fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(accepted.fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(flag(accepted.fd(), IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_NE(flag(accepted.fd(), SOL_SOCKET, SO_KEEPALIVE), 0);
  EXPECT_NE(::fcntl(listener.fd(), F_GETFD) & FD_CLOEXEC, 0);

  sockaddr_in name{};
  socklen_t length = sizeof(name);
  ASSERT_EQ(::getsockname(client.fd(), reinterpret_cast<sockaddr*>(&name), &length), 0);
  EXPECT_EQ(local.host, "127.0.0.1");
  EXPECT_EQ(local.port, bound.port);
  EXPECT_EQ(remote.host, "127.0.0.1");
  EXPECT_EQ(remote.port, ntohs(name.sin_port));
}

TEST_F(PosixSocketOpsTest, VersionSixWorksWhereTheSystemHasIt) {
  const Descriptor listener = listen({"::1", 0});
  if (listener.fd() == -EADDRNOTAVAIL || listener.fd() == -EAFNOSUPPORT) {
    GTEST_SKIP() << "no IPv6 here";
  }
  ASSERT_GE(listener.fd(), 0);
  EXPECT_EQ(bound.host, "::1");
  EXPECT_GT(bound.port, 0);
}

TEST_F(PosixSocketOpsTest, APortInUseIsAnErrorOfBind) {
  const Descriptor first = listen();
  const int before = test::openDescriptors();
  const Descriptor second = listen(bound);
  EXPECT_EQ(second.fd(), -EADDRINUSE);
  EXPECT_STREQ(step, "bind");
  EXPECT_EQ(test::openDescriptors(), before);
}

TEST_F(PosixSocketOpsTest, AHostThatIsNoAddressIsAnErrorOfBind) {
  EXPECT_EQ(listen({"not an address", 0}).fd(), -EINVAL);
  EXPECT_STREQ(step, "bind");
}

TEST_F(PosixSocketOpsTest, WritesGatherAndReadsScatter) {
  auto [ours, theirs] = connectedPair();
  char one[] = "one,";
  char two[] = "two";
  const iovec out[] = {{one, 4}, {two, 3}};
  EXPECT_EQ(sockets.write(ours.fd(), out, 2), 7);
  EXPECT_EQ(sockets.write(ours.fd(), out, 1), 4);
  std::string got(11, '\0');
  size_t done = 0;
  while (done < 11) {
    const ssize_t count = ::recv(theirs.fd(), got.data() + done, 11 - done, 0);
    ASSERT_GT(count, 0);
    done += static_cast<size_t>(count);
  }
  EXPECT_EQ(got, "one,twoone,");

  ASSERT_EQ(::send(theirs.fd(), "abcdef", 6, 0), 6);
  char first[2];
  char second[10];
  const iovec in[] = {{first, 2}, {second, 10}};
  ssize_t count = -EAGAIN;
  while (count == -EAGAIN) count = sockets.read(ours.fd(), in, 2);
  EXPECT_EQ(count, 6);
  EXPECT_EQ(std::string(first, 2), "ab");
  EXPECT_EQ(std::string(second, 4), "cdef");
  EXPECT_EQ(sockets.read(ours.fd(), in, 2), -EAGAIN);
  EXPECT_EQ(sockets.read(ours.fd(), in, 1), -EAGAIN);
}

TEST_F(PosixSocketOpsTest, AFullSocketSaysSo) {
  auto [ours, theirs] = connectedPair();
  std::string bytes(1'000'000, 'x');
  const iovec part = {bytes.data(), bytes.size()};
  ssize_t written = 0;
  for (int i = 0; i < 1000 && written >= 0; i++) written = sockets.write(ours.fd(), &part, 1);
  EXPECT_EQ(written, -EAGAIN);
}

TEST_F(PosixSocketOpsTest, ShutdownEndsOneDirection) {
  auto [ours, theirs] = connectedPair();
  EXPECT_EQ(sockets.shutdownWrite(ours.fd()), 0);
  char byte = 'a';
  EXPECT_EQ(::recv(theirs.fd(), &byte, 1, 0), 0);
  ASSERT_EQ(::send(theirs.fd(), &byte, 1, 0), 1);
  const iovec part = {&byte, 1};
  ssize_t count = -EAGAIN;
  while (count == -EAGAIN) count = sockets.read(ours.fd(), &part, 1);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(sockets.write(ours.fd(), &part, 1), -EPIPE) << "and no signal";
}

TEST_F(PosixSocketOpsTest, AResetIsAnErrorOfTheNextCallOrIsTaken) {
  for (const bool is_taken : {false, true}) {
    auto [ours, theirs] = connectedPair();
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(theirs.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    theirs.close();
    char byte = 0;
    const iovec part = {&byte, 1};
    if (is_taken) {
      EXPECT_EQ(sockets.takeError(ours.fd()), ECONNRESET);
      EXPECT_EQ(sockets.takeError(ours.fd()), 0);
    } else {
      EXPECT_EQ(sockets.read(ours.fd(), &part, 1), -ECONNRESET);
      EXPECT_EQ(sockets.write(ours.fd(), &part, 1), -EPIPE);
    }
  }
}

TEST_F(PosixSocketOpsTest, CallsOnNothingAreErrors) {
  char byte = 0;
  const iovec part = {&byte, 1};
  EXPECT_EQ(sockets.read(-1, &part, 1), -EBADF);
  EXPECT_EQ(sockets.write(-1, &part, 1), -EBADF);
  EXPECT_EQ(sockets.accept(-1, &local, &remote), -EBADF);
  EXPECT_EQ(sockets.shutdownWrite(-1), EBADF);
  EXPECT_EQ(sockets.takeError(-1), EBADF);
}

TEST_F(PosixSocketOpsTest, TheSpareIsADescriptorOfItsOwn) {
  const int before = test::openDescriptors();
  const int spare = sockets.openSpare();
  ASSERT_GE(spare, 0);
  EXPECT_EQ(test::openDescriptors(), before + 1);
  sockets.close(spare);
  EXPECT_EQ(test::openDescriptors(), before);
}

}  // namespace
}  // namespace odradek
