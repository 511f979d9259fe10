// How long a peer may leave a connection waiting for it. Kafka has the first alone
// (connections.max.idle.ms, its IdleExpiryManager).
//
// The clocks are the peer's: they stop while the server itself doesn't read from the connection or
// has a request of it, so nobody is closed for what the server is late with (Kafka does that).
#pragma once

#include <algorithm>
#include <cstdint>

namespace odradek {

struct Timeouts {
  // Nothing is under way. 0 here and below: for ever.
  int64_t idle_ns = 0;
  // From the first byte of a frame to its last.
  int64_t frame_ns = 0;
  // Since the peer has last taken any of what is sent.
  int64_t write_ns = 0;

  // INT64_MAX: there are none.
  int64_t shortest() const {
    int64_t shortest_ns = INT64_MAX;
    for (const int64_t ns : {idle_ns, frame_ns, write_ns}) {
      if (ns > 0) shortest_ns = std::min(shortest_ns, ns);
    }
    return shortest_ns;
  }
};

}  // namespace odradek
