// Mapped memory that is kept for later use, so that large frames don't pay for new pages each
// time; and no longer than the traffic of the moment needs it. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace odradek {

struct Mapping {
  void* memory = nullptr;
  size_t pages = 0;
};

class SpareMappings {
 public:
  // The largest that is kept.
  static constexpr size_t kMostPages = 1024;

  // Keeps so many pages at most.
  explicit SpareMappings(size_t capacity) : capacity_(capacity) {}
  SpareMappings(const SpareMappings&) = delete;
  SpareMappings& operator=(const SpareMappings&) = delete;

  // Memory of that size, or null where none is kept.
  void* take(size_t pages, int64_t now_ns);

  // False: it is not kept. Enough others are, or nobody has asked for any lately.
  bool give(const Mapping& mapping, int64_t now_ns);

  // Takes out what was not needed for a while, but no more than `most` at a time; how many.
  size_t takeUnneeded(int64_t now_ns, Mapping* mappings, size_t most);

  // Takes out whatever is kept, in the same way.
  size_t takeAny(Mapping* mappings, size_t most);

  // When takeUnneeded() has something to do; INT64_MAX where nothing is kept, nor will be before
  // somebody asks for it.
  int64_t dueNs() const { return due_ns_.load(std::memory_order_relaxed); }

 private:
  // Stands in the kept memory itself.
  struct Spare {
    Spare* next = nullptr;
  };

  // Those of one size.
  struct Class {
    Spare* first = nullptr;
    uint32_t count = 0;
    // The fewest that there were in the time of kSpareNs: so many are not needed.
    uint32_t fewest = 0;
  };

  void* pop(size_t pages);
  bool isAsked(int64_t now_ns) const;

  const size_t capacity_;
  std::mutex mutex_;
  std::array<Class, kMostPages + 1> classes_;
  size_t kept_pages_ = 0;
  // Nothing is kept from here on, unless somebody asks again.
  int64_t asked_until_ns_ = INT64_MIN;
  std::atomic<int64_t> due_ns_{INT64_MAX};
};

}  // namespace odradek
