// Tests the values of the schedule.
#include "run/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace rse
