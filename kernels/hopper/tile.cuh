// The Hopper path's tile: wgmma, bulk copies and mbarriers of compute capability 9.0a.
#pragma once

#include "kernels/portable/tile.cuh"
#include "kernels/hopper/tiled_layout.h"

namespace rse::kernels {

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
// Adds `bytes` of floats to device memory, in L2.
__device__ inline void bulk_add(float* to, uint32_t from, int bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
               "r"(from), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until all but kPending of this thread's additions have read their shared memory, or all have been made.
template <int kPending>
__device__ inline void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
__device__ inline void bulk_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Named barriers: 0 is __syncthreads.
__device__ inline void named_sync(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void named_arrive(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Shared memory written by this thread may be read by wgmma after the next barrier.
__device__ inline void fence_shared_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Pins registers that an asynchronous wgmma wrote, so that they are not read or moved before the wait above.
template <int N>
__device__ inline void pin(float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(x[i])::"memory");
}

// x, equal in a warp: said by the shuffle, so that branches on it are known not to diverge. In a branch that
// might, wgmma is serialized (C7520).
__device__ inline int uniform(int x) { return __shfl_sync(~0u, x, 0); }

// 128-byte swizzle; 1,024 bytes from 8 rows to the next 8.
// A matrix descriptor's low half; the address, in 16-byte units, may be moved by adding to it.
__device__ inline uint32_t matrix_at(uint32_t address) {
  // Equal in a warp: said by the shuffle, so that what is added later stays in uniform registers.
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

// c[64 x 64] (+)= a[64 x 16] (registers) b[16 x 64] (shared memory; kTransposed: rows of b are the product's
// inner index); add = 0: c is overwritten.
template <typename T, int kTransposed>
__device__ inline void wgmma_registers(float (&c)[32], const uint32_t (&a)[4], uint64_t b, int add = 1) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
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

// c[64 x 64] (+)= a[64 x 16] b[16 x 64], both in shared memory; add = 0: c is overwritten.
template <typename T, int kTransposedA, int kTransposedB>
__device__ inline void wgmma_shared(float (&c)[32], uint64_t a, uint64_t b, int add) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
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

// A panel that a warpgroup holds, laid out as accumulator_offset() has it.
__device__ __forceinline__ void store_accumulator(float* panel, const float (&x)[32]) {
  float* to = panel + threadIdx.x % 128 * 4;
#pragma unroll
  for (int d = 0; d < 8; ++d)
    *reinterpret_cast<float4*>(to + d * 512) =
        make_float4(x[4 * d], x[4 * d + 1], x[4 * d + 2], x[4 * d + 3]);
}

// The tiles that one side of a row block walks, nearest first.
template <bool kLeft>
struct TileRange {
  int begin, count;
  __device__ TileRange(int first_row, int last_row, int far_key)
      : begin((kLeft ? last_row : first_row) / kKeys) {
    const int end = far_key / kKeys;
    count = (kLeft ? begin - end : end - begin) + 1;
  }
  __device__ int at(int i) const { return kLeft ? begin - i : begin + i; }
};

// Accumulator index of the thread's row h (group + 8 h) and key n.
__device__ constexpr int at_key(int h, int n) { return 4 * (n / 2) + 2 * h + n % 2; }

// The accumulator before the product: minus decay times distance, or -inf for keys that take no part.
template <bool kLeft, bool kMasked>
__device__ inline void start_logits(float (&x)[32], const RowPlace (&place)[2], float decay, int window,
                                    int end) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float near = -decay * place[h].nearest<kLeft>();
#pragma unroll
    for (int n = 0; n < 16; ++n) {
      x[at_key(h, n)] = fmaf(kLeft ? decay : -decay, static_cast<float>(n), near);
      if constexpr (kMasked) {
        const int key = place[h].key + n, distance = kLeft ? place[h].row - key : key - place[h].row;
        if (distance <= 0 || distance >= window || key >= end) x[at_key(h, n)] = -INFINITY;
      }
    }
  }
}

__device__ inline bool may_exceed(uint32_t query_norm, uint32_t key_norm) {
  return !(__uint_as_float(query_norm) * __uint_as_float(key_norm) <= kMostLogit);
}

// break_sticks for row h of an accumulator. kCut: logits may exceed kMostLogit and are cut there.
template <bool kLeft, bool kBeta, bool kCut>
__device__ inline float break_row(float (&x)[32], int h, float (&front)[4], float (&beta)[32]) {
  float total = 1.f;
#pragma unroll
  for (int run = 0; run < 4; ++run) {
    float e[4], w[4], q[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = kLeft ? 15 - (4 * run + i) : 4 * run + i;
      e[i] = exp2_approx(kCut ? fminf(x[at_key(h, n)], kMostLogit) : x[at_key(h, n)]);
      w[i] = 1.f + e[i];
      q[i] = i == 0 ? w[0] : q[i - 1] * w[i];
    }
    float inverse = rcp_approx(q[3]);
    front[run] = total;
    total *= inverse;
#pragma unroll
    for (int i = 3; i >= 0; --i) {
      const int n = at_key(h, kLeft ? 15 - (4 * run + i) : 4 * run + i);
      x[n] = inverse * e[i];
      if constexpr (kBeta) beta[n] = i == 0 ? x[n] : x[n] * q[i - 1];
      inverse *= w[i];
    }
  }
  return total;
}

template <typename T, bool kLeft>
__device__ inline void pack_rows(const float (&x)[32], const float (&front)[2][4], const float (&before)[2],
                                 uint32_t (&a)[4][4]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int run = 0; run < 4; ++run) {
      const float f = before[h] * front[h][kLeft ? 3 - run : run];
#pragma unroll
      for (int half = 0; half < 2; ++half)
        a[run][2 * half + h] =
            pack<T>(x[at_key(h, 4 * run + 2 * half)] * f, x[at_key(h, 4 * run + 2 * half + 1)] * f);
    }
  }
}

}  // namespace rse::kernels
