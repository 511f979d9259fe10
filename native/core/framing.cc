#include "framing.h"

#include <algorithm>
#include <cstring>

namespace odradek {
namespace {

Cut broken(CloseReason reason, int64_t declared) {
  Cut cut;
  cut.kind = Cut::Kind::kBroken;
  cut.reason = reason;
  cut.declared = declared;
  return cut;
}

Cut more(uint64_t frame_bytes = 0) {
  Cut cut;
  cut.frame_bytes = frame_bytes;
  return cut;
}

Cut frame(uint64_t frame_bytes, uint64_t body_begin, uint64_t body_end) {
  Cut cut;
  cut.kind = Cut::Kind::kFrame;
  cut.frame_bytes = frame_bytes;
  cut.body_begin = body_begin;
  cut.body_end = body_end;
  return cut;
}

int64_t readLength(const Framing& framing, const std::byte* field) {
  uint64_t value = 0;
  for (uint32_t i = 0; i < framing.size_bytes; i++) {
    const uint32_t index = framing.big_endian ? i : framing.size_bytes - 1 - i;
    value = (value << 8) | std::to_integer<uint64_t>(field[index]);
  }
  if (framing.size_bytes == 4) return static_cast<int32_t>(value);
  return static_cast<int64_t>(value);
}

Cut cutLengthPrefixed(const Framing& framing, const std::byte* data, size_t size) {
  const uint64_t header_bytes = uint64_t{framing.offset} + framing.size_bytes;
  if (size < header_bytes) return more();
  const int64_t length = readLength(framing, data + framing.offset);
  if (length < 0) return broken(CloseReason::kFrameLengthInvalid, length);
  // The sum may not fit; beyond this it is too large whatever is added.
  constexpr int64_t kLargestLength = INT64_MAX - INT32_MAX;
  const int64_t rest = std::min(length, kLargestLength) + framing.adjustment;
  if (rest < 0) return broken(CloseReason::kFrameLengthInvalid, length);
  if (rest > int64_t{framing.max_frame_bytes}) return broken(CloseReason::kFrameTooLarge, rest);
  const uint64_t frame_bytes = header_bytes + static_cast<uint64_t>(rest);
  if (framing.strip > frame_bytes) return broken(CloseReason::kFrameLengthInvalid, length);
  if (size < frame_bytes) return more(frame_bytes);
  return frame(frame_bytes, framing.strip, frame_bytes);
}

Cut cutVarintPrefixed(const Framing& framing, const std::byte* data, size_t size) {
  constexpr size_t kMaxVarintBytes = 5;
  uint64_t length = 0;
  for (size_t i = 0; i < kMaxVarintBytes; i++) {
    if (i == size) return more();
    const auto byte = std::to_integer<uint64_t>(data[i]);
    length |= (byte & 0x7f) << (7 * i);
    if ((byte & 0x80) != 0) continue;
    if (length > framing.max_frame_bytes) {
      return broken(CloseReason::kFrameTooLarge, static_cast<int64_t>(length));
    }
    const uint64_t frame_bytes = i + 1 + length;
    return size < frame_bytes ? more(frame_bytes) : frame(frame_bytes, i + 1, frame_bytes);
  }
  return broken(CloseReason::kFrameInvalid, static_cast<int64_t>(length));
}

// The first delimiter at or after `from`; `size` if there is none.
size_t findDelimiter(const Framing& framing, const std::byte* data, size_t size, size_t from) {
  const size_t width = framing.delimiter_bytes;
  const int first = std::to_integer<int>(framing.delimiter[0]);
  while (from + width <= size) {
    const void* hit = std::memchr(data + from, first, size - width + 1 - from);
    if (hit == nullptr) return size;
    const auto at = static_cast<size_t>(static_cast<const std::byte*>(hit) - data);
    if (std::memcmp(data + at, framing.delimiter.data(), width) == 0) return at;
    from = at + 1;
  }
  return size;
}

Cut cutDelimited(const Framing& framing, const std::byte* data, size_t size, size_t* scanned) {
  const size_t width = framing.delimiter_bytes;
  const size_t at = findDelimiter(framing, data, size, std::min(*scanned, size));
  if (at == size) {
    // The last width - 1 bytes may begin a delimiter; all before them belong to the frame.
    *scanned = size < width ? 0 : size - width + 1;
    if (*scanned > framing.max_frame_bytes) {
      return broken(CloseReason::kFrameTooLarge, static_cast<int64_t>(*scanned));
    }
    return more();
  }
  if (at > framing.max_frame_bytes) {
    return broken(CloseReason::kFrameTooLarge, static_cast<int64_t>(at));
  }
  return frame(at + width, 0, framing.strip_delimiter ? at : at + width);
}

}  // namespace

Cut cutFrame(const Framing& framing, const std::byte* data, size_t size, size_t* scanned) {
  switch (framing.kind) {
    case Framing::Kind::kLengthPrefixed:
      return cutLengthPrefixed(framing, data, size);
    case Framing::Kind::kVarintPrefixed:
      return cutVarintPrefixed(framing, data, size);
    case Framing::Kind::kDelimited:
      return cutDelimited(framing, data, size, scanned);
    case Framing::Kind::kRaw:
      break;
  }
  const size_t piece = std::min<size_t>(size, framing.max_frame_bytes);
  return piece == 0 ? more() : frame(piece, 0, piece);
}

}  // namespace odradek
