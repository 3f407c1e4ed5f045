// Chooses the kernels once: the best that this processor can run, or the set that the environment variable
// RSE_CPU_KERNEL names (generic, avx2, avx512), so that each can be tested on a machine that has them all.
#include <cstdlib>
#include <string>
#include <vector>

#include "core/check.h"
#include "ops/attention_problem.h"
#include "ops/cpu/kernels.h"

namespace rse::ops {

namespace cpu {
namespace {

// In rising order: the last that the processor can run is taken.
std::vector<const KernelSet*> runnable_sets() {
  std::vector<const KernelSet*> sets = {&kGenericKernels};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx2) sets.push_back(&kAvx2Kernels);
  if (avx2 && avx512) sets.push_back(&kAvx512Kernels);
#endif
  return sets;
}

const KernelSet& choose_set() {
  const std::vector<const KernelSet*> sets = runnable_sets();
  const char* const wanted = std::getenv("RSE_CPU_KERNEL");
  if (wanted == nullptr || *wanted == '\0') return *sets.back();
  std::string names;
  for (const KernelSet* set : sets) {
    if (wanted == std::string(set->name)) return *set;
    names += (names.empty() ? "" : ", ") + std::string(set->name);
  }
  throw_user_error("RSE_CPU_KERNEL: '{}': expected one that this processor runs: {}", wanted, names);
}

}  // namespace

const KernelSet& kernel_set() {
  static const KernelSet& chosen = choose_set();
  return chosen;
}

}  // namespace cpu

const char* cpu_instruction_set() { return cpu::kernel_set().name; }

}  // namespace rse::ops
