// Tests the values of the schedule.
#include "run/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace rse {
namespace {

TEST(Schedule, WarmsUpThenDecays) {
  const Schedule linear{ScheduleShape::kLinear, 4, 12, 0.0};
  EXPECT_DOUBLE_EQ(linear.factor(0), 0.25);
  EXPECT_DOUBLE_EQ(linear.factor(3), 1.0);
  EXPECT_DOUBLE_EQ(linear.factor(4), 1.0);
  EXPECT_DOUBLE_EQ(linear.factor(8), 0.5);
  EXPECT_DOUBLE_EQ(linear.factor(11), 0.125);
  const Schedule cosine{ScheduleShape::kCosine, 0, 10, 0.1};
  EXPECT_DOUBLE_EQ(cosine.factor(0), 1.0);
  EXPECT_NEAR(cosine.factor(5), 0.55, 1e-12);
  EXPECT_GT(cosine.factor(9), 0.1);
  const Schedule short_run{ScheduleShape::kLinear, 100, 10, 0.0};  // ends inside the warm-up
  EXPECT_DOUBLE_EQ(short_run.factor(9), 0.1);
}

// Warm-up 2, then the peak to update 6, whose rate is whole still, and four updates of decay at t = 0, 1/4, 1/2, 3/4.
TEST(Schedule, StaysAtThePeakUntilTheDecay) {
  const auto expect = [](const Schedule& schedule, const std::vector<double>& factors) {
    for (size_t step = 0; step < factors.size(); ++step) {
      EXPECT_NEAR(schedule.factor(static_cast<int64_t>(step)), factors[step], 1e-12) << step;
    }
  };
  Schedule wsd{ScheduleShape::kWsd, 2, 10, 0.0, 4, DecayShape::kLinear};
  EXPECT_EQ(wsd.decay_start(), 6);
  expect(wsd, {0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25});
  wsd.decay_shape = DecayShape::kCosine;
  expect(wsd, {0.5, 1, 1, 1, 1, 1, 1, 0.5 + std::sqrt(0.125), 0.5, 0.5 - std::sqrt(0.125)});
  wsd.decay_shape = DecayShape::kSqrt;
  expect(wsd, {0.5, 1, 1, 1, 1, 1, 1, 0.5, 1 - std::sqrt(0.5), 1 - std::sqrt(0.75)});
  wsd.min_ratio = 0.2;  // 0.2 + 0.8 x 0.5
  expect(wsd, {0.5, 1, 1, 1, 1, 1, 1, 0.6});
  wsd.decay_steps = 0;
  expect(wsd, {0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1});
}

// Before its decay, a schedule is that of any other run whose decay starts later.
TEST(Schedule, DependsOnTheDecayFromItsStartOnOnly) {
  const Schedule stable{ScheduleShape::kWsd, 3, 100, 0.1, 0}, decayed{ScheduleShape::kWsd, 3, 40, 0.1, 10};
  for (int64_t step = 0; step <= 30; ++step) EXPECT_EQ(stable.factor(step), decayed.factor(step)) << step;
  EXPECT_LT(decayed.factor(31), stable.factor(31));
}

// Six updates, of which the last five decay, beside a warm-up of three: the smaller factor holds, without a jump up.
TEST(Schedule, ADecayInsideTheWarmUpCutsItOff) {
  const Schedule wsd{ScheduleShape::kWsd, 3, 6, 0.0, 5, DecayShape::kLinear};
  const double expected[] = {1.0 / 3, 2.0 / 3, 0.8, 0.6, 0.4, 0.2};
  for (int64_t step = 0; step < 6; ++step) EXPECT_NEAR(wsd.factor(step), expected[step], 1e-12) << step;
}

}  // namespace
}  // namespace rse
