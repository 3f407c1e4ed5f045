#include "bench/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace rse {
namespace {

using testing::ElementsAre;

TEST(OwnTimes, NestedSpansOwnWhatTheirChildrenLeave) {
  EXPECT_THAT(own_times({{0, 100}, {10, 40}, {20, 30}, {50, 60}}, {0, 100}), ElementsAre(60, 20, 10, 10));
}

TEST(OwnTimes, OfSpansThatBeginTogetherTheShorterIsTheInner) {
  EXPECT_THAT(own_times({{0, 5}, {0, 9}}, {0, 10}), ElementsAre(5, 4));
}

TEST(OwnTimes, OverlappingSpansCountOnce) {
  EXPECT_THAT(own_times({{0, 10}, {5, 20}}, {0, 30}), ElementsAre(5, 15));
  EXPECT_THAT(own_times({{0, 20}, {5, 10}, {8, 12}}, {0, 30}), ElementsAre(13, 3, 4));
}

TEST(OwnTimes, OnlyTheWindowCounts) {
  EXPECT_THAT(own_times({{0, 10}, {12, 20}, {30, 40}}, {5, 15}), ElementsAre(5, 3, 0));
}

// Against a count of every nanosecond.
TEST(OwnTimes, EveryInstantBelongsToOneSpanOrNone) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<TimeSpan> spans(random() % 12);
    for (TimeSpan& span : spans) {
      span.begin = static_cast<int64_t>(random() % 50);
      span.end = span.begin + static_cast<int64_t>(random() % 30);
    }
    const TimeSpan window{10, 45};
    int64_t covered = 0;
    for (int64_t t = window.begin; t < window.end; ++t) {
      for (const TimeSpan& span : spans) {
        if (span.begin <= t && t < span.end) {
          ++covered;
          break;
        }
      }
    }
    const std::vector<int64_t> own = own_times(spans, window);
    EXPECT_EQ(std::accumulate(own.begin(), own.end(), int64_t{0}), covered);
    for (size_t n = 0; n < spans.size(); ++n) {
      EXPECT_GE(own[n], 0);
      EXPECT_LE(own[n], spans[n].end - spans[n].begin);
    }
  }
}

}  // namespace
}  // namespace rse
