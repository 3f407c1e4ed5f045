// The number that the random draws of training are keyed by, together with the seed.
#pragma once

#include <cstdint>

namespace rse {

// The number of micro-batch `micro` of update `step` (both from 0) among all micro-batches of a run, where at
// most `accumulation` of them make an update (numbers are left out in a batch ramp). The dropout of a
// micro-batch is a function of (seed, this number), never of a count that depends on which process works on it.
// Which sequences it holds follows from the step alone, too (run/update_sizes.h).
inline int64_t global_micro_batch(int64_t step, int64_t accumulation, int64_t micro) {
  return step * accumulation + micro;
}

}  // namespace rse
