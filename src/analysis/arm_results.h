// What an evaluation says about one arm: its loss at every length, the change from the trained length, the
// difference from its control, and the loss by distance to an edge (src/eval/README.md sections 2 and 3). No Torch.
//
// NLL is in nats per target. A mean NLL weighs every target the same; a difference is paired by target,
// averaged inside each document, then over documents, every document alike, so a difference need not be the
// difference of two means.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "analysis/loss_table.h"

namespace rse {

// An arm whose NLL is not below this share of the data's unigram entropy knows little beyond word frequencies
// (src/eval/README.md section 5: a plateau near 6.0, measured 6.01, where the entropy is 6.70).
inline constexpr double kPlateauShare = 0.88;

// A change whose interval holds 0 and stays within this, in nats, is called holding; a wider one is
// undecided.
inline constexpr double kHoldMargin = 0.02;

// True for NaN, too.
inline bool on_unigram_plateau(double nll, double unigram_entropy) {
  return !(nll < kPlateauShare * unigram_entropy);
}

// Targets whose distance to the nearer edge of their window is in [first, last] tokens.
struct EdgeBucket {
  int64_t first = 0;
  int64_t last = 0;
  int64_t targets = 0;
  double nll = 0;  // mean over targets and seeds
};

// One length with full attention or under the control.
struct LengthResult {
  int64_t length = 0;
  int64_t attention_window = 0;  // as in LengthLosses; 0: full attention
  double seconds = 0;            // wall time; of an arm, the sum over its seeds
  Estimate nll;
  // To full attention at the trained length; absent in that row.
  std::optional<Estimate> difference;
  // Full attention minus the control at this length; absent without a control and in the control's own rows.
  std::optional<Estimate> over_control;
  std::vector<EdgeBucket> edges;  // distances 0, 1, 2-3, 4-7, ...; buckets without targets are left out

  bool control() const { return attention_window > 0; }
};

// One (arm, seed), or an arm over all its seeds.
struct ArmResult {
  std::string arm;
  std::vector<uint64_t> seeds;
  bool on_plateau = false;            // any of these seeds, judged with full attention at the trained length
  std::vector<LengthResult> lengths;  // full attention by length, then the control by length

  // nullptr where that was not evaluated.
  const LengthResult* at(int64_t length, bool control) const;
};

// The lengths of an arm whose replicas (indices into the table) are given. Means are set; the intervals come
// with intervals.fill(), until which the rows stay where they are.
std::vector<LengthResult> describe_lengths(const LossTable& table, const std::vector<size_t>& replicas,
                                           int64_t trained_length, IntervalQueue& intervals);

}  // namespace rse
