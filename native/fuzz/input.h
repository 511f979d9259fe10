// Takes a fuzzer's bytes apart: numbers for the settings, the rest is the stream.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "../core/framing.h"

// What must hold for every input.
#define FUZZ_CHECK(condition)                                                            \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: doesn't hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

namespace odradek::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }

  // 0 once the bytes are used up.
  uint32_t number(int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) {
      value = value << 8 | (size_ > 0 ? *data_ : 0);
      if (size_ == 0) continue;
      data_++;
      size_--;
    }
    return value;
  }
  uint32_t below(uint32_t bound) { return number(2) % bound; }

  std::string_view take(size_t most) {
    const size_t taken = std::min(most, size_);
    const std::string_view bytes(reinterpret_cast<const char*>(data_), taken);
    data_ += taken;
    size_ -= taken;
    return bytes;
  }
  std::string_view rest() { return take(size_); }

 private:
  const uint8_t* data_;
  size_t size_;
};

// Any kind of framing, or the one that the target was built for.
inline Framing::Kind framingKind(Input& input) {
#ifdef ODRADEK_FUZZ_FRAMING
  static_cast<void>(input);
  return Framing::Kind::ODRADEK_FUZZ_FRAMING;
#else
  return static_cast<Framing::Kind>(input.number(1) % 4);
#endif
}

// Any framing that TypeScript's checks let through, and some beyond.
inline Framing framing(Input& input) {
  constexpr uint8_t kSizes[] = {1, 2, 3, 4, 8};
  Framing framing;
  framing.kind = framingKind(input);
  const uint32_t bits = input.number(1);
  framing.max_frame_bytes = (bits & 1) != 0 ? input.number(4) : input.below(2000);
  framing.max_frame_bytes = std::max(framing.max_frame_bytes, 1u);
  framing.big_endian = (bits & 2) != 0;
  framing.strip_delimiter = (bits & 4) != 0;
  framing.size_bytes = kSizes[input.number(1) % 5];
  framing.offset = input.below(248);
  framing.strip = input.below(300);
  framing.adjustment =
      static_cast<int32_t>((bits & 8) != 0 ? input.number(4) : input.below(40) - 20u);
  framing.delimiter_bytes = 1 + input.number(1) % kMaxDelimiterBytes;
  // Of few letters, so that streams have delimiters and halves of them.
  for (uint32_t i = 0; i < framing.delimiter_bytes; i++) {
    framing.delimiter[i] = static_cast<std::byte>('a' + input.number(1) % 2);
  }
  return framing;
}

inline Cut cut(const Framing& framing, std::string_view data, size_t* scanned) {
  return cutFrame(framing, reinterpret_cast<const std::byte*>(data.data()), data.size(), scanned);
}

inline Cut cut(const Framing& framing, std::string_view data) {
  size_t scanned = 0;
  return cut(framing, data, &scanned);
}

}  // namespace odradek::fuzz
