// Throttling a client, as Kafka does since KIP-219: its request is answered at once, and nothing of
// its connection is read before the throttle has ended.
#include "check.h"
#include "processor.h"

namespace odradek {

// Kafka's StartThrottlingResponse.
void Processor::applyThrottle(Channel& channel, const Command& command) {
  constexpr int64_t kNsPerMs = 1'000'000;
  counters_.throttles.add(1);
  times_.throttle.record(command.length * kNsPerMs, 1);
  const Throttle throttle = {.token = channel.place.token(),
                             .origin = command.origin,
                             .until_ns = clock_.now() + command.length * kNsPerMs,
                             .count = 1};
  // Of one that ends nothing more is read: what was received is answered without delay.
  const bool is_ending = channel.life != Channel::Life::kOpen || isDraining(channel);
  // Nor of one that has not been accepted: it has no request either.
  if (is_ending || channel.mute == MuteState::kMuted) return tellThrottleEnded(channel, throttle);
  if (!isThrottled(channel.mute)) startThrottle(channel);
  throttles_.add(throttle);
}

void Processor::startThrottle(Channel& channel) {
  counters_.throttled.add(1);
  // Beyond Kafka it may be read on while a request is in flight.
  if (channel.mute == MuteState::kNotMuted) {
    channel.mute = MuteState::kMuted;
    channel.on(MuteEvent::kRequestReceived);
  }
  channel.on(MuteEvent::kThrottleStarted);
  if (channel.outstanding < channel.max_in_flight) markCompletedSend(channel);
}

// Kafka's EndThrottlingResponse.
void Processor::endDueThrottles() {
  Throttle throttle;
  while (throttles_.takeDue(now_ns_, &throttle)) {
    Channel* channel = find(
        Place{static_cast<uint32_t>(throttle.token), static_cast<uint32_t>(throttle.token >> 32)});
    ODRADEK_REQUIRE(channel != nullptr);
    tellThrottleEnded(*channel, throttle);
    if (!throttles_.has(throttle.token)) endThrottle(*channel);
  }
}

// The connection, or the server, is about to end.
void Processor::endThrottles(Channel& channel) {
  if (!isThrottled(channel.mute)) return;
  Throttle throttle;
  while (throttles_.takeOf(channel.place.token(), &throttle)) tellThrottleEnded(channel, throttle);
  endThrottle(channel);
}

void Processor::endThrottle(Channel& channel) {
  counters_.throttled.subtract(1);
  channel.on(MuteEvent::kThrottleEnded);
  if (channel.mute == MuteState::kMuted) channel.mute = MuteState::kNotMuted;
  startClock(channel);
  markReady(channel);
}

// Whoever asked for it has requests that were received before, and begins none of them until then.
void Processor::tellThrottleEnded(const Channel& channel, const Throttle& throttle) {
  auto* event = new Event();
  event->kind = Event::Kind::kThrottleEnded;
  event->channel = channel.id;
  event->count = throttle.count;
  postTo(throttle.origin, event);
}

}  // namespace odradek
