#include "run/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rse {

const EnumNames<ScheduleShape>& schedule_shape_names() {
  static const EnumNames<ScheduleShape> kNames = {{"linear", ScheduleShape::kLinear},
                                                  {"cosine", ScheduleShape::kCosine}};
  return kNames;
}

double Schedule::factor(int64_t step) const {
  if (step < warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  const auto decaying = static_cast<double>(std::max<int64_t>(1, steps - warmup_steps));
  const double t = std::min(1.0, static_cast<double>(step - warmup_steps) / decaying);
  const double left =
      shape == ScheduleShape::kLinear ? 1.0 - t : 0.5 * (1.0 + std::cos(std::numbers::pi * t));
  return min_ratio + (1.0 - min_ratio) * left;
}

}  // namespace rse
