// Keys of the position method `rse`: RSE attention (rse::attention in ops/attention.h), no position
// embedding.
#pragma once

#include "core/config_binder.h"
#include "nn/position/decay.h"
#include "ops/attention.h"

namespace rse {

struct RsePositionConfig {
  DecayConfig decay;
  Mass mass = Mass::kPerSide;
  bool self_key = true;
  Remainder remainder = Remainder::kDrop;
  double skip_below = 1e-7;
  bool operator==(const RsePositionConfig&) const = default;
  void bind(ConfigBinder& b);
};

}  // namespace rse
