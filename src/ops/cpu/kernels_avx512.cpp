// The kernels for AVX-512 (F, BW, DQ, VL). Flags: sources.cmake.
#define RSE_SIMD_NAMESPACE avx512
#define RSE_SIMD_BYTES 64
#define RSE_SIMD_REGISTERS 32
#include "ops/cpu/kernels_impl.h"

namespace rse::ops::cpu {

extern const KernelSet kAvx512Kernels = {"avx512", avx512::make_kernels<float>(),
                                         avx512::make_kernels<double>()};

}  // namespace rse::ops::cpu
