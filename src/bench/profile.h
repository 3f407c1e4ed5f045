// Profiles training steps: how much of a step each kind of work takes (bench/kernel_kind.h), from LibTorch's
// profiler: on CUDA the times of kernels on the device (CUPTI), on a CPU the operators' own times on the
// calling thread.
//
// Invariant: kinds and gap add up to the step. The gap is what nothing recorded covers: on CUDA the device is
// idle, on a CPU the time is the host's between operators. Recording costs host time, so a profiled step is
// slower than a measured one, most of all on a CPU.
#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/kernel_kind.h"

namespace rse {

// A kernel or operator with all its calls.
struct KernelTime {
  std::string name;
  KernelKind kind = KernelKind::kOther;
  double calls = 0;  // per step
  double ms = 0;     // per step, own time
};

struct StepProfile {
  int64_t steps = 0;  // that the numbers are means of
  double step_ms = 0;
  std::array<double, kKernelKinds> kind_ms{};
  std::array<double, kStepPhases> phase_ms{};
  double gap_ms = 0;                // step_ms less all kinds
  std::vector<KernelTime> kernels;  // the largest first
};

// Calls step() 1 + steps times, each inside kStepRange, and profiles all but the first, which fills the
// device's queue. step() makes one step's calls and need not wait for the device. UserError where LibTorch
// recorded no kernel on a CUDA device (CUPTI is missing or in use).
StepProfile profile_steps(const torch::Device& device, int64_t steps, const std::function<void()>& step);

}  // namespace rse
