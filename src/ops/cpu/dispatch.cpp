// Chooses the kernels for this processor, once.
#include "ops/attention_problem.h"
#include "ops/cpu/kernels.h"

namespace rse::ops {

namespace cpu {

const KernelSet& kernel_set() {
#if defined(__x86_64__)
  static const KernelSet& chosen = []() -> const KernelSet& {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 && avx2 ? kAvx512Kernels : avx2 ? kAvx2Kernels : kGenericKernels;
  }();
  return chosen;
#else
  return kGenericKernels;
#endif
}

}  // namespace cpu

const char* cpu_instruction_set() { return cpu::kernel_set().name; }

}  // namespace rse::ops
