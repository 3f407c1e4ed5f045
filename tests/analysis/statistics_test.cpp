// Expected values come from SciPy 1.x and NumPy (t distribution, permutation test, 10^6 bootstrap resamples),
// or were worked out by hand.
#include "analysis/statistics.h"

#include <cmath>
#include <numbers>

#include "core/random.h"
#include "tests/support.h"

namespace rse {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

DocumentTable documents_alike(std::vector<std::vector<double>> rows) {
  const size_t documents = rows.front().size();
  return {std::move(rows), std::vector<double>(documents, 1.0)};
}

Interval interval_of(const DocumentTable& table, const BootstrapSettings& settings = {}) {
  return bootstrap_intervals({table}, settings).front().value();
}

// Returns the standard normal number `index` of stream `key` (Box and Muller).
double normal(uint64_t key, uint64_t index) {
  const auto bits = random_bits(key, index);
  return std::sqrt(-2 * std::log(1 - uniform01(bits[0]))) *
         std::cos(2 * std::numbers::pi * uniform01(bits[1]));
}

TEST(StudentT, AgreesWithSciPy) {
  EXPECT_NEAR(student_t_within(1.5, 1), 0.6256659163780023, 1e-12);
  EXPECT_NEAR(student_t_within(1.5, 2), 0.7276068751089988, 1e-12);
  EXPECT_NEAR(student_t_within(1.5, 9), 0.8321493439429251, 1e-12);
  EXPECT_NEAR(student_t_within(1.5, 30), 0.8559340708713541, 1e-12);
  EXPECT_NEAR(student_t_quantile(0.975, 1), 12.706204736174694, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.975, 2), 4.302652729749462, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.8, 4), 0.9409645772351816, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.975, 101), 1.983731002955606, 1e-10);
}

TEST(Quantile, InterpolatesBetweenNeighbours) {
  EXPECT_DOUBLE_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 2, 3}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({5}, 0.75), 5);
}

TEST(Bootstrap, OfFewDocumentsByHand) {
  // Three documents have 27 equally likely resamples. The mean is 0 in one of them (3.7 %) and 10 in another.
  const Interval interval = interval_of(documents_alike({{0, 1, 10}}));
  EXPECT_DOUBLE_EQ(interval.low, 0);
  EXPECT_DOUBLE_EQ(interval.high, 10);
}

TEST(Bootstrap, OfARatioAgreesWithNumPy) {
  const DocumentTable table = {{{10, 4, 33, 7, 18, 2, 9, 26, 5, 14}}, {4, 1, 9, 3, 5, 2, 3, 8, 1, 6}};
  EXPECT_DOUBLE_EQ(table.mean(), 128.0 / 42);
  const Interval interval = interval_of(table);
  EXPECT_NEAR(interval.low, 2.5294, 0.04);
  EXPECT_NEAR(interval.high, 3.4474, 0.06);
}

TEST(Bootstrap, OverSeedsAndDocumentsAgreesWithNumPy) {
  const Interval interval =
      interval_of(documents_alike({{1, 2, 3, 4, 9}, {2, 2, 5, 4, 7}, {0, 1, 3, 6, 8}, {3, 4, 4, 4, 4}}));
  EXPECT_NEAR(interval.low, 2.05, 0.08);
  EXPECT_NEAR(interval.high, 5.70, 0.08);
}

TEST(Bootstrap, SeedsShareTheirDocuments) {
  // Seeds that agree add no information. If each seed drew its own documents, the interval would shrink.
  const std::vector<double> row = {3, 1, 4, 1, 5, 9, 2, 6};
  const Interval one = interval_of(documents_alike({row}));
  const Interval three = interval_of(documents_alike({row, row, row}));
  EXPECT_NEAR(one.low, three.low, 1e-12);
  EXPECT_NEAR(one.high, three.high, 1e-12);
}

TEST(Bootstrap, DoesNotDependOnCompanyAndIsSeeded) {
  const DocumentTable first = documents_alike({{3, 1, 4, 1, 5, 9}});
  const DocumentTable second = documents_alike({{2, 7, 1, 8, 2, 8}, {1, 1, 2, 3, 5, 8}});
  std::vector<DocumentTable> company(300, second);  // more than one block
  company.push_back(first);
  const BootstrapSettings settings{400, 1};
  const auto intervals = bootstrap_intervals(company, settings);
  const Interval alone = interval_of(first, settings);
  EXPECT_EQ(intervals.back()->low, alone.low);
  EXPECT_EQ(intervals.back()->high, alone.high);
  EXPECT_EQ(intervals[0]->low, intervals[299]->low);
  const Interval other = interval_of(first, {400, 2});
  EXPECT_TRUE(other.low != alone.low || other.high != alone.high);
}

TEST(Bootstrap, OfOneDocumentIsNone) {
  EXPECT_FALSE(bootstrap_intervals({documents_alike({{3}, {4}})}, {}).front().has_value());
}

TEST(Bootstrap, RejectsValuesThatAreNotFinite) {
  EXPECT_THROW(interval_of(documents_alike({{1, std::nan("")}})), std::logic_error);
}

TEST(Bootstrap, CoversTheMeanOfNormalDocumentsAsOftenAsPredicted) {
  constexpr int kSamples = 600, kDocuments = 20;
  int covered = 0;
  for (uint64_t sample = 0; sample < kSamples; ++sample) {
    std::vector<double> row(kDocuments);
    for (uint64_t d = 0; d < kDocuments; ++d) row[d] = 5 + 2 * normal(11, sample * kDocuments + d);
    covered += interval_of(documents_alike({row}), {800, sample}).contains(5);
  }
  // The standard error of the share is 0.0105.
  EXPECT_NEAR(static_cast<double>(covered) / kSamples, percentile_coverage(kDocuments), 0.03);
}

TEST(Bootstrap, CoversTheMeanOverNormalSeedsAndDocuments) {
  constexpr uint64_t kSamples = 300, kSeeds = 8, kDocuments = 30;
  int covered = 0;
  for (uint64_t sample = 0; sample < kSamples; ++sample) {
    std::vector<std::vector<double>> rows(kSeeds, std::vector<double>(kDocuments));
    for (uint64_t s = 0; s < kSeeds; ++s) {
      for (uint64_t d = 0; d < kDocuments; ++d) {
        rows[s][d] = normal(21, sample * kSeeds + s) + 2 * normal(22, sample * kDocuments + d) +
                     0.5 * normal(23, (sample * kSeeds + s) * kDocuments + d);
      }
    }
    covered += interval_of(documents_alike(rows), {500, sample}).contains(0);
  }
  // The share lies between that of eight seeds alone (0.88) and the nominal 0.95, with room for three
  // standard errors (0.016 each).
  EXPECT_GT(static_cast<double>(covered) / kSamples, 0.85);
  EXPECT_LT(static_cast<double>(covered) / kSamples, 0.99);
}

TEST(Bootstrap, CoverageOfSmallSamplesAgreesWithSciPy) {
  EXPECT_NEAR(percentile_coverage(2), 0.6020848639299214, 1e-9);
  EXPECT_NEAR(percentile_coverage(3), 0.7493310561794737, 1e-9);
  EXPECT_NEAR(percentile_coverage(9), 0.8981914024574043, 1e-9);
  EXPECT_NEAR(percentile_coverage(100), 0.9460121857930246, 1e-9);
}

TEST(SignFlip, ByHand) {
  EXPECT_DOUBLE_EQ(sign_flip_p({0.3}), 1);
  EXPECT_DOUBLE_EQ(sign_flip_p({1, 2, 3}), 0.25);  // the smallest p that 3 seeds can give
  EXPECT_DOUBLE_EQ(sign_flip_p({-1, -2, -3}), 0.25);
  EXPECT_DOUBLE_EQ(sign_flip_p({0.1, 0.2, 0.3, 0.4, 0.5}), 0.0625);  // the smallest p that 5 seeds can give
  EXPECT_DOUBLE_EQ(sign_flip_p({3, -1, 2}), 0.5);                    // |sums| are 6, 4, 2 and 0, each twice
  EXPECT_DOUBLE_EQ(sign_flip_p({1, 1, 1, 1, -0.5}), 0.125);          // |sums| 4.5 and 3.5 occur twice each
  EXPECT_DOUBLE_EQ(sign_flip_p({0, 0, 0, 0, 0}), 1);
}

TEST(SignFlip, AgreesWithSciPy) {
  EXPECT_DOUBLE_EQ(sign_flip_p({0.3, -0.1, 0.25, 0.9, -0.4, 0.05, 0.6}), 0.234375);
}

TEST(SignFlip, TiesCountInSpiteOfRounding) {
  // 0.1 + 0.2 and 0.3 differ in the last bit, yet patterns such as +++ tie with the observed sum.
  EXPECT_DOUBLE_EQ(sign_flip_p({0.1, 0.2, -0.3}), 1);
}

TEST(SignFlip, HasALimit) {
  EXPECT_DOUBLE_EQ(sign_flip_p(std::vector<double>(kMostFlips, 1.0)), std::ldexp(2.0, -20));
  EXPECT_THROW(sign_flip_p(std::vector<double>(kMostFlips + 1, 1.0)), std::logic_error);
  EXPECT_THROW(sign_flip_p({}), std::logic_error);
}

TEST(Holm, ByHand) {
  EXPECT_THAT(holm_adjusted({0.01, 0.04, 0.03, 0.005}),
              ElementsAre(DoubleNear(0.03, 1e-12), DoubleNear(0.06, 1e-12), DoubleNear(0.06, 1e-12),
                          DoubleNear(0.02, 1e-12)));
  EXPECT_THAT(holm_adjusted({0.6, 0.5}), ElementsAre(1.0, 1.0));
  EXPECT_TRUE(holm_adjusted({}).empty());
}

TEST(DetectableDifference, AgreesWithSciPy) {
  EXPECT_NEAR(detectable_difference({1, 2, 3, 4, 5}).value(), 2.6286055948968867, 1e-9);
  EXPECT_NEAR(detectable_difference({-0.02, -0.05, 0.01}).value(), 0.09289530442338376, 1e-10);
  EXPECT_FALSE(detectable_difference({1}).has_value());
}

}  // namespace
}  // namespace rse
