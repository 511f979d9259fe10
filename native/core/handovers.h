// Where the connections are that one processor has handed over to another. A connection keeps its
// id for life, so nobody who knows it by that has to learn anything: its requests and events name
// the processor that opened it, and commands are brought to the one that has it now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "channel.h"
#include "request.h"
#include "throttles.h"

namespace odradek {

class Processor;

// Connections on their way to a processor, each as the one before has left it.
struct Handover {
  std::vector<std::unique_ptr<Channel>> channels;
  // Of these, by their ids.
  std::vector<std::pair<ChannelId, Throttle>> throttles;
};

struct ChannelIdHash {
  size_t operator()(const ChannelId& id) const {
    const uint64_t mixed = (uint64_t{id.generation} << 32 | id.slot) * 0x9e3779b97f4a7c15;
    return static_cast<size_t>(mixed ^ (mixed >> 29)) + id.processor;
  }
};

// Shared by the processors of a server.
struct Handovers {
  // Held while connections change hands, and while commands are brought to such as did: so all
  // that one thread gives for a connection arrives in order, whoever has it meanwhile.
  std::mutex mutex;
  // Of each open connection that isn't with the processor that opened it, or was away from it.
  std::unordered_map<ChannelId, Processor*, ChannelIdHash> owners;
};

}  // namespace odradek
