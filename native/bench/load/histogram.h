// Latencies in nanoseconds, log-linear as HdrHistogram's: up to 256 ns exact, above that each power
// of two is cut into 128 equal buckets. A value is known to under 1 %, in 48 KiB, whatever their
// number.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace odradek::bench {

class Histogram {
 public:
  void record(int64_t ns) {
    const uint64_t value = ns < 0 ? 0 : std::min(static_cast<uint64_t>(ns), kMostValue);
    buckets_[bucketOf(value)]++;
    count_++;
    max_ = std::max(max_, value);
  }

  uint64_t count() const { return count_; }
  uint64_t max() const { return max_; }

  // The smallest value that at least `share` of all values don't exceed, as its bucket's upper
  // edge.
  uint64_t percentile(double share) const {
    if (count_ == 0) return 0;
    const double exact = std::ceil(share * static_cast<double>(count_));
    const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(exact), 1, count_);
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; i++) {
      seen += buckets_[i];
      if (seen >= rank) return std::min(upperEdge(i), max_);
    }
    return max_;
  }

  void clear() { *this = Histogram(); }

 private:
  static constexpr int kStepBits = 7;
  static constexpr uint64_t kSteps = 1 << kStepBits;
  static constexpr uint64_t kExact = 2 * kSteps;
  // About four and a half hours.
  static constexpr int kMostBits = 44;
  static constexpr uint64_t kMostValue = (uint64_t{1} << kMostBits) - 1;
  static constexpr size_t kBuckets = kExact + (kMostBits - kStepBits - 1) * kSteps;

  static size_t bucketOf(uint64_t value) {
    if (value < kExact) return value;
    const auto shift = static_cast<size_t>(std::bit_width(value)) - 1 - kStepBits;
    return shift * kSteps + (value >> shift);
  }

  static uint64_t upperEdge(size_t bucket) {
    if (bucket < kExact) return bucket;
    const uint64_t shift = bucket / kSteps - 1;
    const uint64_t step = kSteps + bucket % kSteps;
    return ((step + 1) << shift) - 1;
  }

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t max_ = 0;
};

}  // namespace odradek::bench
