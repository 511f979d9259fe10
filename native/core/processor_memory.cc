// Memory for what a processor reads: see MemoryPool. A connection for whose next bytes there is
// none is not read until there is, longest waiting first.
#include <algorithm>
#include <utility>

#include "bounds.h"
#include "processor.h"

namespace odradek {

// For how many bytes there is memory that this connection may read now.
int64_t Processor::findMemory(Channel& channel) {
  if (memory_balance_ <= 0) memory_balance_ += memory_pool_.take(*this, kMemoryQuantum);
  if (memory_balance_ > 0 || !isOverdrawing(channel)) return memory_balance_;
  const auto most = static_cast<int64_t>(mostBytesOf(*channel.framing));
  const auto needed = static_cast<int64_t>(channel.receive.neededBytes());
  const auto held = static_cast<int64_t>(channel.receive.heldBytes());
  const int64_t rest = std::max<int64_t>((needed > 0 ? needed : most) - held, 1);
  memory_balance_ += memory_pool_.overdraw(*this, rest, most);
  return memory_balance_;
}

void Processor::awaitMemory(Channel& channel) {
  channel.waits_for_memory = true;
  counters_.waiting_for_memory.add(1);
  if (isOverdrawing(channel)) {
    overdrawing_.since_ns = now_ns_;
    return;
  }
  if (!channel.receive.empty()) may_overdraw_ = true;
  dropStaleMemoryWaiters();
  memory_waiters_.push({channel.place, now_ns_});
}

void Processor::dropStaleMemoryWaiters() {
  if (!isMostlyStale(memory_waiters_.size(), counters_.waiting_for_memory)) return;
  memory_waiters_.eraseIf(
      [this](const Waiter& waiter) { return findMemoryWaiter(waiter) == nullptr; });
}

Channel* Processor::findMemoryWaiter(const Waiter& waiter) {
  Channel* channel = find(waiter.place);
  return channel != nullptr && channel->waits_for_memory ? channel : nullptr;
}

void Processor::leaveMemoryWaiters(Channel& channel) {
  if (!channel.waits_for_memory) return;
  channel.waits_for_memory = false;
  counters_.waiting_for_memory.subtract(1);
}

void Processor::readAgain(Channel& channel, int64_t since_ns) {
  leaveMemoryWaiters(channel);
  // The wait was ours: the peer's clock goes on where it stopped. It doesn't begin anew, or one
  // that sends a byte now and then would keep its part of a frame for ever.
  channel.since_ns += now_ns_ - since_ns;
  clockGoesOn();
  if (canRead(channel)) read(channel);
  finishIfDone(channel);
}

void Processor::serveMemoryWaiters() {
  if (memory_granted_.load(std::memory_order_relaxed)) {
    memory_granted_.store(false, std::memory_order_relaxed);
    memory_balance_ += memory_pool_.collect(*this);
    may_overdraw_ = true;
    // Where it stands at the bottom it is not tried before there is more.
    Channel* overdrawing = is_overdrawing_ ? findMemoryWaiter(overdrawing_) : nullptr;
    if (overdrawing != nullptr) readAgain(*overdrawing, overdrawing_.since_ns);
  }
  while (!memory_waiters_.empty()) {
    if (memory_balance_ <= 0) memory_balance_ += memory_pool_.take(*this, kMemoryQuantum);
    if (memory_balance_ <= 0) break;
    const Waiter waiter = memory_waiters_.pop();
    if (Channel* channel = findMemoryWaiter(waiter); channel != nullptr) {
      readAgain(*channel, waiter.since_ns);
    }
  }
  // The loop may sleep before this turn ends.
  balanceMemory();
}

// What was settled or not used in this turn: others may wait for it.
void Processor::giveMemory() { memory_pool_.give(std::exchange(memory_balance_, 0)); }

// --- Overdrawing -------------------------------------------------------------------------------

bool Processor::isOverdrawing(const Channel& channel) const {
  return is_overdrawing_ && channel.place.token() == overdrawing_.place.token();
}

// The end of a turn. A frame that is whole, or whose bytes don't come, lets another go on.
void Processor::balanceMemory() {
  giveMemory();
  if (is_overdrawing_) {
    const Channel* channel = find(overdrawing_.place);
    const bool goes_on = channel != nullptr && channel->next_sequence == overdrawing_sequence_ &&
                         channel->is_readable && !channel->is_halted && canFrame(*channel);
    if (goes_on) return;
    is_overdrawing_ = false;
    if (channel != nullptr && channel->waits_for_memory) memory_waiters_.push(overdrawing_);
    memory_pool_.passOn(*this);
    may_overdraw_ = true;
  }
  if (std::exchange(may_overdraw_, false)) beginOverdrawing();
}

// The oldest that has a part of a frame, if it is this processor's turn.
void Processor::beginOverdrawing() {
  for (size_t i = 0; i < memory_waiters_.size(); i++) {
    Waiter& waiter = memory_waiters_.at(i);
    const Channel* channel = findMemoryWaiter(waiter);
    const bool has_part = channel != nullptr && !channel->receive.empty() && canFrame(*channel);
    if (!has_part) continue;
    if (!memory_pool_.askToOverdraw(*this)) return;
    is_overdrawing_ = true;
    overdrawing_ = std::exchange(waiter, Waiter());
    overdrawing_sequence_ = channel->next_sequence;
    // The next turn, which comes at once.
    memory_granted_.store(true, std::memory_order_relaxed);
    return;
  }
  // Nobody here has a use for it.
  memory_pool_.passOn(*this);
}

void Processor::memoryGranted() {
  memory_granted_.store(true, std::memory_order_relaxed);
  wakeUp();
}

}  // namespace odradek
