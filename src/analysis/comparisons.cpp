#include "analysis/comparisons.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "core/check.h"

namespace rse {
namespace {

// The pairing of two arms at every length with full attention; `tables` gains one table per comparison.
void compare(const LossTable& table, const std::vector<size_t>& first, const std::vector<size_t>& second,
             std::vector<Comparison>& comparisons, std::vector<DocumentTable>& tables) {
  const std::vector<ReplicaLosses>& replicas = table.replicas();
  std::vector<std::pair<size_t, size_t>> pairs;
  std::vector<uint64_t> seeds;
  for (size_t a : first) {
    for (size_t b : second) {
      if (replicas[a].seed != replicas[b].seed) continue;
      pairs.emplace_back(a, b);
      seeds.push_back(replicas[a].seed);
    }
  }
  if (pairs.empty()) return;
  const std::string& first_arm = replicas[first.front()].arm;
  const std::string& second_arm = replicas[second.front()].arm;
  if (pairs.size() > kMostFlips) {
    throw_user_error(
        "{} and {}: {} seeds; expected at most {} (an exact test goes through every sign pattern)", first_arm,
        second_arm, pairs.size(), kMostFlips);
  }
  for (const Setting& setting : table.settings()) {
    if (setting.second > 0) continue;
    Comparison comparison;
    comparison.first = first_arm;
    comparison.second = second_arm;
    comparison.length = setting.first;
    comparison.seeds = seeds;
    tables.push_back(table.differences(pairs, setting, setting));
    for (const std::vector<double>& row : tables.back().sums) {
      comparison.by_seed.push_back(DocumentTable{{row}, tables.back().weights}.mean());
    }
    comparison.p = sign_flip_p(comparison.by_seed);
    comparison.detectable = detectable_difference(comparison.by_seed);
    comparisons.push_back(std::move(comparison));
  }
}

Verdict judge(const Comparison& comparison, bool on_plateau) {
  if (on_plateau) return Verdict::kOnPlateau;
  if (comparison.seeds.size() < kSeedsForAVerdict) return Verdict::kNotEnoughSeeds;
  if (comparison.smallest_p_holm > kSignificance) return Verdict::kOutOfReach;
  const std::optional<Interval>& interval = comparison.difference.interval;
  if (comparison.p_holm > kSignificance || !interval || interval->contains(0)) return Verdict::kNotShown;
  return interval->high < 0 ? Verdict::kFirstBetter : Verdict::kSecondBetter;
}

// The smallest p of a two-sided sign-flip test over so many seeds.
double smallest_p(size_t seeds) { return std::ldexp(2.0, -static_cast<int>(seeds)); }

// The smallest p after Holm's correction that comparison `which` could have had: each other comparison that
// can go as low may stand before it, at its own smallest p, and takes a place in the family.
double smallest_reachable(const std::vector<Comparison>& comparisons, size_t which) {
  const double own = smallest_p(comparisons[which].seeds.size());
  std::vector<double> others;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const double p = smallest_p(comparisons[i].seeds.size());
    if (i != which && p <= own) others.push_back(p);
  }
  std::sort(others.begin(), others.end());
  auto family = static_cast<double>(comparisons.size());
  double best = family * own, before = 0;
  for (const double p : others) {
    before = std::max(before, family * p);
    family -= 1;
    best = std::min(best, std::max(before, family * own));
  }
  return std::min(1.0, best);
}

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNotEnoughSeeds:
      return "not enough seeds";
    case Verdict::kOnPlateau:
      return "an arm is on the unigram plateau";
    case Verdict::kOutOfReach:
      return "too few seeds for so many comparisons";
    case Verdict::kNotShown:
      return "no difference shown";
    case Verdict::kFirstBetter:
      return "the first is better";
    case Verdict::kSecondBetter:
      return "the second is better";
  }
  RSE_ASSERT(false, "verdict {}", static_cast<int>(verdict));
}

std::vector<Comparison> compare_arms(const LossTable& table, const std::vector<std::vector<size_t>>& arms,
                                     IntervalQueue& intervals) {
  std::vector<Comparison> comparisons;
  std::vector<DocumentTable> tables;
  for (size_t a = 0; a < arms.size(); ++a) {
    for (size_t b = a + 1; b < arms.size(); ++b) compare(table, arms[a], arms[b], comparisons, tables);
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    intervals.add(&comparisons[i].difference, std::move(tables[i]));
  }
  return comparisons;
}

void judge_all(const std::vector<ArmResult>& arms, std::vector<Comparison>& comparisons) {
  std::vector<double> p;
  for (const Comparison& comparison : comparisons) p.push_back(comparison.p);
  const std::vector<double> adjusted = holm_adjusted(p);
  std::set<std::string> plateau;
  for (const ArmResult& arm : arms) {
    if (arm.on_plateau) plateau.insert(arm.arm);
  }
  for (size_t i = 0; i < p.size(); ++i) {
    Comparison& comparison = comparisons[i];
    comparison.p_holm = adjusted[i];
    comparison.smallest_p_holm = smallest_reachable(comparisons, i);
    comparison.verdict =
        judge(comparison, plateau.contains(comparison.first) || plateau.contains(comparison.second));
  }
}

}  // namespace rse
