// Kafka's Acceptor: accepts the connections of one listener and hands them to the processors,
// round-robin, as ConnectionQuotas lets them. Survives every error of accept(); ends only when it
// is stopped or its poller is lost. Can be stepped turn by turn without a thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "bounds.h"
#include "clock.h"
#include "connection_quotas.h"
#include "consumer.h"
#include "counter.h"
#include "poller.h"
#include "processor.h"
#include "processor_list.h"
#include "socket_ops.h"
#include "stopwatch.h"

namespace odradek {

struct AcceptorCounters {
  // Connections that a processor took, and accepts that failed.
  Counter accepted, errors;
  // Closed at once: their address has too many; held back: it sends too many.
  Counter refused, throttled;
  // Sockets that are held back now.
  Counter parked;
  // For how long those that were throttled were to be held back, in all.
  Counter parked_ns;
};

class Acceptor final : public RoomListener {
 public:
  struct Seams {
    Poller& poller;
    SocketOps& sockets;
    Clock& clock;
  };

  Acceptor(uint32_t listener, const ChannelConfig& config, Seams seams,
           const ProcessorList& processors, ConnectionQuotas& quotas, Consumer& consumer);
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
  // Any thread: for how long a connection has waited, in all.
  int64_t blockedNs() const { return blocked_.totalNs(clock_); }
  // Any thread: for how long that was for a rate (Kafka's connection-accept-throttle-time), and how
  // often.
  int64_t rateWaitNs() const { return rate_wait_.totalNs(clock_); }
  uint64_t rateWaits() const { return rate_wait_.times(); }

 private:
  struct Parked {
    int64_t until_ns = 0;
    int fd = -1;

    bool operator>(const Parked& other) const { return until_ns > other.until_ns; }
  };

  void poll();
  int64_t pollTimeout() const;
  void acceptConnections();
  bool place();
  bool admit();
  void park(int64_t until_ns);
  void block(int64_t until_ns);
  void unblock();
  void closeParked();
  bool handOver();
  void makeRoom();
  void dropInHand();
  void acceptFailed(int error);
  bool shedOne();
  void closeAll();
  void reportError(Event::Kind kind, int error);
  void wakeUp();

  const uint32_t listener_;
  const ChannelConfig& config_;
  Poller& poller_;
  SocketOps& sockets_;
  Clock& clock_;
  const ProcessorList& processors_;
  ConnectionQuotas& quotas_;
  Consumer& consumer_;
  AcceptorCounters counters_;

  int fd_ = -1;
  int spare_ = -1;
  // Edge-triggered: there may be more to accept until accept() says EAGAIN.
  bool is_readable_ = false;
  // Accepted, and there was no place for it, or every processor's queue was full.
  NewConnection in_hand_;
  // It may be let in from here on; INT64_MAX: we are rung.
  int64_t blocked_until_ns_ = INT64_MAX;
  // Sockets held back before they are closed, a heap: the earliest is first. (Kafka's has the
  // latest first, so that the others wait for it.)
  std::vector<Parked> parked_;
  size_t next_processor_ = 0;
  int64_t backoff_until_ns_ = 0;
  int lost_ = 0;
  bool has_ended_ = false;
  std::array<PollEvent, 4> events_;

  Doorbell doorbell_;
  std::atomic<bool> stop_asked_{false};
  std::atomic<bool> has_room_{true};
  // A connection waits in hand for the quotas; and for one of their rates.
  Stopwatch blocked_;
  Stopwatch rate_wait_;
};

}  // namespace odradek
