// A closed-loop load generator for servers that echo length-prefixed frames: one thread, epoll,
// `connections` x `pipeline` requests under way. Prints one line of JSON.
//
//   load <port> <connections> <pipeline> <body bytes> <seconds>
//
// A client writes `pipeline` frames at once and the next ones when all their replies have come, so
// the server sees them as a pipelining client sends them. Replies are checked for length alone:
// what the bytes are is the test suite's business.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

namespace {

constexpr size_t kPrefixBytes = 4;

struct Client {
  int fd = -1;
  size_t to_write = 0;
  size_t to_read = 0;
  int64_t started_ns = 0;
};

struct Options {
  uint16_t port = 0;
  size_t connections = 0;
  size_t pipeline = 0;
  size_t body_bytes = 0;
  double seconds = 0;
};

int64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "load: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

class Load {
 public:
  explicit Load(const Options& options) : options_(options), scratch_(256 * 1024) {
    const auto body = static_cast<uint32_t>(options.body_bytes);
    const uint32_t prefix = htonl(body);
    for (size_t i = 0; i < options.pipeline; i++) {
      const size_t at = batch_.size();
      batch_.resize(at + kPrefixBytes + options.body_bytes, 'x');
      std::memcpy(batch_.data() + at, &prefix, kPrefixBytes);
    }
  }

  void run() {
    epoll_ = epoll_create1(0);
    if (epoll_ < 0) fail("epoll_create1");
    clients_.resize(options_.connections);
    for (size_t i = 0; i < clients_.size(); i++) open(i);
    const int64_t begin = now();
    const int64_t warm = begin + static_cast<int64_t>(options_.seconds * 0.2e9);
    const int64_t end = warm + static_cast<int64_t>(options_.seconds * 1e9);
    for (Client& client : clients_) start(client);
    int64_t time = begin;
    while (time < end) {
      turn();
      time = now();
      if (measured_from_ == 0 && time >= warm) {
        measured_from_ = time;
        requests_ = 0;
        latencies_.clear();
      }
    }
    report(time);
  }

 private:
  void open(size_t index) {
    Client& client = clients_[index];
    client.fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options_.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(client.fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      fail("connect");
    }
    const int on = 1;
    setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.u64 = index;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, client.fd, &event) != 0) fail("epoll_ctl");
  }

  void start(Client& client) {
    client.to_write = batch_.size();
    client.to_read = batch_.size();
    client.started_ns = now();
    write(client);
  }

  void write(Client& client) {
    while (client.to_write > 0) {
      const char* from = batch_.data() + (batch_.size() - client.to_write);
      const ssize_t count = send(client.fd, from, client.to_write, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count < 0 && errno == EAGAIN) return;
      if (count < 0) fail("send");
      client.to_write -= static_cast<size_t>(count);
    }
  }

  void read(Client& client) {
    while (true) {
      const ssize_t count = recv(client.fd, scratch_.data(), scratch_.size(), MSG_DONTWAIT);
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) fail("recv");
      const auto bytes = static_cast<size_t>(count);
      if (bytes > client.to_read) {
        errno = EPROTO;
        fail("more bytes than were sent");
      }
      client.to_read -= bytes;
      if (client.to_read == 0) {
        requests_ += options_.pipeline;
        latencies_.push_back(now() - client.started_ns);
        start(client);
      }
      if (bytes < scratch_.size()) return;
    }
  }

  void turn() {
    epoll_event events[256];
    const int count = epoll_wait(epoll_, events, 256, 100);
    for (int i = 0; i < count; i++) {
      Client& client = clients_[events[i].data.u64];
      if ((events[i].events & EPOLLOUT) != 0) write(client);
      if ((events[i].events & EPOLLIN) != 0) read(client);
    }
  }

  double percentile(double share) {
    if (latencies_.empty()) return 0;
    const auto at = static_cast<size_t>(share * static_cast<double>(latencies_.size() - 1));
    std::nth_element(latencies_.begin(), latencies_.begin() + static_cast<std::ptrdiff_t>(at),
                     latencies_.end());
    return static_cast<double>(latencies_[at]) / 1000;
  }

  void report(int64_t end) {
    const double seconds = static_cast<double>(end - measured_from_) / 1e9;
    std::printf(
        "{\"requests\":%llu,\"seconds\":%.3f,\"perSecond\":%.0f,\"p50us\":%.1f,"
        "\"p99us\":%.1f}\n",
        static_cast<unsigned long long>(requests_), seconds,
        static_cast<double>(requests_) / seconds, percentile(0.5), percentile(0.99));
  }

  const Options options_;
  std::vector<char> batch_;
  std::vector<char> scratch_;
  std::vector<Client> clients_;
  std::vector<int64_t> latencies_;
  int epoll_ = -1;
  uint64_t requests_ = 0;
  int64_t measured_from_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 6) {
    std::fprintf(stderr, "usage: load <port> <connections> <pipeline> <body bytes> <seconds>\n");
    return 2;
  }
  Options options;
  options.port = static_cast<uint16_t>(std::atoi(arguments[1]));
  options.connections = static_cast<size_t>(std::atoi(arguments[2]));
  options.pipeline = static_cast<size_t>(std::atoi(arguments[3]));
  options.body_bytes = static_cast<size_t>(std::atoi(arguments[4]));
  options.seconds = std::atof(arguments[5]);
  Load(options).run();
  return 0;
}
