// From losses target by target to the numbers of a report: means, paired differences, controls, edges,
// comparisons between arms, each with its interval (src/eval/README.md sections 2, 3 and 5). No Torch.
//
// Order of calls: analyze() -> result_table() (analysis/findings.h), write_evaluation()
// (analysis/evaluation_json.h). NLL is in nats. A mean NLL weighs every target the same; a difference is
// paired by target, averaged inside each document, then over documents, every document alike - so a
// difference need not be the difference of two means. Intervals are 95 % percentile bootstrap intervals: over
// documents for one replica, over seeds and documents for an arm of several seeds and for a pair of arms;
// absent where there is one document.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "analysis/statistics.h"
#include "analysis/target_losses.h"

namespace rse {

// An arm whose NLL is not below this share of the data's unigram entropy knows little beyond word frequencies
// (src/eval/README.md section 5 has the reason).
inline constexpr double kPlateauShare = 0.88;

// With fewer seeds no sentence of the form "A is better than B" (src/eval/README.md section 5).
inline constexpr size_t kSeedsForAVerdict = 5;

// Level of the comparisons' tests, after Holm's correction.
inline constexpr double kSignificance = 0.05;

// A change whose interval holds 0 and stays within this, in nats, is called holding; a wider one is
// undecided.
inline constexpr double kHoldMargin = 0.02;

// True for NaN too.
inline bool on_unigram_plateau(double nll, double unigram_entropy) {
  return !(nll < kPlateauShare * unigram_entropy);
}

struct Estimate {
  double mean = 0;
  std::optional<Interval> interval;
};

// Targets whose distance to the nearer edge of their window is in [first, last] tokens.
struct EdgeBucket {
  int64_t first = 0;
  int64_t last = 0;
  int64_t targets = 0;
  double nll = 0;  // mean over targets (and seeds)
};

// One length with full attention or under the control.
struct LengthResult {
  int64_t length = 0;
  int64_t attention_window = 0;  // as in LengthLosses; 0: full attention
  double seconds = 0;            // wall time; of an arm: summed over seeds
  Estimate nll;
  std::optional<Estimate> difference;  // to full attention at the trained length; absent there
  std::optional<Estimate>
      over_control;  // full minus control at this length; absent without control, and in its rows
  std::vector<EdgeBucket> edges;  // distances 0, 1, 2-3, 4-7, ...; empty ones left out

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

enum class Verdict {
  kNotEnoughSeeds,  // fewer than kSeedsForAVerdict
  kOnPlateau,       // one of the arms says nothing
  kOutOfReach,      // so many comparisons that no result of so few seeds could pass the test
  kNotShown,        // the test or the interval allows no difference, or either sign
  kFirstBetter,     // Holm's p at most kSignificance and the interval on one side of 0
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
  double p_holm = 1;            // over all comparisons of the analysis
  double smallest_p_holm =
      1;  // that n seeds could reach: 2^(1 - n) x comparisons of at most n seeds, at most 1
  std::optional<double> detectable;  // detectable_difference(by_seed)
  Verdict verdict = Verdict::kNotEnoughSeeds;
};

struct Analysis {
  int64_t trained_length = 0;
  int64_t targets = 0;
  int64_t documents = 0;       // that hold targets
  double unigram_entropy = 0;  // of the data, nats
  BootstrapSettings bootstrap;
  std::vector<ArmResult> replicas;      // one an (arm, seed), as given
  std::vector<ArmResult> arms;          // over seeds, in order of appearance
  std::vector<Comparison> comparisons;  // every pair of arms, in order, at every length that both have
};

// replicas: one an (arm, seed), at least one, each with the same lengths and full attention at trained_length
// among them. RSE_ASSERT: sizes differ, no targets, no trained length, an (arm, seed) twice. UserError: a
// loss that is not finite (names arm, seed and length), more than kMostFlips seeds in a pair of arms.
Analysis analyze(const TargetPlaces& places, const std::vector<ReplicaLosses>& replicas,
                 int64_t trained_length, double unigram_entropy, const BootstrapSettings& settings = {});

}  // namespace rse
