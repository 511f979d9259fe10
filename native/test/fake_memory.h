// Memory that counts what is out, and refuses on demand. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "../core/memory.h"

namespace odradek::test {

class FakeMemory final : public Memory {
 public:
  void* allocate(size_t bytes) override {
    if (refuses_.load() && granted_before_refusal_.fetch_sub(1) <= 0) {
      refusals++;
      return nullptr;
    }
    // With the size in front of it, so that release() can check it.
    auto* memory = static_cast<uint64_t*>(std::malloc(bytes + kHeaderBytes));
    *memory = bytes;
    live++;
    live_bytes += bytes;
    allocations++;
    return memory + kHeaderBytes / sizeof(uint64_t);
  }

  void release(void* memory, size_t bytes) override {
    auto* start = static_cast<uint64_t*>(memory) - kHeaderBytes / sizeof(uint64_t);
    if (*start != bytes) std::abort();
    live--;
    live_bytes -= *start;
    std::free(start);
  }

  int64_t tidyDueNs() const override { return tidy_due_ns; }
  void tidy(int64_t now_ns) override {
    if (now_ns >= tidy_due_ns) tidy_due_ns = INT64_MAX;
  }
  void letGo() override { has_let_go = true; }

  // Grants this many more allocations, then refuses all until allow().
  void refuseAfter(int64_t granted) {
    granted_before_refusal_ = granted;
    refuses_ = true;
  }
  void allow() { refuses_ = false; }

  std::atomic<int64_t> live{0};
  std::atomic<uint64_t> live_bytes{0};
  std::atomic<uint64_t> allocations{0};
  std::atomic<uint64_t> refusals{0};
  std::atomic<int64_t> tidy_due_ns{INT64_MAX};
  std::atomic<bool> has_let_go{false};

 private:
  static constexpr size_t kHeaderBytes = 16;

  std::atomic<bool> refuses_{false};
  std::atomic<int64_t> granted_before_refusal_{0};
};

}  // namespace odradek::test
