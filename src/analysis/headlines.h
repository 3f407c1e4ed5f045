// The most important findings, at the longest length: for the first section of the report and, shorter, for
// the terminal. No Torch.
//
// Each text stands on what analysis/findings.h says in full; none says more.
#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace rse {

struct ArmHeadline {
  std::string arm;
  std::string text;  // one or two sentences with numbers: from the trained to the longest length; the control
};

struct Headlines {
  std::vector<std::string> warnings;  // Analysis::warnings
  std::vector<ArmHeadline> arms;      // in the order of the analysis
  std::string between_arms;           // verdicts at the longest length, or why there are none; empty: one arm
  std::string scope;                  // what limits all of them: few seeds or documents; empty: nothing
};

Headlines make_headlines(const Analysis& analysis);

// Three to five sentences that name every arm: change to the longest length, control, verdicts, arms on the
// unigram plateau, what limits all of them. A sentence lists at most `most_clauses` arms or pairs and counts
// the others.
std::vector<std::string> summary_sentences(const Analysis& analysis, size_t most_clauses);

}  // namespace rse
