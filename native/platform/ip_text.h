// IP addresses and ranges as people write them.
#pragma once

#include <string>

#include "../core/ip_address.h"

namespace odradek {

// All zeros for what is no address. A zone (%eth0) is left out.
IpAddress parseIpAddress(const std::string& text);

// "10.0.0.0/8", "2001:db8::/32", or one address.
IpRange parseIpRange(const std::string& text);

}  // namespace odradek
