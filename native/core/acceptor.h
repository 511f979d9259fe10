// Kafka's Acceptor: accepts the connections of one listener and hands them to the processors,
// round-robin. Survives every error of accept(); ends only when it is stopped or its poller is
// lost. Can be stepped turn by turn without a thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "bounds.h"
#include "clock.h"
#include "consumer.h"
#include "counter.h"
#include "poller.h"
#include "processor.h"
#include "processor_list.h"
#include "socket_ops.h"

namespace odradek {

struct AcceptorCounters {
  // Connections that a processor took, and accepts that failed.
  Counter accepted, errors;
};

class Acceptor final : public RoomListener {
 public:
  struct Seams {
    Poller& poller;
    SocketOps& sockets;
    Clock& clock;
  };

  Acceptor(uint32_t listener, Seams seams, const ProcessorList& processors, Consumer& consumer);
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  ~Acceptor();

  // Opens the poller and watches `fd`, a listening socket that this owns from now on; 0 or errno.
  int open(int fd);

  // One turn of the loop. False: it has ended and the listening socket is closed.
  bool turn();

  // Any thread.
  void stop();
  void roomForConnections() override;

  const AcceptorCounters& counters() const { return counters_; }

 private:
  void poll();
  void acceptConnections();
  void accepted(NewConnection connection);
  bool handOver();
  void acceptFailed(int error);
  bool shedOne();
  void closeAll();
  void reportError(Event::Kind kind, int error);
  void wakeUp();

  const uint32_t listener_;
  Poller& poller_;
  SocketOps& sockets_;
  Clock& clock_;
  const ProcessorList& processors_;
  Consumer& consumer_;
  AcceptorCounters counters_;

  int fd_ = -1;
  int spare_ = -1;
  // Edge-triggered: there may be more to accept until accept() says EAGAIN.
  bool is_readable_ = false;
  // Accepted, and every processor's queue was full.
  NewConnection in_hand_;
  size_t next_processor_ = 0;
  int64_t backoff_until_ns_ = 0;
  int lost_ = 0;
  bool has_ended_ = false;
  std::array<PollEvent, 4> events_;

  Doorbell doorbell_;
  std::atomic<bool> stop_asked_{false};
  std::atomic<bool> has_room_{true};
};

}  // namespace odradek
