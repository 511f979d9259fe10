// Connections whose peers leave the server waiting for too long. There is no timer for each: what
// happens on a connection only notes the time, and a sweep over all of them, as late as none can be
// due before it, finds those that are.
#include <algorithm>

#include "bounds.h"
#include "processor.h"

namespace odradek {

// What the peer is waited for begins, or goes on.
void Processor::startClock(Channel& channel) {
  // One that lingers has a time of its own.
  if (!channel.isLive()) return;
  channel.since_ns = now_ns_;
  sweepBy(shortest_timeout_ns_);
}

// `in_ns` from now; INT64_MAX: there is no reason to.
void Processor::sweepBy(int64_t in_ns) {
  if (in_ns != INT64_MAX) sweep_due_ns_ = std::min(sweep_due_ns_, now_ns_ + in_ns);
}

// A loop that takes its turns on a thread with other work may come late to bytes that were there in
// time: once, their frame gets its time anew.
void Processor::noteFrameBytes(Channel& channel) {
  if (channel.receive.empty()) {
    channel.has_grace = options_.sleeps_elsewhere;
    return startClock(channel);
  }
  if (!channel.has_grace || now_ns_ - channel.since_ns < options_.timeouts.frame_ns) return;
  channel.has_grace = false;
  startClock(channel);
}

Processor::Wait Processor::waitOf(const Channel& channel) const {
  const Timeouts& timeouts = options_.timeouts;
  if (!channel.isLive()) return {};
  if (!channel.send.empty()) {
    // A connection that could be written to is our own work.
    if (channel.is_writable) return {};
    return {timeouts.write_ns, CloseReason::kWriteTimeout};
  }
  const bool is_ours = channel.outstanding > 0 || !canFrame(channel) || channel.is_halted ||
                       channel.is_readable || channel.is_ended || draining_;
  if (is_ours) return {};
  if (channel.receive.empty()) return {timeouts.idle_ns, CloseReason::kIdleTimeout};
  return {timeouts.frame_ns, CloseReason::kFrameTimeout};
}

void Processor::closeExpired() {
  if (now_ns_ < sweep_due_ns_) return;
  sweep_due_ns_ = INT64_MAX;
  for (auto& channel : slots_) {
    if (channel != nullptr) closeIfExpired(*channel);
  }
}

void Processor::closeIfExpired(Channel& channel) {
  const Wait wait = waitOf(channel);
  if (wait.timeout_ns == 0) return;
  const int64_t left_ns = channel.since_ns + wait.timeout_ns - now_ns_;
  // Those that are due soon after each other share a sweep.
  if (left_ns > 0) return sweepBy(std::max(left_ns, shortest_timeout_ns_ / kSweepsPerTimeout));
  counters_.expired.add(1);
  if (wait.reason == CloseReason::kWriteTimeout) return fail(channel, wait.reason, 0);
  beginClose(channel, wait.reason);
}

}  // namespace odradek
