// Memory for frames and replies, as a seam: a test or a simulation refuses it. Refused memory
// ends one connection, never the process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace odradek {

class Memory {
 public:
  // Any thread. Null where memory is refused.
  virtual void* allocate(size_t bytes) = 0;
  // Any thread. `bytes` is what it was allocated with.
  virtual void release(void* memory, size_t bytes) = 0;

  // What was released may be kept for later use. Any thread: lets go of what has lain unused, from
  // tidyDueNs() on (Clock; INT64_MAX: not before the next allocation).
  virtual int64_t tidyDueNs() const { return INT64_MAX; }
  virtual void tidy(int64_t now_ns) { (void)now_ns; }
  // Any thread: lets go of everything, since nobody may come to tidy().
  virtual void letGo() {}

 protected:
  ~Memory() = default;
};

}  // namespace odradek
