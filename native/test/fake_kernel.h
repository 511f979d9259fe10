// A kernel in memory: sockets, readiness and descriptors behind the core's seams, without threads,
// system calls or time of its own. Whoever drives it plays the clients, moves the clock, and steps
// the loops in whatever order; every fault is scripted from outside.
//
// Faithful where the core depends on it:
// - Readiness is edge-triggered: an event is queued when something changes (bytes or an end arrive,
//   a full socket gets room), reported once, and tells the state at the moment of the report.
// - A read that returns less than was asked for has emptied the socket; a write that took less than
//   it was given has filled it, and only then does room make an event.
// - The lowest free descriptor is given out; closing a socket with unread input resets it.
#pragma once

#include <cerrno>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../core/clock.h"
#include "../core/poller.h"
#include "../core/socket_ops.h"

namespace odradek::test {

class FakeKernel;
class FakePoller;

class FakeClock final : public Clock {
 public:
  int64_t now() override { return now_ns_ += creep_ns_; }
  void advance(int64_t ns) { now_ns_ += ns; }
  // Time passes with each look at the clock, for loops that spin on it.
  void creep(int64_t ns) { creep_ns_ = ns; }

 private:
  int64_t now_ns_ = 1'000'000'000;
  int64_t creep_ns_ = 0;
};

// What a poller can watch.
class FakeSource {
 public:
  FakeSource() = default;
  FakeSource(const FakeSource&) = delete;
  FakeSource& operator=(const FakeSource&) = delete;

  int fd() const { return fd_; }
  bool isOpen() const { return fd_ >= 0; }

 protected:
  ~FakeSource() = default;

  // What holds now. Whoever finds no room is told once there is some, as by Linux's tcp_poll().
  virtual PollEvent look() = 0;
  // Something changed: the poller will report it once.
  void notify();

 private:
  friend class FakeKernel;
  friend class FakePoller;

  int fd_ = -1;
  FakePoller* poller_ = nullptr;
  uint64_t token_ = 0;
  bool is_queued_ = false;
  bool awaits_room_ = false;
};

// Both ends of a connection. The public methods are the client's, and the script's.
class FakeConnection final : public FakeSource {
 public:
  // The client sends, half-closes, closes (its kernel resets what comes later), or resets.
  // sendUrgent: as send() with MSG_OOB: the server's reads stop short in front of the last byte.
  void send(std::string_view bytes);
  void sendUrgent(std::string_view bytes);
  void end();
  void close();
  void reset();

  // What the server has written and the client hasn't taken; taking it makes room.
  std::string take(size_t most = std::string::npos);
  // How the connection looks to a client that has taken everything.
  bool sawEnd() const { return outbound_.empty() && outbound_end_ && !client_reset_; }
  bool sawReset() const { return client_reset_; }

  // How much the server may write ahead of the client.
  void setWindow(size_t bytes);

  // The next reads or writes of the server fail with these errors, one each. A scripted EAGAIN
  // is followed by an event, as a real one would be.
  void failReads(std::initializer_list<int> errors);
  void failWrites(std::initializer_list<int> errors);
  // The next write of the server takes at most this much, as if the socket had been nearly full.
  void cutWrite(size_t bytes) { cut_write_ = bytes; }
  // shutdown() fails with this.
  void failShutdown(int error) { shutdown_error_ = error; }
  // The poller reports the socket though nothing has changed.
  void reportSpuriously() { notify(); }

  size_t unreadByServer() const { return inbound_.size(); }
  // The client's end.
  IpAddress ip = IpAddress::v4(127, 0, 0, 1);
  uint16_t port = 0;
  // System calls that the server has made on this socket.
  uint64_t reads = 0;
  uint64_t writes = 0;

 private:
  friend class FakeKernel;

  PollEvent look() override;
  ssize_t serverRead(const iovec* parts, int count);
  ssize_t serverWrite(const iovec* parts, int count);
  int serverShutdown();
  void serverClose();
  void fail(int error);

  std::string inbound_;
  bool inbound_end_ = false;
  // Where in `inbound_` the urgent data is.
  size_t urgent_at_ = std::string::npos;
  std::string outbound_;
  bool outbound_end_ = false;
  size_t window_ = 256 * 1024;
  // A write found no room: room will make an event.
  bool is_full_ = false;
  int error_ = 0;
  bool is_reset_ = false;      // by the client: the server's end is dead
  bool client_gone_ = false;   // what the server writes is answered by a reset
  bool client_reset_ = false;  // by the server's close: the client sees a reset
  std::deque<int> read_faults_;
  std::deque<int> write_faults_;
  size_t cut_write_ = 0;
  int shutdown_error_ = 0;
};

class FakeListener final : public FakeSource {
 public:
  // The next accepts fail with these errors, one each.
  void failAccepts(std::initializer_list<int> errors);
  size_t waiting() const { return waiting_.size(); }
  uint64_t accepts = 0;

 private:
  friend class FakeKernel;

  PollEvent look() override;

  std::deque<FakeConnection*> waiting_;
  std::deque<int> faults_;
};

class FakePoller final : public Poller {
 public:
  explicit FakePoller(FakeKernel& kernel) : kernel_(kernel) {}
  ~FakePoller() override;

  int open() override;
  int add(int fd, uint64_t token) override;
  int awaitRoom(int fd, uint64_t token) override;
  void remove(int fd) override;
  // A wait that would sleep calls `on_sleep` (where the driver lets others act), looks again and
  // returns 0, as after a signal: the driver decides when to call the loop's next turn.
  int wait(PollEvent* events, int capacity, int64_t timeout_ns) override;
  void wake() override;
  int descriptor() const override { return -1; }

  // Reports this in the next wait, whatever the kernel's state.
  void inject(const PollEvent& event) { injected_.push_back(event); }
  void failOpen(int error) { open_error_ = error; }
  void failAdds(std::initializer_list<int> errors) { add_errors_.assign(errors); }
  void lose(int error) { lost_ = error; }
  // Whether a wait() that sleeps has something to return for, its time-out apart.
  bool isDue() const { return woken_ || lost_ != 0 || !queue_.empty() || !injected_.empty(); }

  // As kqueue: room is told to whoever awaits it, once.
  bool tells_room_on_demand = false;
  std::function<void()> on_sleep;
  uint64_t waits = 0;
  uint64_t wakes = 0;
  // Of the last wait: its time-out, and whether it would have slept.
  int64_t last_timeout_ns = 0;
  bool slept = false;

 private:
  friend class FakeKernel;
  friend class FakeSource;

  int collect(PollEvent* events, int capacity);

  FakeKernel& kernel_;
  std::deque<FakeSource*> queue_;
  std::deque<PollEvent> injected_;
  std::deque<int> add_errors_;
  int open_error_ = 0;
  int lost_ = 0;
  bool is_open_ = false;
  bool woken_ = false;
};

class FakeKernel final : public SocketOps {
 public:
  FakeKernel() = default;
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;

  // --- The system calls --------------------------------------------------------------------------
  int listen(const Endpoint& where, int backlog, Endpoint* bound, const char** step) override;
  int accept(int listener, Endpoint* local, Endpoint* remote) override;
  ssize_t read(int fd, const iovec* parts, int count) override;
  ssize_t write(int fd, const iovec* parts, int count) override;
  int shutdownWrite(int fd) override;
  int takeError(int fd) override;
  void close(int fd) override;
  int openSpare() override;

  // --- The script --------------------------------------------------------------------------------
  FakeListener& openListener();
  // A client connects and waits to be accepted; where nobody listens any more, it is refused.
  FakeConnection& connect(FakeListener& listener);
  // A connection that has been accepted already.
  FakeConnection& connected();
  // The process may have this many descriptors; then accept() and openSpare() fail with EMFILE.
  void limitDescriptors(size_t most) { most_descriptors_ = most; }

  size_t descriptors() const { return table_.size(); }
  // The connection with this descriptor; null if there is none.
  FakeConnection* connectionAt(int fd);
  // Calls that no correct program makes: on descriptors that aren't open.
  const std::vector<std::string>& misuses() const { return misuses_; }

  FakeClock clock;

 private:
  friend class FakePoller;

  // A descriptor without a source is the spare.
  int open(FakeSource* source);
  FakeConnection* connection(int fd, const char* call);
  void misuse(const char* call, int fd);

  std::map<int, FakeSource*> table_;
  std::vector<std::unique_ptr<FakeConnection>> connections_;
  std::vector<std::unique_ptr<FakeListener>> listeners_;
  size_t most_descriptors_ = SIZE_MAX;
  uint16_t next_port_ = 10'000;
  std::vector<std::string> misuses_;
};

}  // namespace odradek::test
