// Real sockets on 127.0.0.1 for the tests that go through the system. Reads and writes give up
// after some seconds, so that a hang is a failure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace odradek::test {

// Owns a descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }

  int fd() const { return fd_; }
  void close();

 private:
  int fd_;
};

// A blocking client.
class Client {
 public:
  explicit Client(uint16_t port);

  bool isConnected() const { return is_connected_; }
  int fd() const { return socket_.fd(); }
  void send(std::string_view bytes);
  // As many bytes as asked for, or what came before the end.
  std::string read(size_t bytes);
  // Whether the server has ended the connection in order (FIN), within the time.
  bool sawEnd();
  void end();
  // Resets the connection.
  void reset();
  void close() { socket_.close(); }

 private:
  Descriptor socket_;
  bool is_connected_ = false;
};

// Both ends of a TCP connection; the first is non-blocking, as the server's are.
std::pair<Descriptor, Descriptor> connectedPair();

// How many descriptors this process has open.
int openDescriptors();

}  // namespace odradek::test
