#include "../bench/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "../bench/load/schedule.h"

namespace odradek::bench {
namespace {

TEST(Histogram, IsExactForSmallValues) {
  Histogram histogram;
  for (int64_t value = 1; value <= 100; value++) histogram.record(value);
  EXPECT_EQ(histogram.count(), 100u);
  EXPECT_EQ(histogram.percentile(0.5), 50u);
  EXPECT_EQ(histogram.percentile(0.99), 99u);
  EXPECT_EQ(histogram.percentile(1), 100u);
  EXPECT_EQ(histogram.max(), 100u);
}

TEST(Histogram, HasNothingToSayOfNothing) {
  EXPECT_EQ(Histogram().percentile(0.99), 0u);
  EXPECT_EQ(Histogram().max(), 0u);
}

TEST(Histogram, IsWithinOnePerCentOfSortedValues) {
  std::mt19937_64 random(1);
  // From nanoseconds to minutes, each power of two as likely.
  std::uniform_real_distribution<double> exponent(0, 38);
  Histogram histogram;
  std::vector<uint64_t> values;
  for (int i = 0; i < 20'000; i++) {
    const auto value = static_cast<uint64_t>(std::exp2(exponent(random)));
    values.push_back(value);
    histogram.record(static_cast<int64_t>(value));
  }
  std::sort(values.begin(), values.end());
  for (const double share : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    const uint64_t exact = values[rank - 1];
    EXPECT_GE(histogram.percentile(share), exact) << share;
    EXPECT_LE(histogram.percentile(share), exact + exact / 100) << share;
  }
}

TEST(Histogram, TakesWhatIsBeyondItsScaleAsItsEnd) {
  Histogram histogram;
  histogram.record(INT64_MAX);
  histogram.record(-1);
  EXPECT_EQ(histogram.percentile(0.5), 0u);
  EXPECT_EQ(histogram.percentile(1), (uint64_t{1} << 44) - 1);
}

TEST(Schedule, GivesRequestsToConnectionsInTurnWhenTheyAreDue) {
  Schedule schedule(1'000, 2, 5'000'000);
  EXPECT_EQ(schedule.nextDue(4'999'999), -1);
  EXPECT_EQ(schedule.nextDue(5'000'000), 0);
  EXPECT_EQ(schedule.nextDue(5'999'999), -1);
  EXPECT_EQ(schedule.nextDue(6'000'000), 1);
  EXPECT_EQ(schedule.take(0), 5'000'000);
  EXPECT_EQ(schedule.take(1), 6'000'000);
  EXPECT_FALSE(schedule.hasDue(0));
}

// What makes a latency at a fixed rate honest: a connection that couldn't send for a while gets the
// times at which its requests were due, not the time at which it can send again.
TEST(Schedule, KeepsTheDueTimesOfRequestsThatHadToWait) {
  Schedule schedule(1'000, 1, 0);
  while (schedule.nextDue(3'500'000) >= 0) {
  }
  std::vector<int64_t> due;
  while (schedule.hasDue(0)) due.push_back(schedule.take(0));
  EXPECT_EQ(due, (std::vector<int64_t>{0, 1'000'000, 2'000'000, 3'000'000}));
}

}  // namespace
}  // namespace odradek::bench
