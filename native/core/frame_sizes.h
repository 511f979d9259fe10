// The sizes of the frames of one connection that were completed and are not settled, in their
// order.
//
// Most connections have none or one: that has no memory of its own. One that has had several at a
// time keeps what it has for them: a batch would need it anew each time.
#pragma once

#include <cstdint>

#include "check.h"
#include "ring.h"

namespace odradek {

class FrameSizes {
 public:
  FrameSizes() = default;
  FrameSizes(const FrameSizes&) = delete;
  FrameSizes& operator=(const FrameSizes&) = delete;
  ~FrameSizes() {
    if (word_ != 0 && !isOne()) delete many();
  }

  void push(uint32_t bytes) {
    if (word_ == 0) {
      word_ = one(bytes);
      return;
    }
    if (isOne()) {
      auto* sizes = new Ring<uint32_t>();
      sizes->push(theOne());
      word_ = reinterpret_cast<uintptr_t>(sizes);
    }
    many()->push(bytes);
  }

  // The sum of the oldest `count`.
  int64_t pop(uint32_t count) {
    return remove(count, [](Ring<uint32_t>& sizes) { return sizes.pop(); });
  }
  // The sum of the newest `count`.
  int64_t popBack(uint32_t count) {
    return remove(count, [](Ring<uint32_t>& sizes) { return sizes.popBack(); });
  }

 private:
  static uint64_t one(uint32_t bytes) { return uint64_t{bytes} << 1 | 1; }
  bool isOne() const { return (word_ & 1) == 1; }
  uint32_t theOne() const { return static_cast<uint32_t>(word_ >> 1); }
  Ring<uint32_t>* many() const {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was one
    return reinterpret_cast<Ring<uint32_t>*>(static_cast<uintptr_t>(word_));
  }

  template <typename Take>
  int64_t remove(uint32_t count, Take take) {
    if (count == 0) return 0;
    ODRADEK_REQUIRE(word_ != 0);
    if (isOne()) {
      ODRADEK_REQUIRE(count == 1);
      const uint32_t bytes = theOne();
      word_ = 0;
      return bytes;
    }
    Ring<uint32_t>& sizes = *many();
    int64_t sum = 0;
    for (; count > 0; count--) sum += take(sizes);
    return sum;
  }

  // Nothing; one size, shifted, and a bit; or where they are, which is even.
  uint64_t word_ = 0;
};

}  // namespace odradek
