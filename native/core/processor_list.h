// The processors of a server, as its threads see them: there may be more of them at any time, and
// never fewer. One that has left stays, for what is still sent to it, until it comes back.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "bounds.h"
#include "check.h"

namespace odradek {

class Processor;

class ProcessorList {
 public:
  // The server's own thread.
  void add(Processor* processor) {
    const uint32_t size = size_.load(std::memory_order_relaxed);
    ODRADEK_REQUIRE(size < kMaxProcessors);
    processors_[size] = processor;
    size_.store(size + 1, std::memory_order_release);
  }

  // Any thread.
  size_t size() const { return size_.load(std::memory_order_acquire); }
  Processor* operator[](size_t index) const { return processors_[index]; }
  Processor* const* begin() const { return processors_.data(); }
  Processor* const* end() const { return processors_.data() + size(); }

  // Before any other thread knows of it.
  void clear() { size_.store(0, std::memory_order_relaxed); }

 private:
  std::array<Processor*, kMaxProcessors> processors_{};
  std::atomic<uint32_t> size_{0};
};

}  // namespace odradek
