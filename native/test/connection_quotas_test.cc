// Kafka's ConnectionQuotasTest, case by case where it has one; the names of its cases are in
// docs/conformance.md. Time is a number here.
#include "../core/connection_quotas.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../platform/ip_text.h"

namespace odradek {
namespace {

using Kind = ConnectionQuotas::Verdict::Kind;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 100 * kSecond;
constexpr uint16_t kExternal = 0;
constexpr uint16_t kAdmin = 1;
constexpr uint16_t kReplication = 2;

class CountingAcceptor final : public RoomListener {
 public:
  void roomForConnections() override { rings++; }
  int rings = 0;
};

class ConnectionQuotasTest : public testing::Test {
 protected:
  // Three listeners, of which kReplication is protected.
  explicit ConnectionQuotasTest() {
    limits.listeners.resize(3);
    limits.listeners[kReplication].is_protected = true;
  }

  void use() { quotas.update(limits); }

  ConnectionQuotas::Verdict admit(uint16_t listener, const std::string& ip = "10.0.0.1") {
    return quotas.admit(listener, parseIpAddress(ip), now_ns, acceptors[listener]);
  }

  // Admits this many, and keeps what they got.
  void open(int count, uint16_t listener, const std::string& ip = "10.0.0.1") {
    for (int i = 0; i < count; i++) {
      const auto verdict = admit(listener, ip);
      ASSERT_EQ(verdict.kind, Kind::kAdmitted) << "connection " << i;
      admissions.push_back(verdict.admission);
    }
  }

  void closeLast() {
    quotas.release(admissions.back());
    admissions.pop_back();
  }

  // How many are admitted in a second in which they come as fast as they may.
  int admittedInASecond(uint16_t listener, const std::string& ip = "10.0.0.1") {
    const int64_t end_ns = now_ns + kSecond;
    int admitted = 0;
    while (now_ns < end_ns) {
      const auto verdict = admit(listener, ip);
      if (verdict.kind == Kind::kAdmitted) {
        admitted++;
        quotas.release(verdict.admission);
      } else {
        now_ns = std::min(verdict.until_ns, end_ns);
      }
    }
    return admitted;
  }

  ConnectionLimits limits;
  ConnectionQuotas quotas{{}};
  CountingAcceptor acceptors[3];
  std::vector<Admission> admissions;
  int64_t now_ns = kStart;
};

TEST_F(ConnectionQuotasTest, NothingIsLimitedByItself) {
  for (uint16_t listener : {kExternal, kAdmin, kReplication}) open(10'000, listener);
  EXPECT_EQ(quotas.total(), 30'000u);
  EXPECT_EQ(quotas.ofListener(kAdmin), 10'000u);
  EXPECT_FALSE(quotas.hasExcess());
}

TEST_F(ConnectionQuotasTest, CountsReturnToNothing) {
  open(100, kExternal);
  open(100, kReplication, "10.0.0.2");
  while (!admissions.empty()) closeLast();
  EXPECT_EQ(quotas.total(), 0u);
  for (uint16_t listener : {kExternal, kAdmin, kReplication}) {
    EXPECT_EQ(quotas.ofListener(listener), 0u);
  }
  admit(kExternal, "10.0.0.3");
  EXPECT_EQ(quotas.accounts(), 1u) << "the others are forgotten";
}

TEST_F(ConnectionQuotasTest, AnAddressHasItsPlacesOnAllListenersTogether) {
  limits.max_connections_per_ip = 17;
  use();
  open(10, kExternal);
  open(7, kAdmin);
  EXPECT_EQ(admit(kExternal).kind, Kind::kRefuse);
  EXPECT_EQ(admit(kReplication).kind, Kind::kRefuse);
  open(17, kExternal, "10.0.0.2");
  EXPECT_EQ(quotas.total(), 34u) << "those that were refused count nowhere";
  quotas.release(admissions.front());
  EXPECT_EQ(admit(kAdmin).kind, Kind::kAdmitted);
  EXPECT_EQ(admit(kAdmin).kind, Kind::kRefuse);
}

TEST_F(ConnectionQuotasTest, TheNarrowestOverrideCounts) {
  limits.max_connections_per_ip = 0;
  limits.per_ip_overrides = {{parseIpRange("10.0.0.0/8"), 2},
                             {parseIpRange("10.0.0.7"), 3},
                             {parseIpRange("10.0.0.0/24"), 1}};
  use();
  EXPECT_EQ(admit(kExternal, "192.0.2.1").kind, Kind::kRefuse);
  open(2, kExternal, "10.9.0.1");
  EXPECT_EQ(admit(kExternal, "10.9.0.1").kind, Kind::kRefuse);
  open(2, kExternal, "10.9.0.2");
  open(1, kExternal, "10.0.0.1");
  EXPECT_EQ(admit(kExternal, "10.0.0.1").kind, Kind::kRefuse);
  open(3, kExternal, "::ffff:10.0.0.7");
  EXPECT_EQ(admit(kExternal, "10.0.0.7").kind, Kind::kRefuse);
}

TEST_F(ConnectionQuotasTest, AtTheTotalAcceptorsWaitUntilOneLeaves) {
  limits.max_connections = 800;
  use();
  open(800, kExternal);
  for (uint16_t listener : {kExternal, kAdmin}) {
    const auto verdict = admit(listener);
    EXPECT_EQ(verdict.kind, Kind::kWait);
    EXPECT_EQ(verdict.until_ns, INT64_MAX);
  }
  EXPECT_EQ(acceptors[kExternal].rings, 0);
  closeLast();
  EXPECT_EQ(acceptors[kExternal].rings, 1);
  EXPECT_EQ(acceptors[kAdmin].rings, 1);
  open(1, kAdmin);
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait) << "the other was first";
  closeLast();
  EXPECT_EQ(acceptors[kExternal].rings, 2);
  EXPECT_EQ(acceptors[kAdmin].rings, 1) << "it doesn't wait any more";
}

TEST_F(ConnectionQuotasTest, AProtectedListenerIsExemptFromTheTotal) {
  limits.max_connections = 5;
  use();
  open(5, kExternal);
  EXPECT_FALSE(quotas.hasExcess());
  open(3, kReplication);
  EXPECT_TRUE(quotas.hasExcess());
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
  closeLast();
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait) << "there are still too many";
}

TEST_F(ConnectionQuotasTest, EachListenerHasItsPlaces) {
  for (auto& listener : limits.listeners) listener.max_connections = 200;
  use();
  for (uint16_t listener : {kExternal, kAdmin, kReplication}) {
    open(200, listener);
    EXPECT_EQ(admit(listener).kind, Kind::kWait) << "also a protected one";
  }
  closeLast();
  EXPECT_EQ(acceptors[kReplication].rings, 1);
  EXPECT_EQ(admit(kReplication).kind, Kind::kAdmitted);
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
}

TEST_F(ConnectionQuotasTest, AnAcceptorThatHasStoppedIsNotRung) {
  limits.max_connections = 1;
  use();
  open(1, kExternal);
  admit(kAdmin);
  quotas.stopWaiting(acceptors[kAdmin]);
  closeLast();
  EXPECT_EQ(acceptors[kAdmin].rings, 0);
}

// --- Rates -------------------------------------------------------------------------------------

TEST_F(ConnectionQuotasTest, BelowTheTotalRateNobodyWaits) {
  limits.creation_rate = 125;
  use();
  for (int i = 0; i < 500; i++) {
    now_ns += kSecond / 100;
    ASSERT_EQ(admit(kExternal).kind, Kind::kAdmitted);
  }
}

TEST_F(ConnectionQuotasTest, AboveTheTotalRateAllButTheProtectedWait) {
  limits.creation_rate = 100;
  use();
  EXPECT_EQ(admittedInASecond(kExternal), 100 + 99) << "those of one second at once, then the rate";
  EXPECT_EQ(admittedInASecond(kAdmin), 100) << "the rate is of all of them";
  open(1, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
  open(1000, kReplication);
}

TEST_F(ConnectionQuotasTest, BelowAListenersRateNobodyWaits) {
  for (auto& listener : limits.listeners) listener.creation_rate = 50;
  use();
  for (int i = 0; i < 200; i++) {
    now_ns += kSecond / 40;
    for (uint16_t listener : {kExternal, kAdmin, kReplication}) {
      ASSERT_EQ(admit(listener).kind, Kind::kAdmitted);
    }
  }
}

TEST_F(ConnectionQuotasTest, AboveItsRateEachListenerWaits) {
  for (auto& listener : limits.listeners) listener.creation_rate = 25;
  use();
  for (uint16_t listener : {kExternal, kAdmin, kReplication}) {
    EXPECT_EQ(admittedInASecond(listener), 25 + 24);
    EXPECT_EQ(admittedInASecond(listener), 25);
    EXPECT_EQ(admittedInASecond(listener), 25);
  }
}

TEST_F(ConnectionQuotasTest, TheLaterOfBothRatesCounts) {
  limits.creation_rate = 10;
  limits.listeners[kExternal].creation_rate = 2;
  use();
  open(2, kExternal);
  const auto verdict = admit(kExternal);
  EXPECT_EQ(verdict.kind, Kind::kWait);
  EXPECT_EQ(verdict.until_ns, kStart + kSecond / 2);
  open(8, kAdmin);
  EXPECT_EQ(admit(kAdmin).until_ns, kStart + kSecond / 10);
}

TEST_F(ConnectionQuotasTest, BelowItsRateAnAddressIsLetIn) {
  limits.creation_rate_per_ip = 30;
  use();
  for (int i = 0; i < 100; i++) {
    now_ns += kSecond / 25;
    ASSERT_EQ(admit(kExternal).kind, Kind::kAdmitted);
  }
}

TEST_F(ConnectionQuotasTest, AboveItsRateAnAddressIsHeldBackAndNobodyWaits) {
  limits.creation_rate_per_ip = 20;
  use();
  open(20, kExternal);
  const auto verdict = admit(kExternal);
  EXPECT_EQ(verdict.kind, Kind::kPark);
  EXPECT_EQ(verdict.until_ns, kStart + kSecond / 20);
  EXPECT_EQ(admit(kAdmin).kind, Kind::kPark) << "on every listener";
  EXPECT_EQ(admit(kReplication).kind, Kind::kPark) << "also on a protected one";
  EXPECT_EQ(admit(kExternal, "10.0.0.2").kind, Kind::kAdmitted) << "others are not concerned";
  now_ns = verdict.until_ns;
  EXPECT_EQ(admit(kExternal).kind, Kind::kAdmitted);
  EXPECT_EQ(admit(kExternal).kind, Kind::kPark);
  EXPECT_EQ(acceptors[kExternal].rings, 0);
}

TEST_F(ConnectionQuotasTest, WhoWaitsForTheListenerIsNotHeldBackForTheAddress) {
  limits.creation_rate_per_ip = 20;
  limits.listeners[kExternal].creation_rate = 10;
  use();
  open(5, kExternal, "10.0.0.1");
  open(5, kExternal, "10.0.0.2");
  EXPECT_EQ(admit(kExternal, "10.0.0.1").kind, Kind::kWait);
  EXPECT_EQ(admit(kExternal, "10.0.0.2").kind, Kind::kWait);
}

TEST_F(ConnectionQuotasTest, WhoIsHeldBackIsRecordedNowhere) {
  limits.creation_rate = 3;
  limits.creation_rate_per_ip = 1;
  limits.listeners[kExternal].creation_rate = 3;
  limits.listeners[kReplication].creation_rate = 3;
  use();
  open(1, kExternal);
  for (int i = 0; i < 50; i++) {
    ASSERT_EQ(admit(kExternal).kind, Kind::kPark);
    ASSERT_EQ(admit(kReplication).kind, Kind::kPark);
  }
  EXPECT_EQ(quotas.total(), 1u);
  open(1, kExternal, "10.0.0.2");
  open(1, kExternal, "10.0.0.3");
  open(1, kReplication, "10.0.0.4");
}

TEST_F(ConnectionQuotasTest, AfterAPauseThoseOfOneSecondMayComeAndNotMore) {
  limits.creation_rate = 10;
  use();
  admittedInASecond(kExternal);
  now_ns += 60 * kSecond;
  open(10, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
}

TEST_F(ConnectionQuotasTest, ARateThatIsNotWholeHoldsOverTime) {
  limits.creation_rate = 7;
  use();
  admittedInASecond(kExternal);
  int admitted = 0;
  for (int i = 0; i < 100; i++) admitted += admittedInASecond(kExternal);
  EXPECT_NEAR(admitted, 700, 1);
}

TEST_F(ConnectionQuotasTest, AddressesAreForgottenOnceTheirRatesAre) {
  limits.creation_rate_per_ip = 2;
  use();
  for (int i = 0; i < 100; i++) {
    quotas.release(admit(kExternal, "10.0.1." + std::to_string(i)).admission);
  }
  EXPECT_EQ(quotas.accounts(), 100u);
  now_ns += kSecond / 2 + 1;
  admit(kExternal, "10.0.2.1");
  EXPECT_EQ(quotas.accounts(), 1u);
  // Its account may have been another's.
  EXPECT_EQ(admit(kExternal, "10.0.1.5").kind, Kind::kAdmitted);
  EXPECT_EQ(admit(kExternal, "10.0.1.5").kind, Kind::kAdmitted);
  EXPECT_EQ(admit(kExternal, "10.0.1.5").kind, Kind::kPark);
}

// --- Changes -----------------------------------------------------------------------------------

TEST_F(ConnectionQuotasTest, AChangeRingsEverybodyWhoWaits) {
  limits.max_connections = 1;
  limits.listeners[kAdmin].creation_rate = 1;
  limits.listeners[kReplication].creation_rate = 1;
  use();
  open(1, kReplication);
  admit(kReplication);
  admit(kExternal);
  limits.max_connections = 5;
  use();
  EXPECT_EQ(acceptors[kExternal].rings, 1);
  EXPECT_EQ(acceptors[kReplication].rings, 1) << "its rate may be another now";
  use();
  EXPECT_EQ(acceptors[kExternal].rings, 1) << "once";
}

TEST_F(ConnectionQuotasTest, ListenersRatesMayChange) {
  limits.listeners[kExternal].creation_rate = 5;
  use();
  open(5, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
  limits.listeners[kExternal].creation_rate = kUnlimited;
  use();
  open(1000, kExternal);
  limits.listeners[kExternal].creation_rate = 10;
  use();
  now_ns += 2 * kSecond;
  open(10, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
}

TEST_F(ConnectionQuotasTest, TheTotalRateMayChange) {
  open(1000, kExternal);
  limits.creation_rate = 50;
  use();
  EXPECT_EQ(admittedInASecond(kExternal), 50 + 49);
}

TEST_F(ConnectionQuotasTest, TheRateOfAddressesMayChange) {
  limits.creation_rate_per_ip = 10;
  use();
  open(10, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kPark);
  limits.creation_rate_per_ip = kUnlimited;
  use();
  open(100, kExternal);
  limits.creation_rate_per_ip = 20;
  use();
  now_ns += 2 * kSecond;
  open(20, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kPark);
}

TEST_F(ConnectionQuotasTest, ALowerCountOfAnAddressClosesNothing) {
  open(10, kExternal);
  limits.max_connections_per_ip = 5;
  use();
  EXPECT_FALSE(quotas.hasExcess());
  EXPECT_EQ(admit(kExternal).kind, Kind::kRefuse);
}

TEST_F(ConnectionQuotasTest, CountAndRateHoldTogether) {
  limits.max_connections_per_ip = 12;
  limits.max_connections = 30;
  limits.creation_rate = 10;
  use();
  open(10, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
  now_ns += kSecond;
  open(2, kExternal);
  EXPECT_EQ(admit(kExternal).kind, Kind::kRefuse);
  open(8, kExternal, "10.0.0.2");
  now_ns += kSecond;
  open(4, kExternal, "10.0.0.2");
  open(6, kExternal, "10.0.0.3");
  now_ns += kSecond;
  EXPECT_EQ(admit(kExternal, "10.0.0.3").until_ns, INT64_MAX) << "there is no place";
}

// --- Too many ----------------------------------------------------------------------------------

TEST_F(ConnectionQuotasTest, WhatIsOverALowerTotalIsToBeClosedOnce) {
  open(10, kExternal);
  limits.max_connections = 7;
  use();
  EXPECT_TRUE(quotas.hasExcess());
  EXPECT_EQ(quotas.takeExcess(2), 2u);
  EXPECT_TRUE(quotas.hasExcess());
  EXPECT_EQ(quotas.takeExcess(9), 1u);
  EXPECT_FALSE(quotas.hasExcess());
  EXPECT_EQ(quotas.takeExcess(9), 0u);
  for (int i = 0; i < 3; i++) {
    quotas.release(admissions.back(), true);
    admissions.pop_back();
  }
  EXPECT_EQ(quotas.total(), 7u);
  EXPECT_FALSE(quotas.hasExcess());
  EXPECT_EQ(admit(kExternal).kind, Kind::kWait);
}

TEST_F(ConnectionQuotasTest, ThoseOfAProtectedListenerAreNotClosed) {
  open(2, kExternal);
  open(8, kReplication);
  limits.max_connections = 3;
  use();
  EXPECT_TRUE(quotas.hasExcess());
  EXPECT_EQ(quotas.takeExcess(2), 2u) << "all that is not protected";
  quotas.release(admissions[0], true);
  quotas.release(admissions[1], true);
  EXPECT_FALSE(quotas.hasExcess()) << "there is nobody to be closed";
  limits.listeners[kReplication].is_protected = false;
  use();
  EXPECT_EQ(quotas.takeExcess(9), 5u);
}

// Found by the simulation: those that leave may be protected since.
TEST_F(ConnectionQuotasTest, ExcessNeverBeginsWithARelease) {
  open(10, kExternal);
  open(19, kAdmin);
  limits.max_connections = 3;
  use();
  EXPECT_EQ(quotas.takeExcess(10), 10u) << "a processor has those of one listener";
  limits.max_connections = 8;
  limits.listeners[kExternal].is_protected = true;
  use();
  EXPECT_TRUE(quotas.hasExcess()) << "another one is to close some";
  EXPECT_EQ(quotas.takeExcess(19), 11u);
  EXPECT_FALSE(quotas.hasExcess());
  for (int i = 0; i < 10; i++) {
    quotas.release(admissions[static_cast<size_t>(i)], true);
    EXPECT_FALSE(quotas.hasExcess());
  }
}

}  // namespace
}  // namespace odradek
