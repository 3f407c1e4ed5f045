// How many sequences each update of a run takes: train.batch_size x train.accumulation, or at first fewer, where
// train.batch_ramp says so. Like the learning rate, it is a pure function of the step.
//
// Invariant: update `step` takes the sequences [before(step), before(step + 1)) of the seed's order, so that each is
// taken once, in order, whatever the sizes are.
#pragma once

#include <cstdint>

namespace rse {

struct UpdateSizes {
  int64_t full = 1;        // sequences per update after the ramp
  int64_t start = 0;       // of the first update, at most `full`; 0: no ramp
  int64_t ramp_steps = 0;  // updates before the first of full size; 0 where there is no ramp

  // The sequences of update `step` (from 0). The ramp goes through the multiples of `start` below `full`, all of
  // them for the same number of updates as nearly as whole numbers allow: with L = ceil(full / start) - 1 of them,
  // update `step` takes start x (1 + floor(step L / ramp_steps)).
  int64_t at(int64_t step) const;

  // The sequences of all updates before `step` (at least 0), in O(log ramp_steps).
  uint64_t before(int64_t step) const;
};

}  // namespace rse
