// The floor: the least that a server on epoll can do. One thread writes back what it read, without
// looking at it: no frames, no handler, no queue. Nothing that answers requests over TCP takes
// less.
//
//   floor [--spin]      --spin: never sleep while waiting (busy-poll)
//
// Prints {"port":N} and ends when standard input ends.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kMostEvents = 256;
constexpr int kBacklog = 4096;
constexpr size_t kScratchBytes = 256 * 1024;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

// A connection, and what the kernel didn't take of its last reply. While there is some of it,
// nothing more is read.
struct Channel {
  int fd = -1;
  std::string unsent;
};

class Floor {
 public:
  explicit Floor(bool spin) : timeout_ms_(spin ? 0 : -1), scratch_(kScratchBytes) {}

  void listen() {
    raiseDescriptorLimit();
    poll_ = epoll_create1(EPOLL_CLOEXEC);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_, generic, size) != 0) fail("bind");
    if (::listen(listener_, kBacklog) != 0) fail("listen");
    if (getsockname(listener_, generic, &size) != 0) fail("getsockname");
    watch(listener_, EPOLLIN);
    watch(STDIN_FILENO, EPOLLIN);
    std::printf("{\"port\":%d}\n", ntohs(address.sin_port));
    std::fflush(stdout);
  }

  // Until standard input ends.
  void run() {
    epoll_event events[kMostEvents];
    while (true) {
      const int count = epoll_wait(poll_, events, kMostEvents, timeout_ms_);
      for (int i = 0; i < count; i++) {
        const int fd = events[i].data.fd;
        if (fd == STDIN_FILENO) return;
        if (fd == listener_) {
          accept();
        } else {
          serve(channels_[static_cast<size_t>(fd)]);
        }
      }
    }
  }

 private:
  // As Node does for itself.
  static void raiseDescriptorLimit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit");
  }

  void watch(int fd, uint32_t directions) {
    epoll_event event{};
    event.events = directions;
    event.data.fd = fd;
    if (epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }

  void accept() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0 && errno == EAGAIN) return;
      if (fd < 0) fail("accept4");
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      const auto index = static_cast<size_t>(fd);
      if (channels_.size() <= index) channels_.resize(index + 1);
      channels_[index].fd = fd;
      watch(fd, EPOLLIN | EPOLLOUT | EPOLLET);
    }
  }

  void serve(Channel& channel) {
    if (!channel.unsent.empty()) {
      const std::string unsent = std::move(channel.unsent);
      channel.unsent.clear();
      if (!write(channel, unsent.data(), unsent.size())) return;
    }
    while (channel.fd >= 0) {
      const ssize_t count = recv(channel.fd, scratch_.data(), scratch_.size(), 0);
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) return close(channel);
      const auto bytes = static_cast<size_t>(count);
      if (!write(channel, scratch_.data(), bytes)) return;
      // A short read has emptied the kernel's buffer; what comes later is another edge.
      if (bytes < scratch_.size()) return;
    }
  }

  // Whether all of it went out.
  bool write(Channel& channel, const char* data, size_t size) {
    const ssize_t count = send(channel.fd, data, size, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
      close(channel);
      return false;
    }
    const size_t sent = count < 0 ? 0 : static_cast<size_t>(count);
    if (sent == size) return true;
    channel.unsent.assign(data + sent, size - sent);
    return false;
  }

  static void close(Channel& channel) {
    ::close(channel.fd);
    channel.fd = -1;
  }

  int timeout_ms_;
  int poll_ = -1;
  int listener_ = -1;
  std::vector<char> scratch_;
  // By descriptor.
  std::vector<Channel> channels_;
};

}  // namespace

int main(int count, char** arguments) {
  Floor floor(count > 1 && std::string_view(arguments[1]) == "--spin");
  floor.listen();
  floor.run();
  return 0;
}
