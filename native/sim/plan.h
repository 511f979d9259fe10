// What a seed decides before the first step: the server's settings, how often things go wrong, and
// how it ends.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "../core/connection_quotas.h"
#include "../core/framing.h"
#include "../core/memory_pool.h"
#include "../core/timeouts.h"
#include "fault.h"
#include "random.h"

namespace odradek::sim {

inline constexpr uint32_t kMostProcessors = 4;

struct Plan {
  enum class End : uint8_t { kDrain, kStop };

  uint32_t processors = 1;
  // Of 1000 disturbances, how many change the number of processors; to 1 ... kMostProcessors.
  uint32_t resizes = 0;
  // The one processor has no thread: the handlers' own takes its turns.
  bool is_threadless = false;
  std::vector<Framing> framings;  // one a listener, also those that come later
  uint32_t listeners = 1;         // open from the beginning
  // Of 1000 disturbances, how many add or remove a listener.
  uint32_t listener_changes = 0;
  // Those that are removed may be cut, too.
  bool cuts_listeners = false;
  uint32_t queued_max_requests = 500;
  uint32_t max_pending_requests = 65536;
  int64_t request_bytes = kUnlimitedBytes;
  int64_t unsent_bytes = kUnlimitedBytes;
  bool waits_for_accept = false;
  uint16_t max_in_flight = 1;

  uint32_t clients = 8;
  uint32_t steps = 300;
  End end = End::kDrain;
  // Of 1000 seeds that end while everything is under way: the step, or `steps` for the others.
  uint32_t end_step = 0;

  // Of 1000 calls (or actions), how many go wrong in this way.
  std::array<uint32_t, kFaults> rates{};
  int64_t busy_poll_ns = 0;
  // The pollers are as kqueue is.
  bool tells_room_on_demand = false;
  Timeouts timeouts;
  ConnectionLimits connections;
  // Some of the limits are of addresses: clients may be closed before anybody hears of them.
  bool limits_addresses = false;
  // Of 1000 disturbances, how many change the limits of connections.
  uint32_t limit_changes = 0;
  // Of 1000 disturbances, how many enter or leave a step under overload.
  uint32_t overloads = 0;
  // Of 1000 system calls, how many let other threads run first.
  uint32_t preemptions = 0;
  // Of 1000 requests, how many are answered later than in the turn that brought them.
  uint32_t late_answers = 0;
  // Of 1000 answers, how many close the connection.
  uint32_t closing_answers = 0;
  // Of 1000 answers, how many throttle their client.
  uint32_t throttles = 0;
  // Of 1000 answers, how many have a push before or behind them.
  uint32_t pushes = 0;
  // The service changes the framing of some connections.
  bool negotiates = false;

  // Handlers are a pool of threads; 0: they are the server's own.
  uint32_t pool_threads = 0;
  bool pool_has_affinity = false;
  // Requests that one of them may have in work.
  uint32_t pool_concurrency = 64;

  // Connections may end while handlers have requests of theirs.
  bool abandonsRequests() const { return rate(Fault::kPollerLost) > 0 || cuts_listeners; }
  // The shortest that may be in force: under overload a tenth, as the server has it.
  Timeouts leastTimeouts() const { return overloads > 0 ? shortened() : timeouts; }
  Timeouts shortened() const {
    Timeouts shorter = timeouts;
    for (int64_t* ns : {&shorter.idle_ns, &shorter.frame_ns, &shorter.write_ns}) *ns /= 10;
    return shorter;
  }
  uint32_t rate(Fault fault) const { return rates[static_cast<size_t>(fault)]; }
};

// Such as now and then keep somebody out.
ConnectionLimits makeConnectionLimits(Random& random, const Plan& plan);

// `random` goes on to choose the steps.
Plan makePlan(uint64_t seed, Random& random);

}  // namespace odradek::sim
