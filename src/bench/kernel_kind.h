// Says what kind of work a kernel or operator of a training step does, by its name and by what encloses it.
//
// Invariant: every name has exactly one kind, so that the kinds of a profile add up. The rules are in one
// table; a name that no rule knows is kOther, and the profile lists it by its name.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace rse {

enum class KernelKind { kGemm, kAttention, kElementWise, kHead, kOptimizer, kCopy, kOther };
inline constexpr size_t kKernelKinds = 7;

// "GEMM", "attention", "element-wise", "MLM head and loss", "optimizer", "copies", "other".
const char* kind_name(KernelKind kind);

enum class StepPhase { kForward, kBackward, kOptimizer, kOutside };
inline constexpr size_t kStepPhases = 4;

// "forward", "backward", "optimizer", "outside" (batches, and what has no enclosing range).
const char* phase_name(StepPhase phase);

// name: of a CUDA kernel or memory operation, or of a CPU operator.
// ranges: names of the operators, autograd nodes and ranges (nn/step_ranges.h) that enclose it, innermost
// first. The optimizer's and the head's ranges decide first, because they hold GEMMs and element-wise work of
// their own; then whatever runs for attention counts as attention; then the name decides, and for a name that
// says nothing the innermost range that does.
KernelKind kind_of(std::string_view name, const std::vector<std::string>& ranges);

StepPhase phase_of(const std::vector<std::string>& ranges);

}  // namespace rse
