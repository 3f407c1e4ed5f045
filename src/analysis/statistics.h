// Intervals and tests for means over documents and seeds (src/eval/README.md section 5). No Torch.
//
// Invariants: every result is a pure function of its arguments (draws are counter-based); values are finite
// (RSE_ASSERT). Two means that are bootstrapped with equal settings and equally many documents see the same
// resamples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace rse {

// The level of every interval here.
inline constexpr double kConfidence = 0.95;

struct Interval {
  double low = 0;
  double high = 0;
  bool contains(double value) const { return low <= value && value <= high; }
};

struct BootstrapSettings {
  int64_t resamples = 10000;
  uint64_t seed = 1;  // of the draws; nothing to do with the seeds of training
};

// A mean over documents and, with several rows, seeds: sum of sums / (rows x sum of weights).
//   mean over targets:               sums = sums over a document's targets, weights = its targets
//   mean over documents of a mean:   sums = the documents' means, weights = 1
struct DocumentTable {
  std::vector<std::vector<double>> sums;  // [seeds][documents]
  std::vector<double> weights;  // [documents], positive; the same for all seeds: they answer the same texts
  double mean() const;
};

// Percentile bootstrap (Efron 1979) of the means of `tables`, all over the same documents. One row: documents
// are resampled. Several rows: two levels, in each resample seeds and documents are both drawn with
// replacement, the same documents for all seeds. nullopt for a single document.
std::vector<std::optional<Interval>> bootstrap_intervals(const std::vector<DocumentTable>& tables,
                                                         const BootstrapSettings& settings);

// Share of samples of n independent normal values whose percentile interval holds the mean, as resamples go
// to infinity: P(|T| < 1.96 sqrt((n - 1) / n)) for Student's T with n - 1 degrees of freedom. Below
// kConfidence: small samples make percentile intervals too narrow. n >= 2.
double percentile_coverage(int64_t n);

// Exact two-sided sign-flip permutation test of a zero mean: the share of all 2^n sign patterns whose |mean|
// is at least the observed one (up to rounding). At least 2^(1 - n). 1 <= n <= kMostFlips, else RSE_ASSERT.
inline constexpr size_t kMostFlips = 20;
double sign_flip_p(const std::vector<double>& differences);

// Holm's (1979) adjusted p-values, in the order of p: the k-th smallest (from 0) times (size - k), made
// monotone, at most 1.
std::vector<double> holm_adjusted(const std::vector<double>& p);

// The smallest true mean difference that a two-sided paired t test at level 0.05 over these n seeds would
// have shown with probability about 0.8, were the spread the one observed:
// (t_{0.975, n-1} + t_{0.8, n-1}) x sd / sqrt(n), sd with n - 1. Not corrected for the family of comparisons.
// nullopt for n = 1.
std::optional<double> detectable_difference(const std::vector<double>& differences);

// Student's t distribution. P(|T| < t) in closed form for whole degrees of freedom >= 1 (Abramowitz and
// Stegun 26.7.3, 26.7.4), t >= 0; and its quantile, 0.5 <= probability < 1, to 1e-12.
double student_t_within(double t, int64_t degrees);
double student_t_quantile(double probability, int64_t degrees);

// q in [0, 1], linear between the two nearest values; values not empty.
double quantile(std::vector<double> values, double q);

}  // namespace rse
