// How a stream of bytes is cut into frames. Plain data and a pure function: no state, no memory.
// The generality of length fields is Netty's LengthFieldBasedFrameDecoder; the default is Kafka's
// frame, a 4-byte big-endian signed size and that many bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "bounds.h"
#include "close_reason.h"

namespace odradek {

struct Framing {
  enum class Kind : uint8_t { kLengthPrefixed, kVarintPrefixed, kDelimited, kRaw };

  Kind kind = Kind::kLengthPrefixed;

  // Most bytes after the length, before the delimiter, or in one raw piece.
  uint32_t max_frame_bytes = 104'857'600;

  // kLengthPrefixed: `offset` bytes, a length field of `size_bytes` (1, 2, 3, 4 or 8; 4 and 8 are
  // signed), then length + adjustment bytes; the first `strip` bytes are not part of the body.
  uint8_t size_bytes = 4;
  bool big_endian = true;
  uint32_t offset = 0;
  int32_t adjustment = 0;
  uint32_t strip = 4;

  // kDelimited.
  std::array<std::byte, kMaxDelimiterBytes> delimiter{};
  uint32_t delimiter_bytes = 0;
  bool strip_delimiter = true;
};

// What no frame is larger than, with everything around its body.
inline uint64_t mostBytesOf(const Framing& framing) {
  constexpr uint64_t kVarintBytes = 5;
  return uint64_t{framing.max_frame_bytes} + framing.offset + framing.size_bytes +
         framing.delimiter_bytes + kVarintBytes;
}

struct Cut {
  enum class Kind : uint8_t {
    kMore,    // the frame isn't complete
    kFrame,   // the frame is data[0, frame_bytes), its body data[body_begin, body_end)
    kBroken,  // the stream breaks its framing: see `reason`
  };

  Kind kind = Kind::kMore;
  CloseReason reason = CloseReason::kNone;
  // kBroken: the length that the frame declared, or that it has reached.
  int64_t declared = 0;
  // The whole frame's size; with kMore 0 while it isn't known.
  uint64_t frame_bytes = 0;
  uint64_t body_begin = 0;
  uint64_t body_end = 0;
};

// Finds the first frame of `data`. `*scanned` is how much of `data` an earlier call on the same
// frame has searched already (start with 0): a delimiter is never searched for twice.
Cut cutFrame(const Framing& framing, const std::byte* data, size_t size, size_t* scanned);

}  // namespace odradek
