// Connections that are closed for the others' sake: since their peers leave the server waiting for
// too long, or since there are too many.
//
// There is no timer for each: what happens on a connection only notes the time, and a sweep over
// all of them, as late as none can be due before it, finds those that are.
#include <algorithm>
#include <utility>
#include <vector>

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

// One that had stopped, or ran elsewhere, may be over at any time.
void Processor::clockGoesOn() {
  if (shortest_timeout_ns_ == INT64_MAX) return;
  sweepAt(now_ns_ + shortest_timeout_ns_ / kSweepsPerTimeout);
}

void Processor::sweepAt(int64_t due_ns) { sweep_due_ns_ = std::min(sweep_due_ns_, due_ns); }

// What the kernel took is what the peer has taken before. The peer is waited for from where the
// kernel is full to where it isn't: so long only it may be behind a rate, never ahead of it, and
// what it takes pays for a part of that.
void Processor::noteTaken(Channel& channel, uint64_t bytes, bool is_full) {
  const bool goes_on = channel.is_full && is_full;
  channel.is_full = is_full;
  if (bytes == 0 && goes_on == is_full) return;
  const bool has_rate = timeouts_.min_write_rate > 0;
  // What comes late in a turn is not behind by that.
  if (is_full && has_rate) now_ns_ = clock_.now();
  if (!goes_on || !has_rate) return startClock(channel);
  const int64_t paid_ns = Timeouts::worth(bytes, timeouts_.min_write_rate);
  channel.since_ns = std::min(channel.since_ns + paid_ns, now_ns_);
}

// What the peer has to do next; nothing while it is our turn.
Processor::Awaited Processor::awaitedOf(const Channel& channel) const {
  if (!channel.isLive()) return Awaited::kNothing;
  if (!channel.send.empty()) {
    return channel.is_writable ? Awaited::kNothing : Awaited::kRoomToWrite;
  }
  const bool is_ours = channel.outstanding > 0 || !canFrame(channel) || channel.is_halted ||
                       channel.is_readable || channel.is_ended || channel.waits_for_memory ||
                       isDraining(channel);
  if (is_ours) return Awaited::kNothing;
  return channel.receive.empty() ? Awaited::kRequest : Awaited::kRestOfFrame;
}

Wait Processor::waitOf(const Channel& channel) const {
  switch (awaitedOf(channel)) {
    case Awaited::kRequest:
      return timeouts_.forRequest();
    case Awaited::kRestOfFrame:
      return timeouts_.forRestOfFrame(channel.receive.heldBytes());
    case Awaited::kRoomToWrite:
      return timeouts_.forRoom();
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

void Processor::setTimeouts(const Timeouts& timeouts) {
  {
    std::lock_guard lock(connections_mutex_);
    asked_timeouts_ = timeouts;
    timeouts_asked_.store(true, std::memory_order_relaxed);
  }
  wakeUp();
}

void Processor::takeTimeouts() {
  if (!timeouts_asked_.load(std::memory_order_relaxed)) return;
  {
    std::lock_guard lock(connections_mutex_);
    timeouts_ = asked_timeouts_;
    timeouts_asked_.store(false, std::memory_order_relaxed);
  }
  shortest_timeout_ns_ = timeouts_.shortest();
  sweep_at_ns_ = 0;
  sweep_due_ns_ = shortest_timeout_ns_ == INT64_MAX ? INT64_MAX : now_ns_;
}

// A poll that has room left has told of everything; of those that are full so many tell of every
// connection, since a poller takes turns. One that was interrupted (-EINTR) tells nothing.
void Processor::noteSeen(int count) {
  if (count < 0) return;
  // A wake-up may have taken a place.
  const bool is_whole = count < kEventsPerPoll - 1;
  unseen_ -= is_whole ? unseen_ : std::min<uint64_t>(unseen_, static_cast<uint64_t>(count));
}

// The loop may have been kept away since its last poll (a thread is not run, a process is stopped,
// a loop takes its turns on a thread with other work): once a sweep is due it is polled again
// first, and the sweep's time is the one before that. What had come by then has been read.
void Processor::closeExpired() {
  const int64_t before_ns = std::exchange(looked_at_ns_, now_ns_);
  if (sweep_at_ns_ == 0) {
    if (now_ns_ < sweep_due_ns_) return;
    sweep_at_ns_ = now_ns_;
    away_ns_ = timeAway(before_ns);
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

// Time that no clock counts: a peer can't go on while the kernel is full and nobody is there to
// read. Some of it counts, or a loop that is always late would wait for ever.
int64_t Processor::timeAway(int64_t before_ns) const {
  const int64_t pause_ns = shortest_timeout_ns_ / kSweepsPerTimeout;
  if (now_ns_ - sweep_due_ns_ <= pause_ns) return 0;
  return std::max<int64_t>(now_ns_ - before_ns - 2 * pause_ns, 0);
}

void Processor::closeIfExpired(Channel& channel) {
  const Wait wait = waitOf(channel);
  if (wait.timeout_ns == 0) return;
  // A clock that has begun since is none of those.
  const int64_t since_ns = std::min(channel.since_ns + away_ns_, sweep_at_ns_);
  channel.since_ns = std::max(channel.since_ns, since_ns);
  const int64_t due_ns = channel.since_ns + wait.timeout_ns;
  if (due_ns > sweep_at_ns_) {
    // Those that are due soon after each other share a sweep.
    return sweepAt(std::max(due_ns, now_ns_ + shortest_timeout_ns_ / kSweepsPerTimeout));
  }
  counters_.expired.add(1);
  const bool is_stuck = awaitedOf(channel) == Awaited::kRoomToWrite;
  if (is_stuck) return fail(channel, wait.reason, 0);
  beginClose(channel, wait.reason);
}

// --- Too many ----------------------------------------------------------------------------------

// Kafka's lowestPriorityChannel: those that are closing already, then those that have been quiet
// for longest, on listeners that are not protected. (Kafka cuts one a turn; ours end in order.)
void Processor::evictExcess() {
  std::vector<Channel*> candidates;
  for (auto& channel : slots_) {
    const bool may_go = channel != nullptr && channel->fd >= 0 && !channel->is_excess &&
                        channel->admission().isGiven() && !quotas_.isProtected(channel->listener);
    if (may_go) candidates.push_back(channel.get());
  }
  const auto rank = [this](const Channel* channel) {
    if (channel->life != Channel::Life::kOpen) return 0;
    return awaitedOf(*channel) == Awaited::kRequest ? 1 : 2;
  };
  std::ranges::stable_sort(candidates, [&](const Channel* one, const Channel* other) {
    return std::pair(rank(one), one->since_ns) < std::pair(rank(other), other->since_ns);
  });
  candidates.resize(quotas_.takeExcess(static_cast<uint32_t>(candidates.size())));
  for (Channel* channel : candidates) {
    channel->is_excess = true;
    counters_.evicted.add(1);
    beginClose(*channel, CloseReason::kTooManyConnections);
  }
}

}  // namespace odradek
