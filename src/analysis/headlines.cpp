#include "analysis/headlines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "analysis/wording.h"

namespace rse {
namespace {

using namespace wording;

// Clauses with "; " between them; "3 more are in the report" where they are too many.
std::string listed(std::vector<std::string> clauses, size_t most) {
  if (clauses.size() > most) {
    const size_t more = clauses.size() - most;
    clauses.resize(most);
    clauses.push_back(fmt::format("{} more {} in the report", more, more == 1 ? "is" : "are"));
  }
  return fmt::format("{}", fmt::join(clauses, "; "));
}

std::string plateau_text(const Analysis& analysis, const ArmResult& arm) {
  const std::vector<std::string> stuck = plateau_losses(analysis, arm);
  if (stuck.size() < arm.seeds.size()) {
    return fmt::format(
        "{}: {} of {} seeds {} still on the unigram plateau: NLL {} at {} tokens shows little beyond word "
        "frequencies (unigram entropy {:.3f}), so the arm's numbers say nothing about the method.",
        arm.arm, stuck.size(), arm.seeds.size(), stuck.size() == 1 ? "is" : "are", fmt::join(stuck, ", "),
        grouped(analysis.trained_length), analysis.unigram_entropy);
  }
  return fmt::format(
      "{} is still on the unigram plateau: its NLL of {:.3f} at {} tokens shows little beyond word "
      "frequencies (unigram entropy {:.3f}), so its numbers say nothing about the method.",
      arm.arm, arm.at(analysis.trained_length, false)->nll.mean, grouped(analysis.trained_length),
      analysis.unigram_entropy);
}

const char* change_verb(const Estimate& change) {
  switch (judge_change(change)) {
    case Change::kNoInterval:
      return "changes";
    case Change::kImproves:
      return "improves";
    case Change::kDeteriorates:
      return "deteriorates";
    case Change::kHolds:
      return "holds";
    case Change::kUndecided:
      break;
  }
  return "is undecided";
}

std::string change_text(const Analysis& analysis, const ArmResult& arm, const LengthResult& row) {
  return fmt::format(
      "{} {}: from {} to {} tokens, paired by target, its NLL changes by {} nats; its mean there is {:.4f}.",
      arm.arm, change_verb(*row.difference), grouped(analysis.trained_length), grouped(row.length),
      with_interval(*row.difference), row.nll.mean);
}

std::string control_text(const ArmResult& arm, const LengthResult& row) {
  if (!row.over_control) {
    return "No control was evaluated, so a gain with length may come from fewer cut-off contexts alone.";
  }
  const std::string control = fmt::format("its control (attention only within {} tokens)",
                                          grouped(arm.at(row.length, true)->attention_window - 1));
  const std::string numbers = with_interval(*row.over_control);
  switch (judge_control(*row.over_control)) {
    case AgainstControl::kNoInterval:
      return fmt::format("It differs from {} by {} there; without an interval nothing follows from that.",
                         control, numbers);
    case AgainstControl::kBetter:
      return fmt::format("It is better than {} there ({}), so it uses context farther away.", control,
                         numbers);
    case AgainstControl::kWorse:
      return fmt::format(
          "It is worse than {} there ({}), so length harms it where nearby attention would not.", control,
          numbers);
    case AgainstControl::kNotShown:
      break;
  }
  return fmt::format("No difference from {} is shown there ({}).", control, numbers);
}

std::string arm_text(const Analysis& analysis, const ArmResult& arm) {
  if (arm.on_plateau) return plateau_text(analysis, arm);
  const LengthResult& row = *arm.at(longest_length(analysis), false);
  if (row.length == analysis.trained_length) {
    return fmt::format(
        "{} has a mean NLL of {:.4f} at the trained {} tokens; no longer length was evaluated.", arm.arm,
        row.nll.mean, grouped(row.length));
  }
  return change_text(analysis, arm, row) + " " + control_text(arm, row);
}

// Of a pair without an arm on the plateau.
std::string pair_clause(const Comparison& pair) {
  std::string numbers =
      fmt::format("{} minus {} {}", pair.first, pair.second, with_interval(pair.difference));
  switch (pair.verdict) {
    case Verdict::kNotShown:
      return fmt::format("no difference between {} and {} is shown ({}, p {:.2g})", pair.first, pair.second,
                         with_interval(pair.difference), pair.p_holm);
    case Verdict::kFirstBetter:
      return fmt::format("{} is better than {} ({}, p {:.2g})", pair.first, pair.second, numbers,
                         pair.p_holm);
    case Verdict::kSecondBetter:
      return fmt::format("{} is better than {} ({}, p {:.2g})", pair.second, pair.first, numbers,
                         pair.p_holm);
    case Verdict::kOnPlateau:
    case Verdict::kNotEnoughSeeds:
    case Verdict::kOutOfReach:
      break;
  }
  return numbers;
}

bool lacks_seeds(const Comparison& pair) {
  return pair.verdict == Verdict::kNotEnoughSeeds || pair.verdict == Verdict::kOutOfReach;
}

// Pairs at the longest length, in one sentence; empty where there is one arm.
std::string pairs_text(const Analysis& analysis, size_t most_clauses) {
  const std::vector<Comparison>& all = analysis.comparisons;
  const std::string where = fmt::format("Between arms at {} tokens", grouped(longest_length(analysis)));
  std::vector<Comparison> pairs;
  std::copy_if(all.begin(), all.end(), std::back_inserter(pairs), [&](const Comparison& pair) {
    return pair.length == longest_length(analysis) && pair.verdict != Verdict::kOnPlateau;
  });
  if (pairs.empty()) {
    return all.empty() ? "" : where + " there is no verdict: an arm of each pair is on the unigram plateau.";
  }
  std::string reason;
  if (std::any_of(pairs.begin(), pairs.end(), lacks_seeds)) {
    size_t seeds = kMostFlips;  // the fewest of a pair
    for (const Comparison& pair : pairs) seeds = std::min(seeds, pair.seeds.size());
    const auto family = static_cast<int64_t>(all.size());
    reason =
        fmt::format(", {} {} not enough for a verdict ({} {} {})",
                    count_of(static_cast<int64_t>(seeds), "seed"), seeds == 1 ? "is" : "are",
                    count_of(family, "comparison"), family == 1 ? "takes" : "take", seeds_needed(all.size()));
  }
  std::vector<std::string> clauses;
  for (const Comparison& pair : pairs) clauses.push_back(pair_clause(pair));
  const bool tested = !std::all_of(pairs.begin(), pairs.end(), lacks_seeds);
  return fmt::format("{}{}: {}{}", where, reason, listed(std::move(clauses), most_clauses),
                     tested ? "; p is after Holm's correction." : ".");
}

std::string changes_sentence(const Analysis& analysis, size_t most_clauses) {
  const int64_t longest = longest_length(analysis);
  if (longest == analysis.trained_length) {
    return fmt::format("No length beyond the trained {} tokens was evaluated.", grouped(longest));
  }
  std::vector<std::string> clauses;
  for (const ArmResult& arm : analysis.arms) {
    if (arm.on_plateau) continue;
    const Estimate& change = *arm.at(longest, false)->difference;
    clauses.push_back(fmt::format("{} {} ({})", arm.arm, change_verb(change), with_interval(change)));
  }
  if (clauses.empty()) return "";
  return fmt::format("From {} to {} tokens, change of NLL in nats: {}.", grouped(analysis.trained_length),
                     grouped(longest), listed(std::move(clauses), most_clauses));
}

std::string control_clause(const std::string& arm, const Estimate& over_control) {
  const std::string numbers = with_interval(over_control);
  switch (judge_control(over_control)) {
    case AgainstControl::kNoInterval:
      return fmt::format("{} differs ({})", arm, numbers);
    case AgainstControl::kBetter:
      return fmt::format("{} is better ({}), so it uses distant context", arm, numbers);
    case AgainstControl::kWorse:
      return fmt::format("{} is worse ({}), so length harms it", arm, numbers);
    case AgainstControl::kNotShown:
      break;
  }
  return fmt::format("{} shows no difference ({})", arm, numbers);
}

std::string controls_sentence(const Analysis& analysis, size_t most_clauses) {
  const int64_t longest = longest_length(analysis);
  const LengthResult* control = analysis.arms.front().at(longest, true);
  if (control == nullptr) {
    return "No control was evaluated, so a gain with length may come from fewer cut-off contexts alone.";
  }
  std::vector<std::string> clauses;
  for (const ArmResult& arm : analysis.arms) {
    if (arm.on_plateau) continue;
    clauses.push_back(control_clause(arm.arm, *arm.at(longest, false)->over_control));
  }
  if (clauses.empty()) return "";
  return fmt::format("Against the control (attention only within {} tokens) at {} tokens: {}.",
                     grouped(control->attention_window - 1), grouped(longest),
                     listed(std::move(clauses), most_clauses));
}

std::string plateau_sentence(const Analysis& analysis, size_t most_names) {
  std::vector<std::string> names;
  for (const ArmResult& arm : analysis.arms) {
    if (!arm.on_plateau) continue;
    const size_t stuck = plateau_losses(analysis, arm).size();
    names.push_back(stuck == arm.seeds.size()
                        ? arm.arm
                        : fmt::format("{} ({} of {} seeds)", arm.arm, stuck, arm.seeds.size()));
  }
  if (names.empty()) return "";
  const bool one = names.size() == 1;
  if (names.size() > most_names) {
    const size_t more = names.size() - most_names;
    names.resize(most_names);
    names.push_back(fmt::format("{} more", more));
  }
  return fmt::format("{} {} still on the unigram plateau, so {} numbers say nothing about the method{}.",
                     fmt::join(names, ", "), one ? "is" : "are", one ? "its" : "their", one ? "" : "s");
}

}  // namespace

Headlines make_headlines(const Analysis& analysis) {
  Headlines headlines;
  headlines.warnings = analysis.warnings;
  for (const ArmResult& arm : analysis.arms) {
    headlines.arms.push_back({arm.arm, arm_text(analysis, arm)});
  }
  headlines.between_arms = pairs_text(analysis, analysis.comparisons.size());
  headlines.scope = fmt::format("{}", fmt::join(reservations(analysis), " "));
  return headlines;
}

std::vector<std::string> summary_sentences(const Analysis& analysis, size_t most_clauses) {
  std::vector<std::string> sentences = {
      changes_sentence(analysis, most_clauses), controls_sentence(analysis, most_clauses),
      pairs_text(analysis, most_clauses), plateau_sentence(analysis, most_clauses)};
  // There is room for one: seeds matter more than documents.
  if (const auto limits = reservations(analysis); !limits.empty()) sentences.push_back(limits.back());
  std::erase_if(sentences, [](const std::string& sentence) { return sentence.empty(); });
  return sentences;
}

}  // namespace rse
