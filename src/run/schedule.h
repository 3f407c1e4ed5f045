// The learning-rate schedule: linear warm-up, then decay. It is a pure function of the step.
//
//   linear, cosine: the decay begins after the warm-up and ends with the run.
//   wsd (warm-up, stable, decay; Hu et al. 2024, Haegele et al. 2024): after the warm-up the peak rate stays, and the
//     last decay_steps updates decay. Nothing before the decay depends on `steps` or `decay_steps`, so a decay can
//     start from any checkpoint of the stable phase, by a resume with other values of both.
#pragma once

#include <cstdint>

#include "core/enum_names.h"

namespace rse {

enum class ScheduleShape { kLinear, kCosine, kWsd };
const EnumNames<ScheduleShape>& schedule_shape_names();  // linear, cosine, wsd

// How a wsd schedule decays.
enum class DecayShape { kLinear, kCosine, kSqrt };
const EnumNames<DecayShape>& decay_shape_names();  // linear, cosine, sqrt

struct Schedule {
  ScheduleShape shape = ScheduleShape::kLinear;
  int64_t warmup_steps = 0;
  int64_t steps = 1;                           // updates of the whole run
  double min_ratio = 0.0;                      // share of the peak rate that is reached at the end
  int64_t decay_steps = 0;                     // kWsd: the last updates of the run, which decay; 0: none does
  DecayShape decay_shape = DecayShape::kSqrt;  // kWsd

  // The update (from 0) from which the rate decays. It has the whole peak rate still.
  int64_t decay_start() const { return shape == ScheduleShape::kWsd ? steps - decay_steps : warmup_steps; }

  // The factor of the peak learning rate in update `step`, 0 <= step < steps. During warm-up it is
  // (step + 1) / warmup_steps. In the decay, with t = (step - decay_start()) / (steps - decay_start()), it is
  // 1 - t (linear), (1 + cos(pi t)) / 2 (cosine) or 1 - sqrt(t) (sqrt), scaled onto [min_ratio, 1]. In between it
  // is 1, and the smaller of the two where a wsd schedule's decay starts inside the warm-up.
  double factor(int64_t step) const;
};

}  // namespace rse
