// Tests the figures of a report against numbers worked out by hand: corrected p and the verdicts on them,
// intervals, means over seeds, and what stands in evaluation.json and in the sentences.
#include <fstream>
#include <nlohmann/json.hpp>

#include "analysis/evaluation_json.h"
#include "analysis/findings.h"
#include "analysis/headlines.h"
#include "tests/analysis/example_analysis.h"
#include "tests/support.h"

namespace rse {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

// A comparison of seven seeds whose interval lies below 0, so that its p alone decides.
Comparison comparison_of(const char* first, const char* second, double p, double mean = -0.1) {
  Comparison comparison;
  comparison.first = first;
  comparison.second = second;
  comparison.length = 64;
  comparison.seeds = {1, 2, 3, 4, 5, 6, 7};
  comparison.by_seed = std::vector<double>(7, mean);
  comparison.difference = {mean, Interval{mean - 0.05, mean + 0.05}};
  comparison.p = p;
  return comparison;
}

std::vector<Comparison> judged(std::vector<Comparison> comparisons) {
  judge_all({}, comparisons);
  return comparisons;
}

// Seven seeds: the smallest p is 2 / 2^7 = 0.015625, and three comparisons can reach 3 x 0.015625 = 0.046875.
// Holm: the smallest p times 3, the next times 2, the largest times 1, none below one before it.
TEST(Figures, VerdictsStandOnTheCorrectedP) {
  // 0.03125 x 3 = 0.09375 is above 0.05, though 0.03125 is not.
  const auto uncorrected_only =
      judged({comparison_of("a", "b", 0.03125), comparison_of("a", "c", 0.5), comparison_of("b", "c", 0.75)});
  EXPECT_DOUBLE_EQ(uncorrected_only[0].p_holm, 0.09375);
  EXPECT_DOUBLE_EQ(uncorrected_only[0].smallest_p_holm, 0.046875);
  EXPECT_EQ(uncorrected_only[0].verdict, Verdict::kNotShown);
  EXPECT_DOUBLE_EQ(uncorrected_only[1].p_holm, 1.0);  // 0.5 x 2
  EXPECT_DOUBLE_EQ(uncorrected_only[2].p_holm, 1.0);  // 0.75, but not below the one before

  // 0.015625 x 3 = 0.046875, then 0.015625 x 2 = 0.03125, which is not below the first, and 0.04 x 1 likewise.
  const auto corrected = judged({comparison_of("a", "b", 0.04), comparison_of("a", "c", 0.015625),
                                 comparison_of("b", "c", 0.015625, 0.1)});
  for (const Comparison& comparison : corrected) EXPECT_DOUBLE_EQ(comparison.p_holm, 0.046875);
  EXPECT_EQ(corrected[0].verdict, Verdict::kFirstBetter);
  EXPECT_EQ(corrected[2].verdict, Verdict::kSecondBetter);

  // One comparison alone needs no correction.
  const auto alone = judged({comparison_of("a", "b", 0.03125)});
  EXPECT_DOUBLE_EQ(alone[0].p_holm, 0.03125);
  EXPECT_EQ(alone[0].verdict, Verdict::kFirstBetter);
}

TEST(Figures, AnIntervalThatHoldsZeroGivesNoVerdictWhateverP) {
  Comparison comparison = comparison_of("a", "b", 0.015625);
  comparison.difference.interval = Interval{-0.2, 0.0};
  EXPECT_EQ(judged({comparison})[0].verdict, Verdict::kNotShown);
  comparison.difference.interval = std::nullopt;
  EXPECT_EQ(judged({comparison})[0].verdict, Verdict::kNotShown);
}

// Two arms at 8, 16 and 64 tokens, seven seeds, 40 documents with one NLL. They differ at 64 only: by 0.1 for
// seeds 1 to 6, and by 0.0001 the other way for seed 7. Of the 128 sign patterns, |sum| reaches the observed
// 0.5999 where the six large differences have one sign, either one, with either sign of the small one: p is 4/128.
class CorrectedByFamily : public testing::Test {
 protected:
  static Analysis analysis() {
    const TargetPlaces places = even_places(40, 2);
    std::vector<ReplicaLosses> replicas;
    for (uint64_t seed = 1; seed <= 7; ++seed) {
      replicas.push_back(replica(places, "a", seed, 3.0));
      replicas.push_back(replica(places, "b", seed, seed == 7 ? 2.9999 : 3.1));
    }
    return analyze(places, replicas, 8, kEntropy, kQuick);
  }

 private:
  static ReplicaLosses replica(const TargetPlaces& places, const char* arm, uint64_t seed, double at_64) {
    ReplicaLosses losses{arm, seed, {}};
    for (const int64_t length : {8, 16, 64}) {
      losses.lengths.push_back(losses_by_rule(places, length, 0, [&](int64_t, int64_t) {
        return static_cast<float>(length == 64 ? at_64 : 3.0);
      }));
    }
    return losses;
  }
};

TEST_F(CorrectedByFamily, FromLossesToTheVerdict) {
  const Analysis analysis = CorrectedByFamily::analysis();
  ASSERT_EQ(analysis.comparisons.size(), 3u);
  EXPECT_DOUBLE_EQ(analysis.comparisons[0].p, 1.0);
  const Comparison& at_64 = analysis.comparisons[2];
  EXPECT_NEAR(at_64.difference.mean, (6 * -0.1 + 0.0001) / 7, 1e-6);
  EXPECT_DOUBLE_EQ(at_64.p, 0.03125);
  EXPECT_DOUBLE_EQ(at_64.p_holm, 0.09375);
  EXPECT_LT(at_64.difference.interval.value().high, 0.0);
  EXPECT_EQ(at_64.verdict, Verdict::kNotShown);
}

TEST_F(CorrectedByFamily, InEverySentenceAndInTheFile) {
  const Analysis analysis = CorrectedByFamily::analysis();
  EXPECT_THAT(findings(analysis), Contains(HasSubstr("p 0.0312, after Holm's correction 0.0938")));
  EXPECT_THAT(findings(analysis), Not(Contains(HasSubstr("is better"))));
  const std::string headline = make_headlines(analysis).between_arms;
  EXPECT_THAT(headline, HasSubstr("no difference between a and b is shown"));
  EXPECT_THAT(headline, testing::AllOf(HasSubstr("p 0.094"), HasSubstr("p is after Holm's correction")));
  const TemporaryFolder folder;
  write_evaluation(folder / "evaluation.json", analysis, {});
  const auto all = nlohmann::json::parse(read_file(folder / "evaluation.json"));
  const nlohmann::json& at_64 = all["comparisons"][2];
  EXPECT_EQ(at_64["p"], 0.03125);
  EXPECT_EQ(at_64["p_holm"], 0.09375);
  EXPECT_EQ(at_64["smallest_p_holm"], 0.046875);
  EXPECT_EQ(at_64["verdict"], "no difference shown");
}

// Five documents, of which one has 10 and the others 0: the mean of a resample is 2 k, k binomial with n = 5 and
// 1/5. P(k <= 2) = 0.942, P(k <= 3) = 0.9933: the 97.5 % quantile is k = 3, the 99.5 % one k = 4. With three
// documents 0, 1, 10 the mean is 0 in 1/27 = 3.7 % of the resamples: the 2.5 % quantile is 0, the 5 % one 1/3.
TEST(Figures, IntervalsHave95Percent) {
  const BootstrapSettings settings;
  const auto interval = [&](const std::vector<double>& documents) {
    return bootstrap_intervals({{{documents}, std::vector<double>(documents.size(), 1.0)}}, settings)[0]
        .value();
  };
  EXPECT_DOUBLE_EQ(interval({0, 0, 0, 0, 10}).low, 0.0);
  EXPECT_DOUBLE_EQ(interval({0, 0, 0, 0, 10}).high, 6.0);
  EXPECT_DOUBLE_EQ(interval({0, 1, 10}).low, 0.0);
}

// Two seeds at 8 tokens: (1 + 3 + 5) / 3 = 3 and (2 + 2 + 5) / 3 = 3; at 16: (4 + 3 + 5) / 3 = 4 and 3. The
// documents are 0 (two targets) and 1 (one). Seconds are summed: 1 + 1.
TEST(Figures, AnArmsNumbersAreMeansOverItsSeeds) {
  const TargetPlaces places{{0, 0, 1}, {0, 1, 0}};
  const auto losses = [](int64_t length, std::vector<float> nll) {
    return LengthLosses{length, 0, std::move(nll), 1.0};
  };
  const Analysis analysis = analyze(places,
                                    {{"a", 1, {losses(8, {1, 3, 5}), losses(16, {4, 3, 5})}},
                                     {"a", 2, {losses(8, {2, 2, 5}), losses(16, {2, 2, 5})}}},
                                    8, kEntropy, kQuick);
  const ArmResult& arm = analysis.arms.at(0);
  EXPECT_DOUBLE_EQ(arm.at(8, false)->nll.mean, 3.0);
  EXPECT_DOUBLE_EQ(arm.at(16, false)->nll.mean, 3.5);
  EXPECT_DOUBLE_EQ(arm.at(16, false)->seconds, 2.0);
  // By document: seed 1 changes by (3 + 0) / 2 = 1.5 and 0, seed 2 by nothing: (1.5 / 2 + 0) / 2.
  EXPECT_DOUBLE_EQ(arm.at(16, false)->difference->mean, 0.375);
}

// 0.88 x 6.0 = 5.28 nats.
TEST(Figures, ThePlateauBeginsAt88PercentOfTheUnigramEntropy) {
  EXPECT_TRUE(on_unigram_plateau(5.28 + 1e-9, 6.0));
  EXPECT_FALSE(on_unigram_plateau(5.28 - 1e-9, 6.0));
}

}  // namespace
}  // namespace rse
