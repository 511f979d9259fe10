// Kafka's ChannelMuteState (KafkaChannel.java): whether a connection is read, and what has to
// happen before it is read again. One request batch of a connection is in work at any time.
#pragma once

#include <cstdint>

namespace odradek {

enum class MuteState : uint8_t {
  kNotMuted,
  kMuted,
  kMutedAndResponsePending,
  kMutedAndThrottled,
  kMutedAndThrottledAndResponsePending,
};

enum class MuteEvent : uint8_t {
  kRequestReceived,
  kResponseSent,
  kThrottleStarted,
  kThrottleEnded,
};

// The state that follows; aborts where the table has no such transition.
MuteState afterEvent(MuteState state, MuteEvent event);

// Whether the table has the transition.
bool isLegal(MuteState state, MuteEvent event);

}  // namespace odradek
