#include "analysis/findings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace rse {
namespace {

// Below so many, percentile intervals are noticeably narrower than they say.
constexpr int64_t kFewDocuments = 30;

// "16,384"
std::string grouped(int64_t value) {
  const std::string digits = std::to_string(value);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && digits[i - 1] != '-' && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string count_of(int64_t count, const char* thing) {
  return fmt::format("{} {}{}", grouped(count), thing, count == 1 ? "" : "s");
}

// "-0.0062", "+2.713": four decimals where a change is small.
std::string change(double value, double size) { return fmt::format("{:+.{}f}", value, size < 0.1 ? 4 : 3); }

// "-0.0062 [-0.0071, -0.0053]"
std::string with_interval(const Estimate& estimate) {
  if (!estimate.interval) return change(estimate.mean, std::abs(estimate.mean));
  const double size = std::max(std::abs(estimate.interval->low), std::abs(estimate.interval->high));
  return fmt::format("{} [{}, {}]", change(estimate.mean, size), change(estimate.interval->low, size),
                     change(estimate.interval->high, size));
}

std::string join_clauses(const std::vector<std::string>& clauses) {
  return fmt::format("{}", fmt::join(clauses, "; "));
}

// What an interval of these seeds says something about.
std::string scope(const Analysis& analysis, size_t seeds) {
  if (analysis.documents < 2) return "one document, so no interval";
  const std::string documents = count_of(analysis.documents, "document");
  if (seeds == 1) return fmt::format("intervals over {}: a claim about this one trained model", documents);
  const std::string both =
      fmt::format("intervals over {} and {}", count_of(static_cast<int64_t>(seeds), "seed"), documents);
  return seeds < kSeedsForAVerdict ? both + ": a claim about these trained models" : both;
}

// "holds", ... for a change beyond the trained length.
std::string change_in_words(const Estimate& estimate) {
  if (!estimate.interval) return fmt::format("changes by {}", with_interval(estimate));
  const Interval& interval = *estimate.interval;
  const char* word = "undecided";
  if (interval.high < 0) {
    word = "improves";
  } else if (interval.low > 0) {
    word = "deteriorates";
  } else if (std::max(-interval.low, interval.high) <= kHoldMargin) {
    word = "holds";
  }
  return fmt::format("{} ({})", word, with_interval(estimate));
}

std::string control_in_words(const Estimate& estimate) {
  if (!estimate.interval) return fmt::format("differs by {}", with_interval(estimate));
  const char* word = "no difference shown";
  if (estimate.interval->high < 0) word = "better";
  if (estimate.interval->low > 0) word = "worse";
  return fmt::format("{} ({})", word, with_interval(estimate));
}

void whole_report(const Analysis& analysis, std::vector<std::string>& sentences) {
  if (analysis.documents == 1) {
    sentences.push_back(
        "The targets lie in one document: there is no interval, and nothing here speaks of other texts.");
  } else if (analysis.documents < kFewDocuments) {
    sentences.push_back(
        fmt::format("{}: percentile intervals over so few are too narrow; of normal values one that says 95 "
                    "% covers about {:.0f} %.",
                    count_of(analysis.documents, "document"), 100 * percentile_coverage(analysis.documents)));
  }
  size_t seeds = 0;
  for (const ArmResult& arm : analysis.arms) seeds = std::max(seeds, arm.seeds.size());
  if (seeds == 1) {
    sentences.push_back(
        "One seed an arm: every statement is about the trained models, none about the methods.");
  } else if (static_cast<int64_t>(seeds) < kFewDocuments && analysis.documents > 1) {
    sentences.push_back(fmt::format(
        "{}: where seeds differ more than documents, an interval that says 95 % covers about {:.0f} %.",
        count_of(static_cast<int64_t>(seeds), "seed"),
        100 * percentile_coverage(static_cast<int64_t>(seeds))));
  }
}

void plateau(const Analysis& analysis, const ArmResult& arm, std::vector<std::string>& sentences) {
  std::vector<std::string> stuck;
  for (const ArmResult& replica : analysis.replicas) {
    if (replica.arm != arm.arm || !replica.on_plateau) continue;
    stuck.push_back(fmt::format("{:.3f} (seed {})", replica.at(analysis.trained_length, false)->nll.mean,
                                replica.seeds.front()));
  }
  if (stuck.empty()) return;
  sentences.push_back(
      fmt::format("{}: NLL {} at {} tokens is not below {:g} times the unigram entropy {:.3f}: still on the "
                  "unigram plateau, where a "
                  "model knows little beyond word frequencies; its numbers say nothing about the method.",
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
  sentences.push_back(fmt::format("{} beyond the trained {} tokens, change of NLL in nats: {}. ({}.)",
                                  arm.arm, grouped(analysis.trained_length), join_clauses(clauses),
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

// Seeds from which a sign-flip test can reach kSignificance in a family of this size.
int64_t seeds_needed(size_t family) {
  int64_t seeds = static_cast<int64_t>(kSeedsForAVerdict);
  while (std::ldexp(2.0, -static_cast<int>(seeds)) * static_cast<double>(family) > kSignificance) ++seeds;
  return seeds;
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

// One sentence a pair of arms. What keeps a pair from a verdict does so at every length.
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
      "so they cannot "
      "give a verdict at the level of {:g}; {} seeds could.",
      weakest->seeds.size(), weakest->smallest_p_holm, all.size(), kSignificance, seeds_needed(all.size())));
}

std::string optional_change(const std::optional<Estimate>& estimate) {
  return estimate ? with_interval(*estimate) : "";
}

}  // namespace

std::vector<std::string> findings(const Analysis& analysis) {
  std::vector<std::string> sentences;
  whole_report(analysis, sentences);
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

std::string result_table(const Analysis& analysis) {
  size_t width = 3;
  for (const ArmResult& replica : analysis.replicas) width = std::max(width, replica.arm.size());
  constexpr const char* kRow = "{:<{}} {:>5} {:>8} {:>8} {:>29} {:>8} {:>29}\n";
  std::string text = fmt::format(kRow, "arm", width, "seed", "length", "NLL",
                                 fmt::format("minus NLL at {}", grouped(analysis.trained_length)), "control",
                                 "full minus control");
  for (const ArmResult& replica : analysis.replicas) {
    for (const LengthResult& row : replica.lengths) {
      if (row.control()) continue;
      const LengthResult* control = replica.at(row.length, true);
      text += fmt::format(kRow, replica.arm, width, replica.seeds.front(), grouped(row.length),
                          fmt::format("{:.4f}", row.nll.mean), optional_change(row.difference),
                          control != nullptr ? fmt::format("{:.4f}", control->nll.mean) : "",
                          optional_change(row.over_control));
    }
  }
  text += fmt::format("{} in {}; NLL in nats a target; differences paired by target, averaged by document{}",
                      count_of(analysis.targets, "target"), count_of(analysis.documents, "document"),
                      analysis.documents > 1 ? ", with 95 % bootstrap intervals over documents" : "");
  for (const std::string& sentence : findings(analysis)) text += "\n" + sentence;
  return text;
}

}  // namespace rse
