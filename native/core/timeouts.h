// How long a peer may leave a connection waiting for it, and how slow it may be. Kafka has the
// first alone (connections.max.idle.ms, its IdleExpiryManager).
//
// The clocks are the peer's: they stop while the server itself doesn't read from the connection or
// has a request of it, so nobody is closed for what the server is late with (Kafka does that).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "close_reason.h"

namespace odradek {

// For how long a peer is waited for, and why the connection is closed then.
struct Wait {
  int64_t timeout_ns = 0;  // 0: for ever
  CloseReason reason = CloseReason::kNone;
};

struct Timeouts {
  // Nothing is under way. 0 here and below: for ever.
  int64_t idle_ns = 0;
  // From the first byte of a frame to its last.
  int64_t frame_ns = 0;
  // Since the peer has last taken any of what is sent.
  int64_t write_ns = 0;

  // The fewest bytes a second of a frame that comes, and of what is taken while some has to wait.
  // 0: any. Kestrel's MinRequestBodyDataRate and MinResponseDataRate.
  int64_t min_read_rate = 0;
  int64_t min_write_rate = 0;
  // How far behind its rate a peer may be; above 0 where there is one.
  int64_t grace_ns = 0;

  // INT64_MAX: there are none.
  int64_t shortest() const {
    int64_t shortest_ns = INT64_MAX;
    const bool has_rate = min_read_rate > 0 || min_write_rate > 0;
    for (const int64_t ns : {idle_ns, frame_ns, write_ns, has_rate ? grace_ns : 0}) {
      if (ns > 0) shortest_ns = std::min(shortest_ns, ns);
    }
    return shortest_ns;
  }

  Wait forRequest() const { return {idle_ns, CloseReason::kIdleTimeout}; }

  // So many bytes of the frame are here.
  Wait forRestOfFrame(size_t bytes) const {
    const Wait whole = {frame_ns, CloseReason::kFrameTimeout};
    if (min_read_rate == 0) return whole;
    const Wait slow = {grace_ns + worth(bytes, min_read_rate), CloseReason::kReadTooSlow};
    return frame_ns > 0 && frame_ns <= slow.timeout_ns ? whole : slow;
  }

  // Since the moment up to which it has paid: at a rate, who takes nothing is too slow, too.
  Wait forRoom() const {
    if (min_write_rate == 0) return {write_ns, CloseReason::kWriteTimeout};
    const int64_t behind_ns = write_ns > 0 ? std::min(write_ns, grace_ns) : grace_ns;
    return {behind_ns, CloseReason::kWriteTooSlow};
  }

  // The time for which these bytes are enough.
  static int64_t worth(size_t bytes, int64_t rate) {
    constexpr int64_t kSecond = 1'000'000'000;
    return static_cast<int64_t>(bytes) * kSecond / rate;
  }
};

}  // namespace odradek
