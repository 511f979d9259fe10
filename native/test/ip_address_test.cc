#include "../core/ip_address.h"

#include <gtest/gtest.h>

#include "../platform/ip_text.h"

namespace odradek {
namespace {

TEST(IpAddress, MappedIpv4CountsAsIpv4) {
  EXPECT_EQ(parseIpAddress("::ffff:192.0.2.7"), parseIpAddress("192.0.2.7"));
  EXPECT_NE(parseIpAddress("192.0.2.7"), parseIpAddress("192.0.2.8"));
  EXPECT_NE(parseIpAddress("::192.0.2.7"), parseIpAddress("192.0.2.7"));
}

TEST(IpAddress, AZoneIsLeftOut) {
  EXPECT_EQ(parseIpAddress("fe80::1%eth0"), parseIpAddress("fe80::1"));
  EXPECT_NE(parseIpAddress("fe80::1%eth0"), parseIpAddress("fe80::2%eth0"));
}

TEST(IpAddress, WhatIsNoAddressIsAllZeros) {
  EXPECT_EQ(parseIpAddress(""), IpAddress());
  EXPECT_EQ(parseIpAddress("nobody"), IpAddress());
}

TEST(IpRange, ContainsWhatItsPrefixSays) {
  const IpRange range = parseIpRange("10.1.0.0/16");
  EXPECT_TRUE(range.contains(parseIpAddress("10.1.0.0")));
  EXPECT_TRUE(range.contains(parseIpAddress("10.1.255.255")));
  EXPECT_FALSE(range.contains(parseIpAddress("10.2.0.0")));
  EXPECT_FALSE(range.contains(parseIpAddress("::1")));
}

TEST(IpRange, PrefixesMayEndWithinAByte) {
  const IpRange range = parseIpRange("192.0.2.128/25");
  EXPECT_TRUE(range.contains(parseIpAddress("192.0.2.200")));
  EXPECT_FALSE(range.contains(parseIpAddress("192.0.2.127")));
  const IpRange v6 = parseIpRange("2001:db8:4000::/35");
  EXPECT_TRUE(v6.contains(parseIpAddress("2001:db8:5fff::1")));
  EXPECT_FALSE(v6.contains(parseIpAddress("2001:db8:6000::1")));
}

TEST(IpRange, OneAddressIsARange) {
  EXPECT_TRUE(parseIpRange("::1").contains(parseIpAddress("::1")));
  EXPECT_FALSE(parseIpRange("::1").contains(parseIpAddress("::2")));
  EXPECT_TRUE(parseIpRange("127.0.0.1").contains(parseIpAddress("::ffff:127.0.0.1")));
}

TEST(IpRange, EverythingIsARange) {
  EXPECT_TRUE(parseIpRange("0.0.0.0/0").contains(parseIpAddress("203.0.113.9")));
  EXPECT_FALSE(parseIpRange("0.0.0.0/0").contains(parseIpAddress("2001:db8::1")));
  EXPECT_TRUE(parseIpRange("::/0").contains(parseIpAddress("203.0.113.9")));
}

TEST(IpAddress, HashesOfNeighboursDiffer) {
  const IpAddressHash hash;
  EXPECT_NE(hash(parseIpAddress("10.0.0.1")), hash(parseIpAddress("10.0.0.2")));
  EXPECT_NE(hash(parseIpAddress("2001:db8::1")), hash(parseIpAddress("2001:db9::1")));
}

}  // namespace
}  // namespace odradek
