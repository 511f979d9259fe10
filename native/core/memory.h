// Memory for frames and replies, as a seam: a test or a simulation refuses it. Refused memory
// ends one connection, never the process.
#pragma once

#include <cstddef>

namespace odradek {

class Memory {
 public:
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;

 protected:
  ~Memory() = default;
};

// malloc and free. Has no destructor, so that threads may use it while the process exits.
Memory& systemMemory();

}  // namespace odradek
