// The float32 path's tile: how matrices lie in shared memory, how threads share a tile, and multiply-adds on
// the plain cores.
//
// A row block is walked in two halves of 64 queries, a thread block each (tile_size.h). Four warps hold 16
// query rows each; a thread holds 4 or 8 rows by 4 (or twice 4) neighbouring columns, loaded four at a time.
#pragma once

#include "kernels/device_common.cuh"
#include "kernels/thread_keys.cuh"

namespace rse::kernels::float32 {

// The offset of columns 4 chunk to 4 chunk + 3 of a row. Both eight rows that are 4 apart and eight
// neighbouring chunks meet all banks of shared memory.
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
  static constexpr int kCount = kAcross / 2;  // rows per thread
  __device__ static int column() { return threadIdx.x / 2 % kAcross; }
  __device__ static int row() {  // the thread's first row in the half block
    const int lane = threadIdx.x % 32;
    return threadIdx.x / 32 * kWarpRows + kCount * (lane % 2 + lane / (2 * kAcross) * 2);
  }
};
template <int kTileKeys>
using KeyLanes = Lanes<kTileKeys / 4>;  // of a tile of logits: 4 neighbouring keys per thread
template <int kTileKeys>
using StickLanes = AlternateLanes<kTileKeys / 4>;  // the same lanes, as stick.cuh wants them
template <int D>
using ColumnLanes = Lanes<(D < 64 ? D : 64) / 4>;  // of out and dQ: columns 4 column() + 64 c
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

// Starts to copy kCount rows from row `first` of the document. Rows at or past `end` become zero.
template <int D, int kCount>
__device__ inline void load_rows(float* to, const float* from, int first, int end) {
#pragma unroll 2  // Unrolled in full, every address would take a register.
  for (int i = 0; i < kCount * (D / 4) / kThreads; ++i) {
    const int index = threadIdx.x + i * kThreads, row = index / (D / 4), chunk = index % (D / 4);
    const bool valid = first + row < end;
    cp_async16(shared_address(to + place<D>(row, chunk)),
               from + static_cast<int64_t>(valid ? first + row : 0) * D + chunk * 4, valid);
  }
}

// x[i][n] = the product of row KeyLanes::row() + i with the tile's key 4 KeyLanes::column() + n.
template <int D, int kTileKeys>
__device__ inline void products(const float* rows, const float* keys,
                                float (&x)[KeyLanes<kTileKeys>::kCount][4]) {
  using Held = KeyLanes<kTileKeys>;
  const int row = Held::row(), key = 4 * Held::column();
#pragma unroll
  for (int i = 0; i < Held::kCount; ++i) {
#pragma unroll
    for (int n = 0; n < 4; ++n) x[i][n] = 0.f;
  }
#pragma unroll 2
  for (int chunk = 0; chunk < D / 4; ++chunk) {
    float4 k[4];
#pragma unroll
    for (int n = 0; n < 4; ++n) k[n] = load4(keys + place<D>(key + n, chunk));
#pragma unroll
    for (int i = 0; i < Held::kCount; ++i) {
      const float4 q = load4(rows + place<D>(row + i, chunk));
#pragma unroll
      for (int n = 0; n < 4; ++n) multiply_add(x[i][n], q, k[n]);
    }
  }
}

// sum[row] += the sum over the tile's keys of weight * matrix[key], rows as ColumnLanes has them.
template <int D, int kTileKeys>
__device__ inline void accumulate(const float* weights, const float* matrix,
                                  float (&sum)[ColumnLanes<D>::kCount][kColumnChunks<D>][4]) {
  using Held = ColumnLanes<D>;
  const int row = Held::row(), column = Held::column();
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
    for (int i = 0; i < Held::kCount; ++i) {
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

// The run of break_stick() that holds the n-th of a thread's 4 keys: there are two, the nearer one first.
template <bool kLeft>
__device__ constexpr int run_of(int n) {
  return (n >= 2) != kLeft ? 1 : 0;
}

// Below it a stick is taken for used up. Forward keeps where that happens (Saved::used_up: the stick in front of
// that tile of backward's, and its number; or what is left beyond the last key, and kNotUsedUp), so that backward
// can walk from the far end, with the sticks of each tile being what it leaves over what its keys leave of 1.
constexpr float kLeastStick = 0x1p-100f;
constexpr int kNotUsedUp = -1;

// The half of a row block that a thread block has. Its row is at or past the length where nothing is left.
__device__ inline RowBlock half_block(const Documents& docs, int block, int half) {
  RowBlock at = row_block(docs, block);
  at.row += half * kHalfRows;
  return at;
}

}  // namespace rse::kernels::float32
