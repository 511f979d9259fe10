#include "ip_address.h"

#include <cstring>

namespace odradek {

size_t IpAddressHash::operator()(const IpAddress& address) const {
  uint64_t high = 0;
  uint64_t low = 0;
  std::memcpy(&high, address.bytes.data(), sizeof(high));
  std::memcpy(&low, address.bytes.data() + sizeof(high), sizeof(low));
  const uint64_t mixed = (high * 0x9e3779b97f4a7c15 + low) * 0x9e3779b97f4a7c15;
  return static_cast<size_t>(mixed ^ (mixed >> 32));
}

bool IpRange::contains(const IpAddress& other) const {
  const size_t whole = bits / 8;
  if (std::memcmp(address.bytes.data(), other.bytes.data(), whole) != 0) return false;
  const uint32_t rest = bits % 8;
  if (rest == 0) return true;
  return ((address.bytes[whole] ^ other.bytes[whole]) >> (8 - rest)) == 0;
}

}  // namespace odradek
