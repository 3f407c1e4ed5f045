// check_wgmma.sh must reject this: a branch that may diverge uses the accumulators of a wgmma that is under
// way.
#include "kernels/hopper/tile.cuh"

__global__ void serialized(float* out, const int* often) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using namespace rse::kernels::hopper;
  extern __shared__ __align__(1024) uint8_t shared[];
  float sum[32] = {};
  const uint64_t matrix = descriptor(matrix_at(rse::kernels::shared_address(shared)), 0);
  for (int n = 0; n < often[threadIdx.x]; ++n) {
    wgmma_shared<__nv_bfloat16, 0, 0>(sum, matrix, matrix, 1);
    wgmma_commit();
    sum[n % 4 == 0 ? 0 : 1] += 1.f;
  }
  wgmma_wait<0>();
  for (int i = 0; i < 32; ++i) out[threadIdx.x * 32 + i] = sum[i];
#endif
}
