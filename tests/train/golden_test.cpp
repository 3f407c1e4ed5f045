// Tests the training losses of tiny models on the CPU against committed values, so that a change of numbers that
// nobody meant is seen: another start, other masks or batches, another rate, another formula.
//
// Values differ between machines only by rounding: the order of sums in matrix products and in the attention kernels
// (AVX2, AVX-512), fused multiply-adds, the exponentials of libraries. Vectorised or not, with one thread or two, and
// with another order of sums in MKL, losses of these 50 steps differed by up to 3e-7 of their values. That holds
// because eps is 1e-6: with 1e-8 AdamW makes steps of full size of gradients that are nothing but rounding, such as
// that of softmax attention's key bias, and losses differed by 1e-3. kTolerance is far above the one, and far below
// what the changes of the second test do.
//
// New values, where a change of numbers is meant: run
//   build/release/bin/rse_train_tests --gtest_filter='*GoldenCurve*'
// and copy the rows that it prints.
#include <array>
#include <cmath>

#include "tests/train/settings_checks.h"

namespace rse {
namespace {

constexpr double kTolerance = 2e-5;  // relative
constexpr std::array<size_t, 6> kSteps = {1, 2, 5, 10, 25, 50};
using Curve = std::array<double, kSteps.size()>;

struct Golden {
  const char* method;
  Curve losses;  // of the updates kSteps, counted from 1
};

const std::vector<Golden> kGolden = {
    {"learned", {4.1388092, 4.1927023, 4.1721873, 4.1403503, 4.2301202, 4.1600523}},
    {"rope", {4.1321187, 4.1927748, 4.1495528, 4.1020613, 4.1811914, 4.1664796}},
    {"rse", {4.1444855, 4.1770382, 4.1196094, 4.0321665, 3.8800056, 3.6461494}},
};

// The losses of a run with these settings besides the curve's own.
Curve curve_of(const std::string& method, const std::vector<std::string>& more = {}) {
  std::vector<std::string> settings = {"train.steps=50", "train.eps=1e-6", "model.dropout=0.1",
                                       "model.position.method=" + method};
  settings.insert(settings.end(), more.begin(), more.end());
  const ToyRun toy;
  const std::vector<nlohmann::json> lines = lines_of_run(toy, settings, "update");
  Curve losses{};
  for (size_t i = 0; i < kSteps.size(); ++i) losses[i] = lines.at(kSteps[i] - 1)["loss"].get<double>();
  return losses;
}

// The largest relative difference at any of the steps.
double distance(const Curve& a, const Curve& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] / b[i] - 1));
  return most;
}

class GoldenCurve : public testing::TestWithParam<Golden> {};

TEST_P(GoldenCurve, IsTheCommittedOne) {
  const Curve found = curve_of(GetParam().method);
  EXPECT_LT(distance(found, GetParam().losses), kTolerance)
      << fmt::format("found:\n    {{\"{}\", {{{:.7f}}}}},", GetParam().method, fmt::join(found, ", "));
}

// What the tolerance lets through is too small a change to be one of these.
TEST_P(GoldenCurve, ShowsSmallChanges) {
  for (const char* change : {"train.learning_rate=0.0031", "train.warmup_steps=3", "train.weight_decay=1",
                             "train.betas=[0.8, 0.98]", "train.seeds=[2]", "model.init_std=0.021",
                             "model.dropout=0.11", "data.mask.probability=0.2", "data.mask.mask_share=0.5"}) {
    const double moved = distance(curve_of(GetParam().method, {change}), GetParam().losses);
    EXPECT_GT(moved, 2 * kTolerance) << change;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, GoldenCurve, testing::ValuesIn(kGolden),
                         [](const auto& info) { return info.param.method; });

}  // namespace
}  // namespace rse
