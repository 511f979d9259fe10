#include "ip_text.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>

namespace odradek {

IpAddress parseIpAddress(const std::string& text) {
  std::array<uint8_t, 4> v4 = {};
  if (::inet_pton(AF_INET, text.c_str(), v4.data()) == 1) {
    return IpAddress::v4(v4[0], v4[1], v4[2], v4[3]);
  }
  IpAddress address;
  ::inet_pton(AF_INET6, text.substr(0, text.find('%')).c_str(), address.bytes.data());
  return address;
}

IpRange parseIpRange(const std::string& text) {
  const size_t slash = text.find('/');
  IpRange range;
  range.address = parseIpAddress(text.substr(0, slash));
  if (slash == std::string::npos) return range;
  const bool is_v4 = text.find(':') == std::string::npos;
  range.bits = static_cast<uint32_t>(std::atoi(text.c_str() + slash + 1)) + (is_v4 ? 96 : 0);
  return range;
}

}  // namespace odradek
