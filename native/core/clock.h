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

}  // namespace odradek
