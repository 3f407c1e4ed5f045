#include "analysis/statistics.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/check.h"
#include "core/random.h"

namespace rse {
namespace {

// Means held at once: bounds memory at kBlock x resamples doubles. Blocks see the same resamples.
constexpr size_t kBlock = 256;

constexpr double kNormal975 = 1.959963984540054;

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

void check_table(const DocumentTable& table, size_t documents) {
  RSE_ASSERT(!table.sums.empty() && documents > 0, "a mean of nothing");
  RSE_ASSERT(table.weights.size() == documents, "{} weights for {} documents", table.weights.size(),
             documents);
  for (double weight : table.weights) RSE_ASSERT(weight > 0, "weight {}", weight);
  for (const std::vector<double>& row : table.sums) {
    RSE_ASSERT(row.size() == documents, "{} sums for {} documents", row.size(), documents);
    for (double value : row) RSE_ASSERT(std::isfinite(value), "value {}", value);
  }
}

// How often each of `size` things is drawn in resample `resample`.
void draw_multiplicities(uint64_t key, int64_t resample, size_t size, std::vector<double>& times) {
  times.assign(size, 0);
  const uint64_t blocks = (size + 3) / 4;
  for (size_t i = 0; i < size;) {
    const auto bits = random_bits(key, static_cast<uint64_t>(resample) * blocks + i / 4);
    for (size_t j = 0; j < 4 && i < size; ++j, ++i) {
      times[uniform_below(bits[j], static_cast<uint32_t>(size))] += 1;
    }
  }
}

double resampled_mean(const DocumentTable& table, const std::vector<double>& documents,
                      const std::vector<double>& seeds) {
  double total = 0;
  for (size_t s = 0; s < seeds.size(); ++s) {
    if (seeds[s] == 0) continue;
    total += seeds[s] * std::inner_product(documents.begin(), documents.end(), table.sums[s].begin(), 0.0);
  }
  const double weight = std::inner_product(documents.begin(), documents.end(), table.weights.begin(), 0.0);
  return total / (static_cast<double>(seeds.size()) * weight);
}

}  // namespace

double DocumentTable::mean() const {
  check_table(*this, weights.size());
  double total = 0;
  for (const std::vector<double>& row : sums) total += sum(row);
  return total / (static_cast<double>(sums.size()) * sum(weights));
}

std::vector<std::optional<Interval>> bootstrap_intervals(const std::vector<DocumentTable>& tables,
                                                         const BootstrapSettings& settings) {
  RSE_ASSERT(settings.resamples > 0, "{} resamples", settings.resamples);
  std::vector<std::optional<Interval>> intervals(tables.size());
  if (tables.empty()) return intervals;
  const size_t documents = tables.front().weights.size();
  for (const DocumentTable& table : tables) check_table(table, documents);
  if (documents < 2) return intervals;

  const uint64_t document_key = mix_key(settings.seed, "documents");
  const uint64_t seed_key = mix_key(settings.seed, "seeds");
  std::vector<double> times, seed_times;
  for (size_t begin = 0; begin < tables.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, tables.size() - begin);
    std::vector<std::vector<double>> means(count);
    for (auto& values : means) values.reserve(static_cast<size_t>(settings.resamples));
    for (int64_t resample = 0; resample < settings.resamples; ++resample) {
      draw_multiplicities(document_key, resample, documents, times);
      for (size_t i = 0; i < count; ++i) {
        const DocumentTable& table = tables[begin + i];
        if (seed_times.size() != table.sums.size() || i == 0) {
          draw_multiplicities(seed_key, resample, table.sums.size(), seed_times);
        }
        means[i].push_back(resampled_mean(table, times, seed_times));
      }
    }
    for (size_t i = 0; i < count; ++i) {
      std::vector<double>& values = means[i];
      intervals[begin + i] =
          Interval{quantile(values, (1 - kConfidence) / 2), quantile(values, (1 + kConfidence) / 2)};
    }
  }
  return intervals;
}

double percentile_coverage(int64_t n) {
  RSE_ASSERT(n >= 2, "coverage of {} values", n);
  const double size = static_cast<double>(n);
  return student_t_within(kNormal975 * std::sqrt((size - 1) / size), n - 1);
}

double sign_flip_p(const std::vector<double>& differences) {
  const size_t n = differences.size();
  RSE_ASSERT(n >= 1 && n <= kMostFlips, "a sign-flip test of {} differences; 1 to {}", n, kMostFlips);
  double magnitude = 0;
  for (double value : differences) {
    RSE_ASSERT(std::isfinite(value), "difference {}", value);
    magnitude += std::abs(value);
  }
  const double observed = std::abs(sum(differences)) - 1e-12 * magnitude;
  uint32_t extreme = 0;
  const uint32_t patterns = uint32_t{1} << n;
  for (uint32_t pattern = 0; pattern < patterns; ++pattern) {
    double flipped = 0;
    for (size_t i = 0; i < n; ++i) flipped += (pattern >> i & 1) != 0 ? -differences[i] : differences[i];
    if (std::abs(flipped) >= observed) ++extreme;
  }
  return static_cast<double>(extreme) / static_cast<double>(patterns);
}

std::vector<double> holm_adjusted(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&p](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t k = 0; k < order.size(); ++k) {
    largest = std::max(largest, p[order[k]] * static_cast<double>(p.size() - k));
    adjusted[order[k]] = std::min(1.0, largest);
  }
  return adjusted;
}

std::optional<double> detectable_difference(const std::vector<double>& differences) {
  const size_t n = differences.size();
  if (n < 2) return std::nullopt;
  const double size = static_cast<double>(n);
  const double mean = sum(differences) / size;
  double squares = 0;
  for (double value : differences) squares += (value - mean) * (value - mean);
  const double sd = std::sqrt(squares / (size - 1));
  const auto degrees = static_cast<int64_t>(n) - 1;
  return (student_t_quantile(0.975, degrees) + student_t_quantile(0.8, degrees)) * sd / std::sqrt(size);
}

double student_t_within(double t, int64_t degrees) {
  RSE_ASSERT(t >= 0 && degrees >= 1, "t {} with {} degrees of freedom", t, degrees);
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const bool odd = degrees % 2 == 1;
  if (degrees == 1) return 2 * angle / std::numbers::pi;
  const double cosine = std::cos(angle);
  double term = odd ? cosine : 1.0;
  double series = term;
  for (int64_t k = odd ? 3 : 2; k < degrees; k += 2) {
    term *= cosine * cosine * static_cast<double>(k - 1) / static_cast<double>(k);
    series += term;
  }
  const double scaled = std::sin(angle) * series;
  return odd ? 2 / std::numbers::pi * (angle + scaled) : scaled;
}

double student_t_quantile(double probability, int64_t degrees) {
  RSE_ASSERT(probability >= 0.5 && probability < 1, "probability {}", probability);
  const double within = 2 * probability - 1;
  double high = 1;
  while (student_t_within(high, degrees) < within) high *= 2;
  double low = 0;
  while (high - low > 1e-13 * high) {
    const double middle = 0.5 * (low + high);
    (student_t_within(middle, degrees) < within ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double quantile(std::vector<double> values, double q) {
  RSE_ASSERT(!values.empty(), "a quantile of nothing");
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace rse
