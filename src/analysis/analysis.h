// From losses target by target to the numbers of a report (src/eval/README.md sections 2, 3 and 5). No Torch.
//
// Order of calls: analyze() -> terminal_summary() (analysis/terminal_summary.h) and write_evaluation()
// (analysis/evaluation_json.h). Intervals are 95 % percentile bootstrap intervals: over documents for one
// replica, over seeds and documents for an arm of several seeds and for a pair of arms; absent where there is
// one document.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analysis/arm_results.h"
#include "analysis/comparisons.h"
#include "analysis/statistics.h"
#include "analysis/target_losses.h"

namespace rse {

struct Analysis {
  int64_t trained_length = 0;
  int64_t targets = 0;
  int64_t documents = 0;       // that hold targets
  double unigram_entropy = 0;  // of the data, nats
  BootstrapSettings bootstrap;
  std::vector<ArmResult> replicas;      // one per (arm, seed), as given
  std::vector<ArmResult> arms;          // over seeds, in order of appearance
  std::vector<Comparison> comparisons;  // every pair of arms, in order, at every length that both have
  // What the texts share with those of training (analysis/data_overlap.h), before all that is said of them. Set by
  // the caller of analyze().
  std::vector<std::string> warnings;
};

// replicas: one per (arm, seed), at least one, each with the same lengths and full attention at
// trained_length among them. RSE_ASSERT: sizes differ, no targets, no trained length, an (arm, seed) twice.
// UserError: a loss that is not finite (names arm, seed and length), more than kMostFlips seeds in a pair of
// arms.
Analysis analyze(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas,
                 int64_t trained_length, double unigram_entropy, const BootstrapSettings& settings = {});

}  // namespace rse
