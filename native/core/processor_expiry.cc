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
  if (shortest_timeout_ns_ != INT64_MAX) sweepAt(now_ns_ + shortest_timeout_ns_);
}

void Processor::sweepAt(int64_t due_ns) { sweep_due_ns_ = std::min(sweep_due_ns_, due_ns); }

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

// What the peer has to do next; nothing while it is our turn.
Processor::Awaited Processor::awaitedOf(const Channel& channel) const {
  if (!channel.isLive()) return Awaited::kNothing;
  if (!channel.send.empty()) {
    return channel.is_writable ? Awaited::kNothing : Awaited::kRoomToWrite;
  }
  const bool is_ours = channel.outstanding > 0 || !canFrame(channel) || channel.is_halted ||
                       channel.is_readable || channel.is_ended || draining_;
  if (is_ours) return Awaited::kNothing;
  return channel.receive.empty() ? Awaited::kRequest : Awaited::kRestOfFrame;
}

Processor::Wait Processor::waitOf(const Channel& channel) const {
  const Timeouts& timeouts = options_.timeouts;
  switch (awaitedOf(channel)) {
    case Awaited::kRequest:
      return {timeouts.idle_ns, CloseReason::kIdleTimeout};
    case Awaited::kRestOfFrame:
      return {timeouts.frame_ns, CloseReason::kFrameTimeout};
    case Awaited::kRoomToWrite:
      return {timeouts.write_ns, CloseReason::kWriteTimeout};
    case Awaited::kNothing:
      break;
  }
  return {};
}

void Processor::closeIdle() {
  close_idle_asked_.store(true, std::memory_order_release);
  wakeUp();
}

void Processor::closeIdleIfAsked() {
  if (!close_idle_asked_.load(std::memory_order_relaxed)) return;
  if (!close_idle_asked_.exchange(false, std::memory_order_acquire)) return;
  for (auto& channel : slots_) {
    const bool is_idle = channel != nullptr && awaitedOf(*channel) == Awaited::kRequest;
    if (is_idle) beginClose(*channel, CloseReason::kClosedByService);
  }
}

// A poll that has room left has told of everything; of those that are full so many tell of every
// connection, since a poller takes turns. One that was interrupted (-EINTR) tells nothing.
void Processor::noteSeen(int count) {
  if (count < 0) return;
  // A wake-up may have taken a place.
  const bool is_whole = count < kEventsPerPoll - 1;
  unseen_ -= is_whole ? unseen_ : std::min<uint64_t>(unseen_, static_cast<uint64_t>(count));
}

// The loop may have been kept away since its last poll (a thread is not run, a process is stopped):
// once a sweep is due it is polled again first, and the sweep's time is the one before that. What
// had come by then has been read.
void Processor::closeExpired() {
  if (sweep_at_ns_ == 0) {
    if (now_ns_ < sweep_due_ns_) return;
    sweep_at_ns_ = now_ns_;
    unseen_ = counters_.connections.value() + 1;
    return;
  }
  if (unseen_ > 0) return;
  sweep_due_ns_ = INT64_MAX;
  for (auto& channel : slots_) {
    if (channel != nullptr) closeIfExpired(*channel);
  }
  sweep_at_ns_ = 0;
}

void Processor::closeIfExpired(Channel& channel) {
  const Wait wait = waitOf(channel);
  if (wait.timeout_ns == 0) return;
  const int64_t due_ns = channel.since_ns + wait.timeout_ns;
  if (due_ns > sweep_at_ns_) {
    // Those that are due soon after each other share a sweep.
    return sweepAt(std::max(due_ns, now_ns_ + shortest_timeout_ns_ / kSweepsPerTimeout));
  }
  counters_.expired.add(1);
  if (wait.reason == CloseReason::kWriteTimeout) return fail(channel, wait.reason, 0);
  beginClose(channel, wait.reason);
}

}  // namespace odradek
