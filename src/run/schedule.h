// The learning-rate schedule: linear warm-up, then linear or cosine decay. It is a pure function of the step.
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
  double min_ratio = 0.0;  // share of the peak rate that is reached at the end

  // The factor of the peak learning rate in update `step`, 0 <= step < steps. During warm-up it is
  // (step + 1) / warmup_steps. After it, with t = (step - warmup_steps) / (steps - warmup_steps), it is 1 - t
  // (linear) or (1 + cos(pi t)) / 2 (cosine), scaled onto [min_ratio, 1].
  double factor(int64_t step) const;
};

}  // namespace rse
