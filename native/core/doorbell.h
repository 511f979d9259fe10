// Who wakes whom: the handshake between a consumer that sleeps and producers that leave work for
// it. One component for both directions of the crossing (processors ring the JavaScript thread,
// the JavaScript thread rings processors), without system calls and with the atomic type as a
// parameter, so that every interleaving of its steps can be explored.
//
// A producer makes its item visible, then rings; ring() says whether this producer has to wake
// the consumer, so a sleeping consumer is woken once, and an awake one never.
// The consumer calls awake(), takes all items, and asks trySleep(); if that refuses, somebody rang
// since awake(), and it looks again.
//
// No wake-up is lost: a ring is either before the consumer's awake() in the order of this one
// variable (then the exchange also makes the item visible to the look that follows), or after it
// (then trySleep() finds kRung, or comes first and ring() returns true).
#pragma once

#include <atomic>
#include <cstdint>

namespace odradek {

template <template <typename> class Atomic = std::atomic>
class BasicDoorbell {
 public:
  // Producers. True: the consumer sleeps and the caller alone must wake it.
  bool ring() { return state_.exchange(kRung) == kAsleep; }

  // Consumer: before it looks at what producers left.
  void awake() { state_.exchange(kAwake); }

  // Consumer: whether somebody has rung since awake(). Only a hint, for one that spins before it
  // sleeps: trySleep() decides.
  bool isRung() const { return state_.load(std::memory_order_relaxed) == kRung; }

  // Consumer: after it has looked. False: look again.
  bool trySleep() {
    uint32_t expected = kAwake;
    return state_.compare_exchange_strong(expected, kAsleep);
  }

 private:
  enum : uint32_t { kAwake, kAsleep, kRung };

  // A cache line of its own: producers write here while the consumer works on its own data.
  alignas(64) Atomic<uint32_t> state_{kAwake};
};

using Doorbell = BasicDoorbell<>;

}  // namespace odradek
