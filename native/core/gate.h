// A way that is seldom closed: who goes through says so, at the price of two atomic steps, and who
// closes it waits until nobody is on it any more. Neither sleeps; with the atomic type as a
// parameter, so that every interleaving of its steps can be explored.
//
// One variable, so that its order decides: an enter() is before the close(), which then counts it,
// or after it, and fails.
#pragma once

#include <atomic>
#include <cstdint>

namespace odradek {

template <template <typename> class Atomic = std::atomic>
class BasicGate {
 public:
  // Any thread. True: leave() is to follow. False: closed.
  bool enter() {
    if ((state_.fetch_add(1, std::memory_order_acquire) & kClosed) == 0) return true;
    leave();
    return false;
  }
  void leave() { state_.fetch_sub(1, std::memory_order_release); }

  // One thread at a time, where it is open, and where it is closed.
  void close() { state_.fetch_add(kClosed, std::memory_order_relaxed); }
  void open() { state_.fetch_sub(kClosed, std::memory_order_release); }

  // After close(): until those are through who have entered before. What they did is visible then.
  template <typename Yield>
  void awaitEmpty(Yield yield) {
    while (state_.fetch_add(0, std::memory_order_acquire) != kClosed) yield();
  }

 private:
  static constexpr uint32_t kClosed = 1u << 31;

  alignas(64) Atomic<uint32_t> state_{0};
};

using Gate = BasicGate<>;

}  // namespace odradek
