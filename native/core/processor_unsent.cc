// What peers have not taken of what they asked for, and whom the processor closes where that is too
// much: see UnsentBytes.
#include <algorithm>
#include <utility>
#include <vector>

#include "processor.h"

namespace odradek {

// Any thread.
void Processor::tooMuchUnsent() {
  shed_asked_.store(true, std::memory_order_relaxed);
  wakeUp();
}

void Processor::tellUnsent() { unsent_.add(*this, std::exchange(unsent_change_, 0)); }

// Nothing of it leaves any more.
void Processor::dropUnsent(Channel& channel) {
  unsent_change_ -= static_cast<int64_t>(channel.send.unsentBytes());
  Segment segment;
  while (channel.send.popAny(&segment)) settle(channel, segment, false);
}

// Those that owe most, until it is no more than allowed; what others have they are asked for.
void Processor::shedIfAsked() {
  if (!shed_asked_.load(std::memory_order_relaxed)) return;
  shed_asked_.store(false, std::memory_order_relaxed);
  tellUnsent();
  std::vector<std::pair<size_t, Channel*>> debtors;
  for (auto& channel : slots_) {
    if (channel == nullptr || !channel->isLive()) continue;
    const size_t bytes = channel->send.unsentBytes();
    if (bytes > 0) debtors.emplace_back(bytes, channel.get());
  }
  std::ranges::sort(debtors, std::ranges::greater(), &std::pair<size_t, Channel*>::first);
  for (const auto& [bytes, channel] : debtors) {
    if (unsent_.excess() <= 0) return;
    counters_.shed.add(1);
    fail(*channel, CloseReason::kTooManyUnsentBytes, 0);
    tellUnsent();
  }
  unsent_.check();
}

}  // namespace odradek
