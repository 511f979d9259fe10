#include "request.h"

#include <arpa/inet.h>

#include <cstring>
#include <utility>

#include "fail.h"

namespace odradek::bench {
namespace {

constexpr size_t kMarkAt = kPrefixBytes;
constexpr size_t kEchoedNumberAt = kMarkAt + 1;
// After the length: api key (2 bytes), version (2), correlation id (4).
constexpr size_t kCorrelationIdAt = kPrefixBytes + 4;
constexpr char kMark = 'M';
constexpr char kNoMark = '.';

uint32_t uint32At(const char* at) {
  uint32_t value = 0;
  std::memcpy(&value, at, sizeof(value));
  return ntohl(value);
}

void putUint32(char* at, uint32_t value) {
  const uint32_t big_endian = htonl(value);
  std::memcpy(at, &big_endian, sizeof(big_endian));
}

}  // namespace

Request::Request(std::string frame, size_t number_at, bool is_echoed, size_t reply_bytes)
    : frame_(std::move(frame)),
      number_at_(number_at),
      is_echoed_(is_echoed),
      reply_bytes_(reply_bytes) {}

Request Request::echoed(size_t body_bytes) {
  std::string frame(kPrefixBytes + body_bytes, '\0');
  // A linear congruential generator: no stretch of the body is like another one.
  uint32_t state = 1;
  for (size_t i = kPrefixBytes; i < frame.size(); i++) {
    state = state * 1664525 + 1013904223;
    frame[i] = static_cast<char>(state >> 24);
  }
  putUint32(frame.data(), static_cast<uint32_t>(body_bytes));
  frame[kMarkAt] = kNoMark;
  return {std::move(frame), kEchoedNumberAt, true, kPrefixBytes + body_bytes};
}

Request Request::kafka(std::string frame, size_t reply_bytes) {
  const size_t header_bytes = kCorrelationIdAt + sizeof(uint32_t);
  if (frame.size() < header_bytes) fail("a Kafka request has at least %zu bytes", header_bytes);
  if (uint32At(frame.data()) != frame.size() - kPrefixBytes) {
    fail("the Kafka request of %zu bytes doesn't begin with its length", frame.size());
  }
  return {std::move(frame), kCorrelationIdAt, false, reply_bytes};
}

void Request::number(char* frame, uint32_t number, bool is_marked) const {
  putUint32(frame + number_at_, number);
  if (is_marked)
    frame[kMarkAt] = kMark;
  else if (is_echoed_)
    frame[kMarkAt] = kNoMark;
}

uint32_t Request::numberOf(const char* frame) const { return uint32At(frame + number_at_); }

}  // namespace odradek::bench
