#include "analysis/wording.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rse::wording {
namespace {

// Below so many, percentile intervals are noticeably narrower than they say.
constexpr int64_t kFewDocuments = 30;

// "-0.0062", "+2.713": four decimals where a change is small.
std::string change(double value, double size) { return fmt::format("{:+.{}f}", value, size < 0.1 ? 4 : 3); }

}  // namespace

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

std::string with_interval(const Estimate& estimate) {
  if (!estimate.interval) return change(estimate.mean, std::abs(estimate.mean));
  const double size = std::max(std::abs(estimate.interval->low), std::abs(estimate.interval->high));
  return fmt::format("{} [{}, {}]", change(estimate.mean, size), change(estimate.interval->low, size),
                     change(estimate.interval->high, size));
}

Change judge_change(const Estimate& change) {
  if (!change.interval) return Change::kNoInterval;
  const Interval& interval = *change.interval;
  if (interval.high < 0) return Change::kImproves;
  if (interval.low > 0) return Change::kDeteriorates;
  return std::max(-interval.low, interval.high) <= kHoldMargin ? Change::kHolds : Change::kUndecided;
}

AgainstControl judge_control(const Estimate& over_control) {
  if (!over_control.interval) return AgainstControl::kNoInterval;
  if (over_control.interval->high < 0) return AgainstControl::kBetter;
  if (over_control.interval->low > 0) return AgainstControl::kWorse;
  return AgainstControl::kNotShown;
}

std::string scope(const Analysis& analysis, size_t seeds) {
  if (analysis.documents < 2) return "one document, so no interval";
  const std::string documents = count_of(analysis.documents, "document");
  if (seeds == 1) return fmt::format("intervals over {}: a claim about this one trained model", documents);
  const std::string both =
      fmt::format("intervals over {} and {}", count_of(static_cast<int64_t>(seeds), "seed"), documents);
  return seeds < kSeedsForAVerdict ? both + ": a claim about these trained models" : both;
}

int64_t seeds_needed(size_t family) {
  auto seeds = static_cast<int64_t>(kSeedsForAVerdict);
  while (std::ldexp(2.0, -static_cast<int>(seeds)) * static_cast<double>(family) > kSignificance) ++seeds;
  return seeds;
}

std::vector<std::string> reservations(const Analysis& analysis) {
  std::vector<std::string> sentences;
  if (analysis.documents == 1) {
    sentences.emplace_back(
        "The targets lie in one document: there is no interval, and nothing here speaks of other texts.");
  } else if (analysis.documents < kFewDocuments) {
    sentences.push_back(
        fmt::format("There are {}: percentile intervals over so few are too narrow; of normal values, one "
                    "that says 95 % covers about {:.0f} %.",
                    count_of(analysis.documents, "document"), 100 * percentile_coverage(analysis.documents)));
  }
  size_t seeds = 0;
  for (const ArmResult& arm : analysis.arms) seeds = std::max(seeds, arm.seeds.size());
  if (seeds == 1) {
    sentences.emplace_back(
        "There is one seed per arm: every statement is about the trained models, none about the methods.");
  } else if (static_cast<int64_t>(seeds) < kFewDocuments && analysis.documents > 1) {
    sentences.push_back(fmt::format(
        "There are {}: where seeds differ more than documents, an interval that says 95 % covers about "
        "{:.0f} %.",
        count_of(static_cast<int64_t>(seeds), "seed"),
        100 * percentile_coverage(static_cast<int64_t>(seeds))));
  }
  return sentences;
}

std::vector<std::string> plateau_losses(const Analysis& analysis, const ArmResult& arm) {
  std::vector<std::string> losses;
  for (const ArmResult& replica : analysis.replicas) {
    if (replica.arm != arm.arm || !replica.on_plateau) continue;
    losses.push_back(fmt::format("{:.3f} (seed {})", replica.at(analysis.trained_length, false)->nll.mean,
                                 replica.seeds.front()));
  }
  return losses;
}

int64_t longest_length(const Analysis& analysis) {
  int64_t longest = analysis.trained_length;
  for (const LengthResult& row : analysis.arms.front().lengths) longest = std::max(longest, row.length);
  return longest;
}

}  // namespace rse::wording
