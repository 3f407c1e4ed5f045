#include "run/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rse {
namespace {

// What is left of the way from the peak rate to the last one, at the share t of the decay.
double left_at(DecayShape shape, double t) {
  switch (shape) {
    case DecayShape::kLinear:
      return 1.0 - t;
    case DecayShape::kCosine:
      return 0.5 * (1.0 + std::cos(std::numbers::pi * t));
    case DecayShape::kSqrt:
      break;
  }
  return 1.0 - std::sqrt(t);
}

}  // namespace

const EnumNames<ScheduleShape>& schedule_shape_names() {
  static const EnumNames<ScheduleShape> kNames = {
      {"linear", ScheduleShape::kLinear}, {"cosine", ScheduleShape::kCosine}, {"wsd", ScheduleShape::kWsd}};
  return kNames;
}

const EnumNames<DecayShape>& decay_shape_names() {
  static const EnumNames<DecayShape> kNames = {
      {"linear", DecayShape::kLinear}, {"cosine", DecayShape::kCosine}, {"sqrt", DecayShape::kSqrt}};
  return kNames;
}

double Schedule::factor(int64_t step) const {
  double warm = 1.0, decayed = 1.0;
  if (step < warmup_steps) warm = static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  if (const int64_t start = decay_start(); step > start) {
    DecayShape form = decay_shape;
    if (shape == ScheduleShape::kLinear) form = DecayShape::kLinear;
    if (shape == ScheduleShape::kCosine) form = DecayShape::kCosine;
    const auto decaying = static_cast<double>(std::max<int64_t>(1, steps - start));
    const double left = left_at(form, std::min(1.0, static_cast<double>(step - start) / decaying));
    decayed = min_ratio + (1.0 - min_ratio) * left;
  }
  return std::min(warm, decayed);
}

}  // namespace rse
