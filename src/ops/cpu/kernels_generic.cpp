// The kernels for whatever the compiler's baseline offers in 16-byte vectors. Flags: sources.cmake.
#define RSE_SIMD_NAMESPACE generic
#define RSE_SIMD_BYTES 16
#define RSE_SIMD_REGISTERS 16
#include "ops/cpu/kernels_impl.h"

namespace rse::ops::cpu {

extern const KernelSet kGenericKernels = {"generic", generic::make_kernels<float>(),
                                          generic::make_kernels<double>()};

}  // namespace rse::ops::cpu
