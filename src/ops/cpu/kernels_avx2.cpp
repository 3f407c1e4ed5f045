// The kernels for AVX2 with FMA. Flags: sources.cmake.
#define RSE_SIMD_NAMESPACE avx2
#define RSE_SIMD_BYTES 32
#define RSE_SIMD_REGISTERS 16
#include "ops/cpu/kernels_impl.h"

namespace rse::ops::cpu {

extern const KernelSet kAvx2Kernels = {"avx2", avx2::make_kernels<float>(), avx2::make_kernels<double>()};

}  // namespace rse::ops::cpu
