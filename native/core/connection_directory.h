// What a handler thread may ask about a connection that it meets: where it came from, and by what
// framing it is answered. One of each processor, which keeps it; asked once for each connection
// and thread, and after each change of framing.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "close_reason.h"
#include "framing.h"
#include "request.h"
#include "socket_ops.h"

namespace odradek {

struct ConnectionInfo {
  uint32_t listener = 0;
  uint32_t index = 0;
  Endpoint local;
  Endpoint remote;
  // Unless it is still the listener's.
  std::optional<Framing> framing;
  // Why it is closed, where what was not begun needs no handler any more.
  CloseReason cut = CloseReason::kNone;
};

class ConnectionDirectory {
 public:
  // The processor's thread.
  void add(const ChannelId& channel, ConnectionInfo info);
  void setFraming(const ChannelId& channel, const Framing& framing);
  void cut(const ChannelId& channel, CloseReason reason);
  void remove(const ChannelId& channel);

  // Any thread. Nothing: the connection is gone.
  std::optional<ConnectionInfo> find(const ChannelId& channel) const;

 private:
  struct Entry {
    uint32_t generation = 0;
    std::optional<ConnectionInfo> info;
  };

  // With the lock.
  ConnectionInfo* infoOf(const ChannelId& channel);

  mutable std::mutex mutex_;
  // By slot.
  std::vector<Entry> entries_;
};

}  // namespace odradek
