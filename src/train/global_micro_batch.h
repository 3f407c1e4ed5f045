// The number that the random draws of training are keyed by, together with the seed.
#pragma once

#include <cstdint>

namespace rse {

// The number of micro-batch `micro` of update `step` (both from 0) among all micro-batches of a run, where
// `accumulation` of them make an update. The order of the sequences and the dropout of a micro-batch are
// functions of (seed, this number), never of a count that depends on which process works on it.
inline int64_t global_micro_batch(int64_t step, int64_t accumulation, int64_t micro) {
  return step * accumulation + micro;
}

}  // namespace rse
