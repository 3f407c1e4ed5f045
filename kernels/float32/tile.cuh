// The float32 path's tile: multiply-adds on the plain cores, fed from shared memory, and the stick broken
// along it.
//
// A row block is walked in two halves of 64 queries, a thread block each, so that backward's matrices fit the
// 99 KB of compute capability 8.6 and 8.9. Four warps hold 16 query rows each; a thread holds 4 or 8 rows by
// 4 (or twice 4) neighbouring columns, loaded four at a time.
#pragma once

#include "kernels/device_common.cuh"

namespace rse::kernels::simt {

constexpr int kThreads = 128, kHalf = 64;

// Offset of columns 4 chunk to 4 chunk + 3 of a row: eight rows 4 apart, and eight neighbouring chunks, both
// meet all banks.
template <int kWidth>
__device__ inline int place(int row, int chunk) {
  return row * kWidth + 4 * (chunk ^ ((row >> 2) & 7));
}
__device__ inline float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ inline void store4(float* to, const float (&x)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
}

// How a warp's lanes share its 16 rows: kAcross of them along a row. Neighbouring lanes are in different
// rows, so that a quarter of the warp reads few addresses of either operand.
template <int kAcross>
struct Lanes {
  static constexpr int kCount = kAcross / 2;  // rows a thread
  __device__ static int column() { return threadIdx.x / 2 % kAcross; }
  __device__ static int row() {  // the thread's first, in the half block
    const int lane = threadIdx.x % 32;
    return threadIdx.x / 32 * 16 + kCount * (lane % 2 + lane / (2 * kAcross) * 2);
  }
};
template <int kTileKeys>
using KeyLanes = Lanes<kTileKeys / 4>;  // of a tile of logits: 4 neighbouring keys a thread
template <int D>
using ColumnLanes = Lanes<(D < 64 ? D : 64) / 4>;  // of out, dQ: columns 4 column() + 64 c
template <int D>
constexpr int kColumnChunks = D <= 64 ? 1 : D / 64;

__device__ inline void multiply_add(float& sum, const float4& a, const float4& b) {
  sum = fmaf(a.x, b.x, sum);
  sum = fmaf(a.y, b.y, sum);
  sum = fmaf(a.z, b.z, sum);
  sum = fmaf(a.w, b.w, sum);
}
__device__ inline void multiply_add(float (&sum)[4], float a, const float4& b) {
  sum[0] = fmaf(a, b.x, sum[0]);
  sum[1] = fmaf(a, b.y, sum[1]);
  sum[2] = fmaf(a, b.z, sum[2]);
  sum[3] = fmaf(a, b.w, sum[3]);
}

// Copies kCount rows from row `first` of the document; rows at or past `end` are zero.
template <int D, int kCount>
__device__ inline void load_rows(float* to, const float* from, int first, int end) {
#pragma unroll 2  // of all, every address would take a register
  for (int i = 0; i < kCount * (D / 4) / kThreads; ++i) {
    const int index = threadIdx.x + i * kThreads, row = index / (D / 4), chunk = index % (D / 4);
    const bool valid = first + row < end;
    cp_async16(shared_address(to + place<D>(row, chunk)),
               from + static_cast<int64_t>(valid ? first + row : 0) * D + chunk * 4, valid);
  }
}

// x[i][n]: product of row KeyLanes::row() + i with the tile's key 4 KeyLanes::column() + n.
template <int D, int kTileKeys>
__device__ inline void products(const float* rows, const float* keys,
                                float (&x)[KeyLanes<kTileKeys>::kCount][4]) {
  using Own = KeyLanes<kTileKeys>;
  const int row = Own::row(), key = 4 * Own::column();
#pragma unroll
  for (int i = 0; i < Own::kCount; ++i) {
#pragma unroll
    for (int n = 0; n < 4; ++n) x[i][n] = 0.f;
  }
#pragma unroll 2
  for (int chunk = 0; chunk < D / 4; ++chunk) {
    float4 k[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) k[n] = load4(keys + place<D>(key + n, chunk));
#pragma unroll
    for (int i = 0; i < Own::kCount; ++i) {
      const float4 q = load4(rows + place<D>(row + i, chunk));
#pragma unroll
      for (int n = 0; n < 4; ++n) multiply_add(x[i][n], q, k[n]);
    }
  }
}

// sum[row] += sum over the tile's keys of weight * matrix[key]; rows as ColumnLanes has them.
template <int D, int kTileKeys>
__device__ inline void accumulate(const float* weights, const float* matrix,
                                  float (&sum)[ColumnLanes<D>::kCount][kColumnChunks<D>][4]) {
  using Own = ColumnLanes<D>;
  const int row = Own::row(), column = Own::column();
#pragma unroll 2
  for (int keys = 0; keys < kTileKeys / 4; ++keys) {
    float4 m[4][kColumnChunks<D>];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int c = 0; c < kColumnChunks<D>; ++c)
        m[n][c] = load4(matrix + place<D>(4 * keys + n, column + 16 * c));
    }
#pragma unroll
    for (int i = 0; i < Own::kCount; ++i) {
      const float4 w = load4(weights + place<kTileKeys>(row + i, keys));
#pragma unroll
      for (int c = 0; c < kColumnChunks<D>; ++c) {
        multiply_add(sum[i][c], w.x, m[0][c]);
        multiply_add(sum[i][c], w.y, m[1][c]);
        multiply_add(sum[i][c], w.z, m[2][c]);
        multiply_add(sum[i][c], w.w, m[3][c]);
      }
    }
  }
}

// Which keys of a document a walk may meet.
struct Limits {
  float decay;  // times log2(e)
  int window, length;
};

// Distance of key from row, and of key + n given that of key.
template <bool kLeft>
__device__ inline int distance_of(int row, int key) {
  return kLeft ? row - key : key - row;
}
template <bool kLeft>
__device__ inline float distance_on(float distance, int n) {
  return kLeft ? distance - n : distance + n;
}

// x in units of log2 -> minus decay times distance; keys not on the side, outside the window or the document:
// -inf.
template <bool kLeft>
__device__ inline void decay_and_mask(float (&x)[4], int row, int key, bool masked, const Limits& limits) {
  const float near = static_cast<float>(distance_of<kLeft>(row, key));
#pragma unroll
  for (int n = 0; n < 4; ++n) x[n] = fmaf(-limits.decay, distance_on<kLeft>(near, n), x[n]);
  if (!masked) return;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int distance = distance_of<kLeft>(row, key + n);
    if (distance <= 0 || distance >= limits.window || key + n >= limits.length) x[n] = -INFINITY;
  }
}

// Turns the logits of 4 neighbouring keys into weights over the stick in front of them, nearest first (kLeft:
// from n = 3 down), and gives their sigmoids; returns the factor that the 4 keys leave. Spec section 5, one
// reciprocal. Approximations: logits are cut at 31 ln 2, so that 1 - beta >= 2^-31 (error below 1e-9), and
// neither the product of four 1 + e nor its inverse leaves float32; ex2.approx, 2 ulp as exp2f; rcp.approx
// and a Newton step, 1 ulp: its own bias would add up along thousands of keys.
template <bool kLeft>
__device__ inline float break_sticks(float (&x)[4], float (&beta)[4]) {
  constexpr float kMost = 31.f;
  float e[4], w[4], q[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    e[i] = exp2_approx(fminf(x[kLeft ? 3 - i : i], kMost));
    w[i] = 1.f + e[i];
    q[i] = i == 0 ? w[0] : q[i - 1] * w[i];
  }
  const float guess = rcp_approx(q[3]), leaves = fmaf(guess, fmaf(-q[3], guess, 1.f), guess);
  float inverse = leaves;
#pragma unroll
  for (int i = 3; i >= 0; --i) {
    const int n = kLeft ? 3 - i : i;
    x[n] = inverse * e[i];
    beta[n] = i == 0 ? x[n] : x[n] * q[i - 1];
    inverse *= w[i];
  }
  return leaves;
}

// Combines `own` over the kAcross lanes of a row: returns the part of the lanes with nearer keys; `own`
// becomes all.
template <bool kLeft, int kAcross, typename Combine>
__device__ inline float nearer_lanes(float& own, float neutral, Combine combine) {
  float nearer = neutral;
#pragma unroll
  for (int mask = 2; mask < 2 * kAcross; mask *= 2) {
    const float other = __shfl_xor_sync(~0u, own, mask);
    if (((threadIdx.x & mask) == 0) == kLeft) nearer = combine(nearer, other);
    own = combine(own, other);
  }
  return nearer;
}

// The stick in front of this lane's keys, given that in front of the tile; `stick` becomes what the tile
// leaves.
template <bool kLeft, int kAcross>
__device__ inline float stick_before(float leaves, float& stick) {
  const float nearer = nearer_lanes<kLeft, kAcross>(leaves, 1.f, [](float a, float b) { return a * b; });
  const float before = stick * nearer;
  stick *= leaves;
  return before;
}

// The half of a row block that this thread block has; at.row >= at.length where nothing is left.
__device__ inline RowBlock half_block(const Documents& docs, int block, int half) {
  RowBlock at = row_block(docs, block);
  at.row += half * kHalf;
  return at;
}

}  // namespace rse::kernels::simt
