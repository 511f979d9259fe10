// Kafka's table (KafkaChannel.java), whole: each pair of state and event is here.
#include "../core/mute_state.h"

#include <gtest/gtest.h>

#include <optional>

namespace odradek {
namespace {

constexpr auto kNotMuted = MuteState::kNotMuted;
constexpr auto kMuted = MuteState::kMuted;
constexpr auto kPending = MuteState::kMutedAndResponsePending;
constexpr auto kThrottled = MuteState::kMutedAndThrottled;
constexpr auto kBoth = MuteState::kMutedAndThrottledAndResponsePending;

struct Case {
  MuteState from;
  MuteEvent event;
  std::optional<MuteState> to;
};

constexpr Case kTable[] = {
    {kNotMuted, MuteEvent::kRequestReceived, {}},
    {kNotMuted, MuteEvent::kResponseSent, {}},
    {kNotMuted, MuteEvent::kThrottleStarted, {}},
    {kNotMuted, MuteEvent::kThrottleEnded, {}},
    {kMuted, MuteEvent::kRequestReceived, kPending},
    {kMuted, MuteEvent::kResponseSent, {}},
    {kMuted, MuteEvent::kThrottleStarted, {}},
    {kMuted, MuteEvent::kThrottleEnded, {}},
    {kPending, MuteEvent::kRequestReceived, {}},
    {kPending, MuteEvent::kResponseSent, kMuted},
    {kPending, MuteEvent::kThrottleStarted, kBoth},
    {kPending, MuteEvent::kThrottleEnded, {}},
    {kThrottled, MuteEvent::kRequestReceived, {}},
    {kThrottled, MuteEvent::kResponseSent, {}},
    {kThrottled, MuteEvent::kThrottleStarted, {}},
    {kThrottled, MuteEvent::kThrottleEnded, kMuted},
    {kBoth, MuteEvent::kRequestReceived, {}},
    {kBoth, MuteEvent::kResponseSent, kThrottled},
    {kBoth, MuteEvent::kThrottleStarted, {}},
    {kBoth, MuteEvent::kThrottleEnded, kPending},
};

TEST(MuteState, LegalTransitionsLeadWhereKafkasDo) {
  for (const Case& row : kTable) {
    EXPECT_EQ(isLegal(row.from, row.event), row.to.has_value())
        << static_cast<int>(row.from) << " on " << static_cast<int>(row.event);
    if (row.to) {
      EXPECT_EQ(afterEvent(row.from, row.event), *row.to);
    }
  }
}

TEST(MuteStateDeathTest, AnIllegalTransitionIsFatal) {
  for (const Case& row : kTable) {
    if (!row.to) {
      EXPECT_DEATH(afterEvent(row.from, row.event), "broken: transition != nullptr");
    }
  }
}

}  // namespace
}  // namespace odradek
