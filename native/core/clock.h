// Time, as a seam: a simulation moves it by hand.
#pragma once

#include <cstdint>

namespace odradek {

class Clock {
 public:
  // Monotonic nanoseconds.
  virtual int64_t now() = 0;

 protected:
  ~Clock() = default;
};

// Rounded up: when that many milliseconds are over, so are the nanoseconds.
inline int64_t toMs(int64_t ns) {
  constexpr int64_t kNsPerMs = 1'000'000;
  return (ns + kNsPerMs - 1) / kNsPerMs;
}

}  // namespace odradek
