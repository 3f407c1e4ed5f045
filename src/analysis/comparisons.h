// Arms against each other: pairs at every length, exact tests, Holm's correction and verdicts (src/eval/README.md
// section 5). No Torch.
//
// Order of calls: compare_arms() for all pairs -> IntervalQueue::fill() -> judge_all(), which needs the
// intervals and the whole family of comparisons.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "analysis/arm_results.h"
#include "analysis/loss_table.h"

namespace rse {

// With fewer seeds no sentence of the form "A is better than B" (src/eval/README.md section 5).
inline constexpr size_t kSeedsForAVerdict = 5;

// Level of the comparisons' tests, after Holm's correction.
inline constexpr double kSignificance = 0.05;

enum class Verdict {
  kNotEnoughSeeds,  // fewer than kSeedsForAVerdict
  kOnPlateau,       // one of the arms says nothing
  kOutOfReach,      // there are so many comparisons that no result of so few seeds could pass the test
  kNotShown,        // the test or the interval allows no difference, or either sign
  kFirstBetter,     // Holm's p is at most kSignificance and the interval lies on one side of 0
  kSecondBetter,
};
const char* verdict_name(Verdict verdict);  // "not enough seeds", ...

// Two arms at one length, full attention, paired by seed.
struct Comparison {
  std::string first, second;
  int64_t length = 0;
  std::vector<uint64_t> seeds;  // that both arms have
  std::vector<double> by_seed;  // [seeds], NLL of first minus second
  Estimate difference;          // mean over seeds; interval over seeds and documents
  double p = 1;                 // sign-flip test over seeds
  double p_holm = 1;            // corrected over all comparisons of the analysis
  // The smallest p_holm that so many seeds could have reached: 2^(1 - n) times the comparisons of at most n
  // seeds, at most 1.
  double smallest_p_holm = 1;
  std::optional<double> detectable;  // detectable_difference(by_seed)
  Verdict verdict = Verdict::kNotEnoughSeeds;
};

// Every pair of arms that share seeds, in order, at every length with full attention. arms: for each arm the
// indices of its replicas in the table. The intervals come with intervals.fill(), until which the comparisons
// stay where they are. UserError where a pair has more than kMostFlips seeds.
std::vector<Comparison> compare_arms(const LossTable& table, const std::vector<std::vector<size_t>>& arms,
                                     IntervalQueue& intervals);

// Sets p_holm, smallest_p_holm and verdict of every comparison. arms: say which are on the plateau.
void judge_all(const std::vector<ArmResult>& arms, std::vector<Comparison>& comparisons);

}  // namespace rse
