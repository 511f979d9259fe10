// Addresses by which connections are counted. IPv4 is kept as IPv6 has it (::ffff:a.b.c.d), so that
// a client counts the same whichever kind of listener it came through.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace odradek {

struct IpAddress {
  std::array<uint8_t, 16> bytes = {};

  static constexpr IpAddress v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}};
  }

  auto operator<=>(const IpAddress&) const = default;
};

struct IpAddressHash {
  size_t operator()(const IpAddress& address) const;
};

// A CIDR range: the addresses whose first `bits` are these.
struct IpRange {
  IpAddress address;
  // 0 to 128; those of an IPv4 range and 96.
  uint32_t bits = 128;

  bool contains(const IpAddress& other) const;
};

}  // namespace odradek
