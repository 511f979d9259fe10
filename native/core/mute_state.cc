#include "mute_state.h"

#include "check.h"

namespace odradek {
namespace {

struct Transition {
  MuteState from;
  MuteEvent event;
  MuteState to;
};

constexpr Transition kTransitions[] = {
    {MuteState::kMuted, MuteEvent::kRequestReceived, MuteState::kMutedAndResponsePending},
    {MuteState::kMutedAndResponsePending, MuteEvent::kResponseSent, MuteState::kMuted},
    {MuteState::kMutedAndThrottledAndResponsePending, MuteEvent::kResponseSent,
     MuteState::kMutedAndThrottled},
    {MuteState::kMutedAndResponsePending, MuteEvent::kThrottleStarted,
     MuteState::kMutedAndThrottledAndResponsePending},
    {MuteState::kMutedAndThrottled, MuteEvent::kThrottleEnded, MuteState::kMuted},
    {MuteState::kMutedAndThrottledAndResponsePending, MuteEvent::kThrottleEnded,
     MuteState::kMutedAndResponsePending},
};

const Transition* find(MuteState state, MuteEvent event) {
  for (const Transition& transition : kTransitions) {
    if (transition.from == state && transition.event == event) return &transition;
  }
  return nullptr;
}

}  // namespace

bool isLegal(MuteState state, MuteEvent event) { return find(state, event) != nullptr; }

MuteState afterEvent(MuteState state, MuteEvent event) {
  const Transition* transition = find(state, event);
  ODRADEK_REQUIRE(transition != nullptr);
  return transition->to;
}

}  // namespace odradek
