// Words and numbers that findings, headlines and the terminal share, so that one result reads the same
// everywhere. No Torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace rse::wording {

// "16,384"
std::string grouped(int64_t value);

// "1 seed", "1,200 targets"
std::string count_of(int64_t count, const char* thing);

// "-0.0062 [-0.0071, -0.0053]"; without an interval the mean alone. Four decimals where the change is small.
std::string with_interval(const Estimate& estimate);

// What an interval says about a change of NLL beyond the trained length.
enum class Change {
  kNoInterval,
  kImproves,      // the interval lies below 0
  kDeteriorates,  // above 0
  kHolds,         // it holds 0 and stays within kHoldMargin
  kUndecided,     // it holds 0 and is wider
};
Change judge_change(const Estimate& change);

// What an interval says about full attention minus control.
enum class AgainstControl { kNoInterval, kBetter, kWorse, kNotShown };
AgainstControl judge_control(const Estimate& over_control);

// What intervals over these seeds say something about.
std::string scope(const Analysis& analysis, size_t seeds);

// Seeds from which a sign-flip test can reach kSignificance in a family of this size.
int64_t seeds_needed(size_t family);

// What limits every sentence of the report: few documents, then few seeds. Empty where nothing does.
std::vector<std::string> reservations(const Analysis& analysis);

// "5.503 (seed 3)": the mean NLL at the trained length of each replica of an arm that is on the unigram
// plateau there, in the order of the analysis.
std::vector<std::string> plateau_losses(const Analysis& analysis, const ArmResult& arm);

// The longest length that was evaluated with full attention.
int64_t longest_length(const Analysis& analysis);

}  // namespace rse::wording
