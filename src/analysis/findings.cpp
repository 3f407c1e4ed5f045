#include "analysis/findings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "analysis/wording.h"

namespace rse {
namespace {

using namespace wording;

std::string join_clauses(const std::vector<std::string>& clauses) {
  return fmt::format("{}", fmt::join(clauses, "; "));
}

// "holds (...)", "improves (...)", ... for a change beyond the trained length.
std::string change_in_words(const Estimate& estimate) {
  const std::string numbers = with_interval(estimate);
  switch (judge_change(estimate)) {
    case Change::kNoInterval:
      return fmt::format("changes by {}", numbers);
    case Change::kImproves:
      return fmt::format("improves ({})", numbers);
    case Change::kDeteriorates:
      return fmt::format("deteriorates ({})", numbers);
    case Change::kHolds:
      return fmt::format("holds ({})", numbers);
    case Change::kUndecided:
      break;
  }
  return fmt::format("undecided ({})", numbers);
}

std::string control_in_words(const Estimate& estimate) {
  const std::string numbers = with_interval(estimate);
  switch (judge_control(estimate)) {
    case AgainstControl::kNoInterval:
      return fmt::format("differs by {}", numbers);
    case AgainstControl::kBetter:
      return fmt::format("better ({})", numbers);
    case AgainstControl::kWorse:
      return fmt::format("worse ({})", numbers);
    case AgainstControl::kNotShown:
      break;
  }
  return fmt::format("no difference shown ({})", numbers);
}

void plateau(const Analysis& analysis, const ArmResult& arm, std::vector<std::string>& sentences) {
  const std::vector<std::string> stuck = plateau_losses(analysis, arm);
  if (stuck.empty()) return;
  sentences.push_back(
      fmt::format("{}: NLL {} at {} tokens is not below {:g} times the unigram entropy {:.3f}: still on the "
                  "unigram plateau, where a model knows little beyond word frequencies; its numbers say "
                  "nothing about the method.",
                  arm.arm, fmt::join(stuck, ", "), grouped(analysis.trained_length), kPlateauShare,
                  analysis.unigram_entropy));
}

void beyond_trained_length(const Analysis& analysis, const ArmResult& arm,
                           std::vector<std::string>& sentences) {
  std::vector<std::string> clauses;
  for (const LengthResult& row : arm.lengths) {
    if (row.control() || row.length <= analysis.trained_length) continue;
    clauses.push_back(fmt::format("{} at {}", change_in_words(*row.difference), grouped(row.length)));
  }
  if (clauses.empty()) {
    sentences.push_back(fmt::format("{}: no length beyond the trained {} tokens was evaluated.", arm.arm,
                                    grouped(analysis.trained_length)));
    return;
  }
  sentences.push_back(fmt::format("{} beyond the trained {} tokens, change of NLL in nats: {} ({}).", arm.arm,
                                  grouped(analysis.trained_length), join_clauses(clauses),
                                  scope(analysis, arm.seeds.size())));
}

void against_control(const Analysis& analysis, const ArmResult& arm, std::vector<std::string>& sentences) {
  std::vector<std::string> clauses;
  int64_t window = 0;
  bool better = false, worse = false;
  for (const LengthResult& row : arm.lengths) {
    if (!row.over_control || row.length < analysis.trained_length) continue;
    window = arm.at(row.length, true)->attention_window;
    clauses.push_back(fmt::format("{} at {}", control_in_words(*row.over_control), grouped(row.length)));
    if (!row.over_control->interval || row.length == analysis.trained_length) continue;
    better = better || row.over_control->interval->high < 0;
    worse = worse || row.over_control->interval->low > 0;
  }
  if (clauses.empty()) {
    sentences.push_back(fmt::format(
        "{}: no control was evaluated, so a gain with length may come from fewer cut-off contexts alone.",
        arm.arm));
    return;
  }
  std::string meaning =
      "Beyond the trained length no use of distant context and no harm from length is shown";
  if (better && worse) {
    meaning = "Where better, distant context is used; where worse, length does harm";
  } else if (better) {
    meaning = "Where better beyond the trained length, context farther away than that is used";
  } else if (worse) {
    meaning = "Where worse beyond the trained length, length does harm that nearby attention would not";
  }
  if (analysis.documents < 2) meaning = "Without intervals nothing follows from it";
  sentences.push_back(fmt::format(
      "{} against its control (attention only within {} tokens), full minus control in nats: {}. {}.",
      arm.arm, grouped(window - 1), join_clauses(clauses), meaning));
}

// "0", "4-7"
std::string distances(const EdgeBucket& bucket) {
  if (bucket.first == bucket.last) return grouped(bucket.first);
  return fmt::format("{}-{}", grouped(bucket.first), grouped(bucket.last));
}

void at_edges(const Analysis& analysis, const ArmResult& arm, std::vector<std::string>& sentences) {
  const std::vector<EdgeBucket>& edges = arm.at(analysis.trained_length, false)->edges;
  if (edges.size() < 2) return;
  const EdgeBucket &near = edges.front(), &far = edges.back();
  sentences.push_back(fmt::format(
      "{} at {} tokens: NLL {:.3f} at distance {} from the nearer edge of a window ({}), {:.3f} at distance "
      "{} "
      "({}); longer windows have fewer targets near an edge.",
      arm.arm, grouped(analysis.trained_length), near.nll, distances(near), count_of(near.targets, "target"),
      far.nll, distances(far), count_of(far.targets, "target")));
}

// "rse is better at 1,024 (-0.0100 [-0.0120, -0.0080], p 0.016, ...)"
std::string comparison_clause(const Comparison& comparison) {
  const std::string where = fmt::format("at {}", grouped(comparison.length));
  std::string numbers = with_interval(comparison.difference);
  switch (comparison.verdict) {
    case Verdict::kOnPlateau:
    case Verdict::kNotEnoughSeeds:
      return fmt::format("{} {}", numbers, where);
    case Verdict::kOutOfReach:
    case Verdict::kNotShown:
    case Verdict::kFirstBetter:
    case Verdict::kSecondBetter:
      break;
  }
  numbers += fmt::format(
      ", p {:.3g}, after Holm's correction {:.3g}; smallest difference that could have been shown {:.3g}",
      comparison.p, comparison.p_holm, comparison.detectable.value());
  if (comparison.verdict == Verdict::kOutOfReach) return fmt::format("no verdict {} ({})", where, numbers);
  if (comparison.verdict == Verdict::kNotShown)
    return fmt::format("no difference shown {} ({})", where, numbers);
  const bool first = comparison.verdict == Verdict::kFirstBetter;
  return fmt::format("{} is better {} ({})", first ? comparison.first : comparison.second, where, numbers);
}

// One sentence per pair of arms. What keeps a pair from a verdict does so at every length.
void between_arms(const Analysis& analysis, std::vector<std::string>& sentences) {
  const std::vector<Comparison>& all = analysis.comparisons;
  for (size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    std::vector<std::string> clauses;
    for (; end < all.size() && all[end].first == all[begin].first && all[end].second == all[begin].second;
         ++end) {
      clauses.push_back(comparison_clause(all[end]));
    }
    const Comparison& pair = all[begin];
    std::string verdict;
    if (pair.verdict == Verdict::kOnPlateau) verdict = "no verdict, an arm is on the unigram plateau; ";
    if (pair.verdict == Verdict::kNotEnoughSeeds) {
      verdict =
          fmt::format("not enough seeds ({}; at least {}, and {} for the {} of this report) for a verdict; ",
                      pair.seeds.size(), kSeedsForAVerdict, seeds_needed(all.size()),
                      count_of(static_cast<int64_t>(all.size()), "comparison"));
    }
    sentences.push_back(fmt::format("{} and {}: {}NLL of {} minus {} in nats: {}.", pair.first, pair.second,
                                    verdict, pair.first, pair.second, join_clauses(clauses)));
  }
  const auto weakest = std::max_element(all.begin(), all.end(), [](const Comparison& a, const Comparison& b) {
    return a.smallest_p_holm < b.smallest_p_holm;
  });
  if (weakest == all.end() || weakest->seeds.size() < kSeedsForAVerdict) return;
  if (weakest->smallest_p_holm <= kSignificance) return;
  sentences.push_back(fmt::format(
      "{} seeds cannot bring p below {:.3g} after Holm's correction over the {} comparisons of this report, "
      "so they cannot give a verdict at the level of {:g}; {} seeds could.",
      weakest->seeds.size(), weakest->smallest_p_holm, all.size(), kSignificance, seeds_needed(all.size())));
}

}  // namespace

std::vector<std::string> findings(const Analysis& analysis) {
  std::vector<std::string> sentences = analysis.warnings;
  for (std::string& sentence : reservations(analysis)) sentences.push_back(std::move(sentence));
  for (const ArmResult& arm : analysis.arms) {
    plateau(analysis, arm, sentences);
    if (arm.on_plateau) continue;
    beyond_trained_length(analysis, arm, sentences);
    against_control(analysis, arm, sentences);
    at_edges(analysis, arm, sentences);
  }
  between_arms(analysis, sentences);
  return sentences;
}

}  // namespace rse
