// The learning-rate schedule, a pure function of the step: linear warm-up, then linear or cosine decay.
#pragma once

#include <cstdint>

#include "core/enum_names.h"

namespace rse {

enum class ScheduleShape { kLinear, kCosine };
const EnumNames<ScheduleShape>& schedule_shape_names();  // linear, cosine

struct Schedule {
  ScheduleShape shape = ScheduleShape::kLinear;
  int64_t warmup_steps = 0;
  int64_t steps = 1;       // updates of the whole run
  double min_ratio = 0.0;  // of the peak rate, reached at the end

  // What the peak learning rate is multiplied by in update `step`, 0 <= step < steps. Warm-up: (step + 1) /
  // warmup_steps. After it, with t = (step - warmup) / (steps - warmup): linear 1 - t, cosine (1 + cos(pi t))
  // / 2, scaled onto [min_ratio, 1].
  double factor(int64_t step) const;
};

}  // namespace rse
