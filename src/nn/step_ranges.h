// The named ranges of a training step that a profiler shows: RECORD_USER_SCOPE(kHeadRange). They cost nothing
// while no profiler records. rse-bench step --profile reads them (src/bench/kernel_kind.h).
#pragma once

namespace rse {

inline constexpr const char* kStepRange = "rse::step";            // one update of one arm, with its batch
inline constexpr const char* kForwardRange = "rse::forward";      // of one micro-batch, up to its loss
inline constexpr const char* kBackwardRange = "rse::backward";    // of one micro-batch
inline constexpr const char* kHeadRange = "rse::head";            // logits and loss, within the forward range
inline constexpr const char* kOptimizerRange = "rse::optimizer";  // norm of the gradients, clipping, update

}  // namespace rse
