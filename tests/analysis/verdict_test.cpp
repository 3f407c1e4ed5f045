// What a verdict between two arms needs beside a small p: Holm's correction, an interval on one side of 0, and a p
// that so many seeds could have reached.
#include <cmath>

#include "analysis/analysis.h"
#include "tests/analysis/example_analysis.h"
#include "tests/support.h"

namespace rse {
namespace {

// The NLL of arm `name` is 3 at length 8, and at longer lengths 3 + shift(seed, document).
template <typename Shift>
void add_arm(std::vector<ReplicaLosses>& replicas, const TargetPlaces& places, const char* name,
             uint64_t seeds, Shift shift) {
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    ReplicaLosses replica{name, seed, {}};
    for (int64_t length : {8, 16, 64}) {
      replica.lengths.push_back(losses_by_rule(places, length, 0, [&](int64_t, int64_t document) {
        return static_cast<float>(3 + (length > 8 ? shift(seed, document) : 0.0));
      }));
    }
    replicas.push_back(std::move(replica));
  }
}

double none(uint64_t, int64_t) { return 0; }

TEST(Verdict, TakesThePAfterHolmsCorrection) {
  // Of eight differences, six are -0.2 and two +0.01: eight of 256 sign patterns have a sum as large.
  const TargetPlaces places = even_places(40, 3);
  std::vector<ReplicaLosses> replicas;
  add_arm(replicas, places, "a", 8, [](uint64_t seed, int64_t) { return seed <= 6 ? -0.2 : 0.01; });
  add_arm(replicas, places, "b", 8, none);
  const Analysis analysis = analyze(places, replicas, 8, kEntropy, kQuick);
  ASSERT_EQ(analysis.comparisons.size(), 3u);
  for (const Comparison& comparison : {analysis.comparisons[1], analysis.comparisons[2]}) {
    EXPECT_DOUBLE_EQ(comparison.p, 8.0 / 256);  // below 0.05
    EXPECT_DOUBLE_EQ(comparison.p_holm, 3 * 8.0 / 256);
    EXPECT_DOUBLE_EQ(comparison.smallest_p_holm, 3 * 2.0 / 256);
    EXPECT_FALSE(comparison.difference.interval->contains(0));
    EXPECT_EQ(comparison.verdict, Verdict::kNotShown);
  }
}

TEST(Verdict, IsNotGivenWhereTheIntervalHoldsZero) {
  // Every seed says -0.01, so p is as small as it can be; documents differ by far more.
  const TargetPlaces places = even_places(10, 3);
  std::vector<ReplicaLosses> replicas;
  add_arm(replicas, places, "a", 8,
          [](uint64_t, int64_t document) { return document % 2 == 0 ? 0.99 : -1.01; });
  add_arm(replicas, places, "b", 8, none);
  const Analysis analysis = analyze(places, replicas, 8, kEntropy, kQuick);
  const Comparison& comparison = analysis.comparisons.back();
  EXPECT_NEAR(comparison.difference.mean, -0.01, 1e-6);
  EXPECT_DOUBLE_EQ(comparison.p_holm, 3 * 2.0 / 256);
  EXPECT_TRUE(comparison.difference.interval->contains(0));
  EXPECT_EQ(comparison.verdict, Verdict::kNotShown);
}

TEST(Verdict, TheSmallestPCountsComparisonsOfAtMostAsManySeeds) {
  const TargetPlaces places = even_places(4, 3);
  std::vector<ReplicaLosses> replicas;
  add_arm(replicas, places, "a", 8, none);
  add_arm(replicas, places, "b", 8, none);
  add_arm(replicas, places, "c", 5, none);
  const Analysis analysis = analyze(places, replicas, 8, kEntropy, kQuick);
  ASSERT_EQ(analysis.comparisons.size(), 9u);
  for (const Comparison& comparison : analysis.comparisons) {
    const bool between_eight = comparison.second == "b";
    EXPECT_EQ(comparison.seeds.size(), between_eight ? 8u : 5u);
    EXPECT_DOUBLE_EQ(comparison.smallest_p_holm, between_eight ? 9 * 2.0 / 256 : 6 * 2.0 / 32);
  }
}

}  // namespace
}  // namespace rse
