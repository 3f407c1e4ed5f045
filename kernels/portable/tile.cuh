// The portable path's tile: instructions of compute capability 8.0, how 64 keys lie in shared memory and in
// registers, and the stick broken along them.
//
// Eight warps hold 16 query rows each. Column c of the products' accumulator holds key
// 16 ((c % 8) / 2) + 2 (c / 8) + c % 2 of the tile, so that lane t of a row's quad holds the 16 neighbouring
// keys 16 t .. 16 t + 15: the product along the stick is a loop in registers and two shuffles a tile.
#pragma once

#include "kernels/device_common.cuh"

namespace rse::kernels {

constexpr int kThreads = 256;
constexpr float kMostLogit = 31.f;  // in units of log2

__device__ inline void ldmatrix4(uint32_t (&r)[4], uint32_t a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(a)
               : "memory");
}
__device__ inline void ldmatrix4_trans(uint32_t (&r)[4], uint32_t a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(a)
               : "memory");
}
template <typename T>
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}
template <typename T>
__device__ inline float2 unpack(uint32_t x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return make_float2(__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u));
  } else {
    return __half22float2(*reinterpret_cast<const __half2*>(&x));
  }
}

__device__ inline int key_of_column(int c) { return 16 * ((c & 7) >> 1) + 2 * (c >> 3) + (c & 1); }

// Offset, in elements, of a 16-byte chunk of a key's row: the eight rows that an ldmatrix reads (keys 16
// apart in pairs) and eight neighbouring rows both meet all banks.
template <int D>
__device__ inline int key_chunk(int key, int chunk) {
  if constexpr (D >= 64) {
    return key * D + (chunk ^ ((((key >> 4) & 3) << 1) | (key & 1))) * 8;
  } else {
    return key * D + (chunk ^ ((key >> 4) & 3)) * 8;
  }
}

// The same for matrices whose rows are read eight neighbours at a time.
template <int D>
__device__ inline int row_chunk(int row, int chunk) {
  if constexpr (D >= 64) {
    return row * D + (chunk ^ (row & 7)) * 8;
  } else {
    return row * D + (chunk ^ ((row >> 1) & 3)) * 8;
  }
}

// Copies kKeys rows of key and value from row `first` of the document into a stage; rows at or past `end` are
// zero.
template <typename T, int D>
__device__ inline void load_tile(T* stage, const T* key, const T* value, int first, int end) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < kKeys * kChunks / kThreads; ++i) {
    const int index = threadIdx.x + i * kThreads, row = index / kChunks, chunk = index % kChunks;
    const bool valid = first + row < end;
    const int64_t from = static_cast<int64_t>(valid ? first + row : 0) * D + chunk * 8;
    cp_async16(shared_address(stage + key_chunk<D>(row, chunk)), key + from, valid);
    cp_async16(shared_address(stage + kKeys * D + key_chunk<D>(row, chunk)), value + from, valid);
  }
}

// Products of the warp's rows (A fragments) with the tile's 64 keys: x[h][n] belongs to row group + 8 h, key
// 16 t + n.
template <typename T, int D>
__device__ inline void products(uint32_t keys, const uint32_t (&rows)[D / 16][4], float (&x)[2][16]) {
  const int lane = threadIdx.x % 32, r = lane % 8, quad = lane / 8;
#pragma unroll
  for (int m = 0; m < 8; ++m) {
    float c[4] = {0, 0, 0, 0};
    const int key = key_of_column(8 * m + r);
#pragma unroll
    for (int d = 0; d < D / 16; d += 2) {
      uint32_t b[4];
      ldmatrix4(b, keys + 2 * key_chunk<D>(key, 2 * d + quad));
      mma<T>(c, rows[d], b[0], b[1]);
      mma<T>(c, rows[d + 1], b[2], b[3]);
    }
    x[0][2 * m] = c[0];
    x[0][2 * m + 1] = c[1];
    x[1][2 * m] = c[2];
    x[1][2 * m + 1] = c[3];
  }
}

// out[row] += sum over the tile's keys of weight * matrix[key]; weights[k] is the A fragment of columns 16 k.
template <typename T, int D>
__device__ inline void accumulate(uint32_t matrix, const uint32_t (&weights)[4][4], float (&out)[D / 8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int key = key_of_column(16 * k + lane % 16);
#pragma unroll
    for (int d = 0; d < D / 16; ++d) {
      uint32_t b[4];
      ldmatrix4_trans(b, matrix + 2 * key_chunk<D>(key, 2 * d + lane / 16));
      mma<T>(out[2 * d], weights[k], b[0], b[1]);
      mma<T>(out[2 * d + 1], weights[k], b[2], b[3]);
    }
  }
}

// Where a warp's quad stands in a tile.
struct RowPlace {
  int row, key;  // of the row (in the document), of x[0]
  template <bool kLeft>
  __device__ float nearest() const {  // distance of x[0]; of x[n]: minus n on the left, plus n on the right
    return static_cast<float>(kLeft ? row - key : key - row);
  }
};

// x in units of log2 -> minus decay times distance; keys not on the side, outside the window or the document:
// -inf.
template <bool kLeft>
__device__ inline void decay_and_mask(float (&x)[16], const RowPlace& place, float decay, bool masked,
                                      int window, int end) {
  const float near = place.nearest<kLeft>();
#pragma unroll
  for (int n = 0; n < 16; ++n) x[n] = fmaf(-decay, kLeft ? near - n : near + n, x[n]);
  if (!masked) return;
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    const int key = place.key + n, distance = kLeft ? place.row - key : key - place.row;
    if (distance <= 0 || distance >= window || key >= end) x[n] = -INFINITY;
  }
}

// Turns 16 logits of a row into weights over the stick in front of their run of 4, nearest first (kLeft: from
// n = 15 down); front[run]: the stick in front of the run, over that in front of all 16. Returns the factor
// that the 16 keys leave. beta: where wanted, their sigmoids. Spec section 5, one reciprocal a run.
// Approximation: logits are cut at 31 ln 2, so that 1 - beta >= 2^-31, and neither the product of four 1 + e
// nor its inverse leaves float32; ex2.approx and rcp.approx, 2 ulp each.
template <bool kLeft, bool kBeta>
__device__ inline float break_sticks(float (&x)[16], float (&front)[4], float (&beta)[16]) {
  float total = 1.f;
#pragma unroll
  for (int run = 0; run < 4; ++run) {
    float e[4], w[4], q[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = kLeft ? 15 - (4 * run + i) : 4 * run + i;
      e[i] = exp2_approx(fminf(x[n], kMostLogit));
      w[i] = 1.f + e[i];
      q[i] = i == 0 ? w[0] : q[i - 1] * w[i];
    }
    float inverse = rcp_approx(q[3]);
    front[run] = total;
    total *= inverse;
#pragma unroll
    for (int i = 3; i >= 0; --i) {
      const int n = kLeft ? 15 - (4 * run + i) : 4 * run + i;
      x[n] = inverse * e[i];
      if constexpr (kBeta) beta[n] = i == 0 ? x[n] : x[n] * q[i - 1];
      inverse *= w[i];
    }
  }
  return total;
}

// The stick in front of this lane's 16 keys, given that in front of the tile; `stick` becomes what the tile
// leaves.
template <bool kLeft>
__device__ inline float stick_before(float own, float& stick) {
  const int t = threadIdx.x % 4;
  const float other = __shfl_xor_sync(~0u, own, 1), pair = own * other,
              others = __shfl_xor_sync(~0u, pair, 2);
  float before = stick;
  if ((t & 1) == (kLeft ? 0 : 1)) before *= other;
  if ((t >> 1) == (kLeft ? 0 : 1)) before *= others;
  stick *= pair * others;
  return before;
}

// Weights of two rows, as A fragments for accumulate().
template <typename T, bool kLeft>
__device__ inline void pack_weights(const float (&x)[2][16], const float (&front)[2][4],
                                    const float (&before)[2], uint32_t (&a)[4][4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int n = 4 * k + 2 * half;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float f = before[h] * front[h][(kLeft ? 15 - n : n) / 4];
        a[k][2 * half + h] = pack<T>(x[h][n] * f, x[h][n + 1] * f);
      }
    }
  }
}

// T of this lane's nearest key, given T of the tile's nearest and the lane's sum of t; `farther` becomes T
// beyond the tile.
template <bool kLeft>
__device__ __forceinline__ float farther_here(float sum, float& farther) {
  const int t = threadIdx.x % 4;
  const float other = __shfl_xor_sync(~0u, sum, 1), pair = sum + other,
              others = __shfl_xor_sync(~0u, pair, 2);
  float here = farther;
  if ((t >> 1) == (kLeft ? 0 : 1)) here -= others;
  if ((t & 1) == (kLeft ? 0 : 1)) here -= other;
  farther -= pair + others;
  return here;
}

}  // namespace rse::kernels
