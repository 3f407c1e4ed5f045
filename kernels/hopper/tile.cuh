// The instructions of the Hopper path, compute capability 9.0a: wgmma, bulk copies, mbarriers and named
// barriers.
//
// A wgmma is asynchronous: wgmma_fence() before the first of a group, wgmma_commit() after its last,
// wgmma_wait() and pin() before its accumulators are read. A bulk copy reports to the mbarrier that it is
// given: barrier_expect() says how many bytes will come, barrier_wait() waits for them.
#pragma once

#include "kernels/device_common.cuh"
#include "kernels/hopper/tiled_layout.h"

namespace rse::kernels::hopper {

__device__ inline void barrier_init(uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ inline void barrier_expect(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ inline void barrier_wait(uint32_t barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again_%=: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again_%=;\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
__device__ inline void bulk_copy(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}
// Adds `bytes` of floats to device memory, in the L2 cache.
__device__ inline void bulk_add(float* to, uint32_t from, int bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
               "r"(from), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Waits until all but kPending of this thread's additions have read their shared memory.
template <int kPending>
__device__ inline void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// Waits until all of this thread's additions have been made.
__device__ inline void bulk_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Named barriers, of `threads` threads; barrier 0 is that of __syncthreads.
__device__ inline void named_sync(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void named_arrive(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// After it and the next barrier, wgmma and bulk additions may read what this thread wrote to shared memory.
__device__ inline void fence_shared_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Pins registers that an asynchronous wgmma wrote, so that the compiler does not read or move them before the
// wait.
template <int N>
__device__ inline void pin(float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(x[i])::"memory");
}

// Returns x, which must be equal in a warp. The shuffle tells the compiler so, which then knows that branches
// on it do not diverge: ptxas serialises wgmma in a branch that might (message C7520).
__device__ inline int uniform(int x) { return __shfl_sync(~0u, x, 0); }

// A matrix in shared memory as wgmma is told of it: a descriptor with the 128-byte swizzle, and 1,024 bytes
// from 8 rows to the next 8. matrix_at() makes its low half, in which the address counts 16 bytes and may be
// moved by adding; descriptor() the whole, `bytes` further. The shuffle says that the address is equal in a
// warp, so that sums with it stay in uniform registers.
__device__ inline uint32_t matrix_at(uint32_t address) {
  return __shfl_sync(~0u, (address & 0x3ffff) >> 4 | 1u << 16, 0);
}
__device__ inline uint64_t descriptor(uint32_t matrix, int bytes) {
  constexpr uint32_t kHigh = 1024 >> 4 | 1u << 30;
  return static_cast<uint64_t>(kHigh) << 32 | (matrix + bytes / 16);
}

#define RSE_REGISTERS_32                                                                                     \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%" \
  "28,%29,"                                                                                                  \
  "%30,%31}"
#define RSE_FLOATS_32(c)                                                                                    \
  "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),           \
      "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), \
      "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]),            \
      "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]),            \
      "+f"(c[30]), "+f"(c[31])

// c[64 x 64] (+)= a[64 x 16] b[16 x 64] with a in registers and b in shared memory. kTransposed: the rows of
// b are the product's inner index. add = 0: c is overwritten.
template <typename Element, int kTransposed>
__device__ inline void wgmma_registers(float (&c)[32], const uint32_t (&a)[4], uint64_t b, int add = 1) {
  if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " RSE_REGISTERS_32
        ", {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}"
        : RSE_FLOATS_32(c)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(kTransposed));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 " RSE_REGISTERS_32
        ", {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}"
        : RSE_FLOATS_32(c)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(kTransposed));
  }
}

// The same with both a and b in shared memory.
template <typename Element, int kTransposedA, int kTransposedB>
__device__ inline void wgmma_shared(float (&c)[32], uint64_t a, uint64_t b, int add) {
  if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " RSE_REGISTERS_32
        ", %32, %33, p, 1, 1, %35, %36;\n}"
        : RSE_FLOATS_32(c)
        : "l"(a), "l"(b), "r"(add), "n"(kTransposedA), "n"(kTransposedB));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 " RSE_REGISTERS_32
        ", %32, %33, p, 1, 1, %35, %36;\n}"
        : RSE_FLOATS_32(c)
        : "l"(a), "l"(b), "r"(add), "n"(kTransposedA), "n"(kTransposedB));
  }
}

// Stores a panel that a warpgroup holds, laid out as accumulator_offset() has it.
__device__ __forceinline__ void store_accumulator(float* panel, const float (&x)[32]) {
  float* to = panel + threadIdx.x % kWarpgroup * 4;
#pragma unroll
  for (int d = 0; d < 8; ++d)
    *reinterpret_cast<float4*>(to + d * 512) =
        make_float4(x[4 * d], x[4 * d + 1], x[4 * d + 2], x[4 * d + 3]);
}
__device__ __forceinline__ void load_accumulator(const float* panel, float (&x)[32]) {
  const float* from = panel + threadIdx.x % kWarpgroup * 4;
#pragma unroll
  for (int d = 0; d < 8; ++d) {
    const float4 four = *reinterpret_cast<const float4*>(from + d * 512);
    x[4 * d] = four.x, x[4 * d + 1] = four.y, x[4 * d + 2] = four.z, x[4 * d + 3] = four.w;
  }
}

}  // namespace rse::kernels::hopper
