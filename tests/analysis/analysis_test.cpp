#include "analysis/analysis.h"

#include <algorithm>
#include <cmath>

#include "analysis/findings.h"
#include "tests/analysis/example_analysis.h"
#include "tests/support.h"

namespace rse {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// Document 5 has one target, document 2 has three.
TargetPlaces uneven_places() { return {{5, 2, 2, 2}, {0, 3, 9, 15}}; }

LengthLosses losses_of(int64_t length, int64_t window, std::vector<float> nll) {
  return {length, window, std::move(nll), 1.5};
}

ReplicaLosses uneven_replica(const char* arm = "rse", uint64_t seed = 1) {
  return {arm,
          seed,
          {losses_of(8, 0, {1, 2, 2, 2}), losses_of(16, 0, {3, 2, 2, 5}), losses_of(8, 4, {1, 2, 2, 5}),
           losses_of(16, 4, {2, 2, 2, 2})}};
}

TEST(Analysis, MeansWeighTargetsAndDifferencesWeighDocuments) {
  const TargetPlaces places = uneven_places();
  const Analysis analysis = analyze(places, {uneven_replica()}, 8, kEntropy, kQuick);
  EXPECT_EQ(analysis.documents, 2);
  EXPECT_EQ(analysis.targets, 4);
  const ArmResult& replica = analysis.replicas.at(0);
  EXPECT_DOUBLE_EQ(replica.at(8, false)->nll.mean, 7.0 / 4);
  EXPECT_DOUBLE_EQ(replica.at(16, false)->nll.mean, 3.0);
  EXPECT_FALSE(replica.at(8, false)->difference.has_value());
  EXPECT_DOUBLE_EQ(replica.at(16, false)->difference->mean, (2.0 + 3.0 / 3) / 2);
  EXPECT_DOUBLE_EQ(replica.at(8, true)->difference->mean, (0.0 + 3.0 / 3) / 2);
  EXPECT_DOUBLE_EQ(replica.at(8, false)->over_control->mean, (0.0 - 3.0 / 3) / 2);
  EXPECT_DOUBLE_EQ(replica.at(16, false)->over_control->mean, (1.0 + 3.0 / 3) / 2);
  EXPECT_FALSE(replica.at(16, true)->over_control.has_value());
  EXPECT_DOUBLE_EQ(replica.at(16, true)->seconds, 1.5);
  EXPECT_EQ(replica.at(32, false), nullptr);
  // With two documents, a quarter of the resamples holds only one of them.
  EXPECT_DOUBLE_EQ(replica.at(16, false)->difference->interval->low, 1);
  EXPECT_DOUBLE_EQ(replica.at(16, false)->difference->interval->high, 2);
}

TEST(Analysis, EdgesInPowersOfTwo) {
  // The offsets 0, 3, 9, 15 have the edge distances 0, 3, 1, 0 at length 8, and 0, 3, 6, 0 at length 16.
  const TargetPlaces places = uneven_places();
  const Analysis analysis = analyze(places, {uneven_replica()}, 8, kEntropy, kQuick);
  const auto row = [](const EdgeBucket& bucket) {
    return std::vector<double>{static_cast<double>(bucket.first), static_cast<double>(bucket.last),
                               static_cast<double>(bucket.targets), bucket.nll};
  };
  const std::vector<EdgeBucket>& at_8 = analysis.replicas[0].at(8, true)->edges;
  ASSERT_EQ(at_8.size(), 3u);
  EXPECT_THAT(row(at_8[0]), ElementsAre(0, 0, 2, 3.0));
  EXPECT_THAT(row(at_8[1]), ElementsAre(1, 1, 1, 2.0));
  EXPECT_THAT(row(at_8[2]), ElementsAre(2, 3, 1, 2.0));
  const std::vector<EdgeBucket>& at_16 = analysis.replicas[0].at(16, false)->edges;
  ASSERT_EQ(at_16.size(), 3u);
  EXPECT_THAT(row(at_16[0]), ElementsAre(0, 0, 2, 4.0));
  EXPECT_THAT(row(at_16[1]), ElementsAre(2, 3, 1, 2.0));
  EXPECT_THAT(row(at_16[2]), ElementsAre(4, 7, 1, 2.0));
}

TEST(Analysis, AnArmIsTheMeanOfItsSeeds) {
  const TargetPlaces places = uneven_places();
  ReplicaLosses second = uneven_replica("rse", 2);
  for (float& nll : second.lengths[1].nll) nll += 1;
  const Analysis analysis = analyze(places, {uneven_replica(), second}, 8, kEntropy, kQuick);
  ASSERT_EQ(analysis.arms.size(), 1u);
  EXPECT_THAT(analysis.arms[0].seeds, ElementsAre(1u, 2u));
  EXPECT_DOUBLE_EQ(analysis.arms[0].at(16, false)->nll.mean, 3.5);
  EXPECT_DOUBLE_EQ(analysis.arms[0].at(16, false)->difference->mean, 2.0);
  // The seeds give 1.5 and 2.5, and the documents differ by 1, so both levels widen the interval.
  EXPECT_DOUBLE_EQ(analysis.arms[0].at(16, false)->difference->interval->low, 1.0);
  EXPECT_DOUBLE_EQ(analysis.arms[0].at(16, false)->difference->interval->high, 3.0);
  EXPECT_TRUE(analysis.comparisons.empty());
}

TEST(Analysis, ArmsArePairedBySeed) {
  const TargetPlaces places = even_places(4, 3);
  const Analysis analysis =
      analyze(places,
              {simple_replica(places, "a", 1, 3.0, 0), simple_replica(places, "a", 2, 9.0, 0),
               simple_replica(places, "a", 3, 4.0, 0), simple_replica(places, "b", 3, 4.25, 0),
               simple_replica(places, "b", 1, 3.5, 0)},
              8, kEntropy, kQuick);
  ASSERT_EQ(analysis.comparisons.size(), 3u);
  const Comparison& comparison = analysis.comparisons[0];
  EXPECT_EQ(comparison.length, 8);
  EXPECT_THAT(comparison.seeds, ElementsAre(1u, 3u));
  EXPECT_THAT(comparison.by_seed, ElementsAre(-0.5, -0.25));
  EXPECT_DOUBLE_EQ(comparison.difference.mean, -0.375);
  EXPECT_DOUBLE_EQ(comparison.p, 0.5);
  EXPECT_DOUBLE_EQ(comparison.p_holm, 1);
}

TEST(Analysis, OneDocumentHasNoInterval) {
  const TargetPlaces places = even_places(1, 12);
  const Analysis analysis = analyze(places, {simple_replica(places, "rse", 1, 3, -0.1)}, 8, kEntropy, kQuick);
  EXPECT_FALSE(analysis.arms[0].at(16, false)->difference->interval.has_value());
  EXPECT_FALSE(analysis.arms[0].at(16, false)->nll.interval.has_value());
  EXPECT_THAT(findings(analysis), Contains(HasSubstr("one document: there is no interval")));
  EXPECT_THAT(findings(analysis), Each(Not(HasSubstr("improves"))));
}

TEST(Analysis, ALossThatIsNotFiniteIsNamed) {
  const TargetPlaces places = uneven_places();
  ReplicaLosses replica = uneven_replica("rope", 7);
  replica.lengths[3].nll[2] = std::nanf("");
  EXPECT_THAT([&] { analyze(places, {replica}, 8, kEntropy, kQuick); },
              ThrowsUserError("rope, seed 7: the NLL of a target at length 16 under the control is nan"));
}

TEST(Analysis, MisuseIsABug) {
  const TargetPlaces places = uneven_places();
  EXPECT_THROW(analyze(places, {uneven_replica(), uneven_replica()}, 8, kEntropy, kQuick), std::logic_error);
  EXPECT_THROW(analyze(places, {uneven_replica()}, 4, kEntropy, kQuick), std::logic_error);
  ReplicaLosses cut = uneven_replica();
  cut.lengths[1].nll.pop_back();
  EXPECT_THROW(analyze(places, {cut}, 8, kEntropy, kQuick), std::logic_error);
}

TEST(Verdict, NeedsFiveSeeds) {
  const Analysis three = analysis_of_changes({{"rse", -0.1}, {"rope", 0.1}}, 3);
  EXPECT_EQ(three.comparisons.back().verdict, Verdict::kNotEnoughSeeds);
  EXPECT_DOUBLE_EQ(three.comparisons.back().p, 0.25);
  EXPECT_THAT(findings(three), Contains(HasSubstr("rse and rope: not enough seeds (3; at least 5, and ")));
  EXPECT_THAT(findings(three), Each(Not(HasSubstr("is better"))));
}

TEST(Verdict, FiveSeedsCannotPassTheTest) {
  const Analysis five = analysis_of_changes({{"rse", -0.1}, {"rope", 0.1}}, 5);
  const Comparison& at_64 = five.comparisons.back();
  EXPECT_EQ(at_64.verdict, Verdict::kOutOfReach);
  EXPECT_DOUBLE_EQ(at_64.p, 0.0625);
  EXPECT_DOUBLE_EQ(at_64.smallest_p_holm, 3 * 0.0625);
  EXPECT_THAT(findings(five), Contains(AllOf(HasSubstr("5 seeds cannot bring p below 0.188"),
                                             HasSubstr("3 comparisons"), HasSubstr("7 seeds could"))));
}

TEST(Verdict, IsGivenWhereTestAndIntervalAgree) {
  const Analysis seven = analysis_of_changes({{"rse", -0.1}, {"rope", 0.1}}, 7);
  ASSERT_EQ(seven.comparisons.size(), 3u);
  EXPECT_EQ(seven.comparisons[0].verdict, Verdict::kNotShown);  // equal at the trained length
  EXPECT_EQ(seven.comparisons[2].verdict, Verdict::kFirstBetter);
  EXPECT_THAT(findings(seven),
              Contains(AllOf(HasSubstr("no difference shown at 8"), HasSubstr("rse is better at 64 (-0.2"))));
  const Analysis swapped = analysis_of_changes({{"rope", 0.1}, {"rse", -0.1}}, 7);
  EXPECT_EQ(swapped.comparisons[2].verdict, Verdict::kSecondBetter);
}

TEST(Verdict, IsNotGivenOnTheUnigramPlateau) {
  const Analysis analysis = analysis_of_changes({{"rse", -0.1}, {"learned", 0.1}}, 7, 5.5);
  EXPECT_TRUE(analysis.arms[1].on_plateau);
  EXPECT_EQ(analysis.comparisons[2].verdict, Verdict::kOnPlateau);
  EXPECT_THAT(findings(analysis), Contains(AllOf(HasSubstr("learned: NLL 5.501 (seed 1), 5.502 (seed 2)"),
                                                 HasSubstr("say nothing about the method"))));
  EXPECT_THAT(findings(analysis), Each(Not(HasSubstr("learned beyond"))));
  EXPECT_THAT(findings(analysis),
              Contains(HasSubstr("rse and learned: no verdict, an arm is on the unigram plateau")));
}

TEST(Plateau, IncludesAMeasuredOneAndWhatIsNotANumber) {
  EXPECT_TRUE(on_unigram_plateau(6.011, 6.70));  // measured while the model was on the plateau
  EXPECT_FALSE(on_unigram_plateau(3.67, 6.70));
  EXPECT_TRUE(on_unigram_plateau(std::nan(""), 6));
}

TEST(Findings, SayWhatTheIntervalsAllow) {
  const std::vector<std::string> words =
      findings(analysis_of_changes({{"better", -0.05}, {"worse", 2.7}, {"same", 0.0}}, 1));
  EXPECT_THAT(
      words, Contains(AllOf(HasSubstr("better beyond the trained 8 tokens"), HasSubstr("improves (-0.05"),
                            HasSubstr(" at 64"),
                            HasSubstr("intervals over 40 documents: a claim about this one trained model"))));
  EXPECT_THAT(words, Contains(HasSubstr("deteriorates (+2.9")));
  EXPECT_THAT(words, Contains(HasSubstr("holds (+0.0000 [+0.0000, +0.0000]) at 16")));
  EXPECT_THAT(words, Contains(AllOf(HasSubstr("better against its control (attention only within 3 tokens)"),
                                    HasSubstr("context farther away than that is used"))));
  EXPECT_THAT(words, Contains(AllOf(HasSubstr("worse against its control"), HasSubstr("length does harm"))));
  EXPECT_THAT(words,
              Contains(AllOf(HasSubstr("same against its control"), HasSubstr("no use of distant context"))));
  EXPECT_THAT(words, Contains(HasSubstr("not enough seeds (1; at least 5, and ")));
}

TEST(Findings, AWideIntervalAroundZeroIsUndecided) {
  const TargetPlaces places = even_places(10, 4);
  ReplicaLosses replica = simple_replica(places, "rse", 1, 3, 0);
  replica.lengths[2] = losses_by_rule(
      places, 64, 0, [](int64_t, int64_t document) { return document % 2 == 0 ? 3.5f : 2.5f; });
  EXPECT_THAT(findings(analyze(places, {replica}, 8, kEntropy, kQuick)),
              Contains(AllOf(HasSubstr("undecided"), HasSubstr("holds"))));
}

TEST(Findings, FewDocumentsAndSeedsComeWithTheirCoverage) {
  const TargetPlaces places = even_places(9, 4);
  const std::vector<std::string> words =
      findings(analyze(places,
                       {simple_replica(places, "rse", 1, 3, -1), simple_replica(places, "rse", 2, 3, -1),
                        simple_replica(places, "rse", 3, 3, -1)},
                       8, kEntropy, kQuick));
  EXPECT_THAT(words, Contains(AllOf(HasSubstr("9 documents"), HasSubstr("covers about 90 %"))));
  EXPECT_THAT(words, Contains(AllOf(HasSubstr("3 seeds"), HasSubstr("covers about 75 %"))));
}

}  // namespace
}  // namespace rse
