// Kafka's ChannelMuteState (KafkaChannel.java): whether a connection is read, and what has to
// happen before it is read again. A batch of a connection's requests is
// in work at any time; beyond Kafka, one that may have several in flight is muted at that many.
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

constexpr bool isThrottled(MuteState state) {
  return state == MuteState::kMutedAndThrottled ||
         state == MuteState::kMutedAndThrottledAndResponsePending;
}

constexpr bool isResponsePending(MuteState state) {
  return state == MuteState::kMutedAndResponsePending ||
         state == MuteState::kMutedAndThrottledAndResponsePending;
}

}  // namespace odradek
