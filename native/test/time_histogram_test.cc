#include "../core/time_histogram.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace odradek {
namespace {

constexpr int64_t kUs = 1000;

// test/time-histogram.test.ts has the same.
TEST(TimeHistogram, TimesStandInTheBucketsThatTypeScriptKnows) {
  const std::vector<std::pair<uint64_t, uint32_t>> known = {{0, 0},
                                                            {1, 1},
                                                            {31, 31},
                                                            {32, 32},
                                                            {33, 32},
                                                            {34, 33},
                                                            {63, 47},
                                                            {64, 48},
                                                            {1000, 111},
                                                            {1024, 112},
                                                            {65'535, 207},
                                                            {1'000'000, 270},
                                                            {60'000'000, 364},
                                                            {3'600'000'000, 458},
                                                            {UINT32_MAX, 463},
                                                            {UINT64_MAX, 463}};
  for (const auto& [us, bucket] : known) EXPECT_EQ(timeBucketOf(us), bucket) << us;
  EXPECT_EQ(kTimeBuckets, 464u);
}

TEST(TimeHistogram, BucketsFollowEachOtherAndAreNarrow) {
  uint32_t bucket = 0;
  uint64_t begin = 0;
  for (uint64_t us = 1; us < 2'000'000; us++) {
    const uint32_t next = timeBucketOf(us);
    if (next == bucket) continue;
    ASSERT_EQ(next, bucket + 1) << us;
    if (begin >= 32) {
      ASSERT_LE((us - begin) * 16, begin) << us;
    } else {
      ASSERT_EQ(us - begin, 1u);
    }
    bucket = next;
    begin = us;
  }
}

TEST(TimeHistogram, CountsSumsAndKnowsTheLongest) {
  TimeHistogram times;
  times.record(1500, 1);
  times.record(40 * kUs, 3);
  EXPECT_EQ(times.count(), 4u);
  EXPECT_EQ(times.sumNs(), 121'500u);
  EXPECT_EQ(times.maxNs(), 40'000u);
  EXPECT_EQ(times.inBucket(1), 1u);
  EXPECT_EQ(times.inBucket(timeBucketOf(40)), 3u);
}

TEST(TimeHistogram, BelowZeroIsNothingAndTooLongIsTheLongest) {
  TimeHistogram times;
  times.record(-5, 1);
  const int64_t day_ns = int64_t{86'400'000'000} * kUs;
  times.record(day_ns, 1);
  EXPECT_EQ(times.inBucket(0), 1u);
  EXPECT_EQ(times.inBucket(kTimeBuckets - 1), 1u);
  EXPECT_EQ(times.maxNs(), static_cast<uint64_t>(day_ns));
}

}  // namespace
}  // namespace odradek
