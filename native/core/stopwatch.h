// For how long something has gone on, in all: one thread begins and ends it, any thread looks.
#pragma once

#include <atomic>
#include <cstdint>

#include "clock.h"
#include "counter.h"

namespace odradek {

class Stopwatch {
 public:
  // Nothing where it goes on already.
  void begin(int64_t now_ns) {
    if (since_ns_.load(std::memory_order_relaxed) >= 0) return;
    since_ns_.store(now_ns, std::memory_order_relaxed);
    times_.add(1);
  }
  void end(int64_t now_ns) {
    const int64_t since_ns = since_ns_.load(std::memory_order_relaxed);
    if (since_ns < 0) return;
    total_ns_.add(static_cast<uint64_t>(now_ns - since_ns));
    since_ns_.store(-1, std::memory_order_relaxed);
  }
  bool isRunning() const { return since_ns_.load(std::memory_order_relaxed) >= 0; }
  // Any thread. Times it has begun.
  uint64_t times() const { return times_.value(); }
  int64_t totalNs(Clock& clock) const {
    const int64_t since_ns = since_ns_.load(std::memory_order_relaxed);
    const auto total_ns = static_cast<int64_t>(total_ns_.value());
    return since_ns < 0 ? total_ns : total_ns + clock.now() - since_ns;
  }

 private:
  Counter times_, total_ns_;
  // Below 0: nothing goes on.
  std::atomic<int64_t> since_ns_{-1};
};

}  // namespace odradek
