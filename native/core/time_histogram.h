// How long something took, each time it happened: counts in buckets whose width grows with the
// time, as HdrHistogram's. One thread records, any reads; nothing is allocated and nothing locked.
//
// A bucket is 1 us wide up to 32 us, and from there at most a sixteenth of its times. The buckets
// of TypeScript are the same: src/time-histogram.ts.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "counter.h"

namespace odradek {

// Buckets for each doubling of the time, as a power of two.
inline constexpr uint32_t kTimeBits = 4;
// 71 minutes: what took longer counts as this, in its bucket alone.
inline constexpr uint64_t kMostTimeUs = UINT32_MAX;

constexpr uint32_t timeBucketOf(uint64_t us) {
  constexpr uint32_t kExactBits = kTimeBits + 1;
  const auto capped = static_cast<uint32_t>(std::min(us, kMostTimeUs));
  const auto width = static_cast<uint32_t>(std::bit_width(capped));
  const uint32_t shift = width > kExactBits ? width - kExactBits : 0;
  return (shift << kTimeBits) + (capped >> shift);
}

inline constexpr uint32_t kTimeBuckets = timeBucketOf(kMostTimeUs) + 1;

class TimeHistogram {
 public:
  // `count` things that took `ns` each.
  void record(int64_t ns, uint32_t count) {
    // Clocks of two threads are compared, and the other one may have been read later.
    const auto time_ns = static_cast<uint64_t>(std::max<int64_t>(ns, 0));
    buckets_[timeBucketOf(time_ns / kNsPerUs)].add(count);
    sum_ns_.add(time_ns * count);
    if (time_ns > max_ns_.value()) max_ns_.add(time_ns - max_ns_.value());
  }

  uint64_t inBucket(size_t bucket) const { return buckets_[bucket].value(); }
  uint64_t sumNs() const { return sum_ns_.value(); }
  uint64_t maxNs() const { return max_ns_.value(); }
  uint64_t count() const {
    uint64_t sum = 0;
    for (const Counter& bucket : buckets_) sum += bucket.value();
    return sum;
  }

 private:
  static constexpr uint64_t kNsPerUs = 1000;

  Counter sum_ns_, max_ns_;
  std::array<Counter, kTimeBuckets> buckets_;
};

}  // namespace odradek
