// What becomes of the sums that the attention kernels made: slots added, rotation back, conversion.
#pragma once

#include "kernels/rows.cuh"

namespace rse::kernels {

// Four columns of dK's or dV's sum.
template <int D, bool kTiled>
__device__ inline void load_sum(const float* sums, const RowIndex& i, int column, float (&x)[4]) {
  if constexpr (kTiled) {
    const float* from = sums + i.prepared / kKeys * (kKeys * D) + column / kPanel * (kKeys * kPanel) +
                        accumulator_offset(static_cast<int>(i.prepared % kKeys), column % kPanel);
    const float2 a = *reinterpret_cast<const float2*>(from), b = *reinterpret_cast<const float2*>(from + 4);
    x[0] = a.x, x[1] = a.y, x[2] = b.x, x[3] = b.y;
  } else {
    load4<float, true>(sums + i.row * D + column, x);
  }
}

// dQ, dK and dV of a row as they were summed, columns 4g.. and half + 4g..
struct RowSums {
  float query[2][4] = {}, key[2][4] = {}, value[2][4] = {};
};

template <int D, bool kTiled>
__device__ inline void load_sums(const Accumulators& acc, const RowIndex& i, int low, int half, RowSums& to) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int column = low + h * half;
    if (acc.query != nullptr) load4<float, true>(acc.query + i.row * D + column, to.query[h]);
    load_sum<D, kTiled>(acc.key, i, column, to.key[h]);
    load_sum<D, kTiled>(acc.value, i, column, to.value[h]);
  }
}

template <int D, bool kTiled>
__device__ inline void add_slots(const Accumulators& acc, const RowIndex& i, int low, int half, RowSums& to) {
  for (int slot = 1; slot < acc.slots; ++slot) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float key[4], value[4];
      load_sum<D, kTiled>(acc.key + slot * acc.matrix, i, low + h * half, key);
      load_sum<D, kTiled>(acc.value + slot * acc.matrix, i, low + h * half, value);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        to.key[h][n] += key[n];
        to.value[h][n] += value[n];
      }
    }
  }
}

// Rotates back, scales, converts and stores; to: of batch and token.
template <typename T>
__device__ inline void store_sums(const AttentionParams& p, const RowIndex& i, int low, bool with_query,
                                  RowSums& sums, const BackwardOutputs& out) {
  const int half = p.head_dim / 2;
  if (p.cos != nullptr) {
    const int64_t angle = int64_t(i.position) * half + low;
    rotate(sums.query[0], sums.query[1], p.cos + angle, p.sin + angle, -1.f);
    rotate(sums.key[0], sums.key[1], p.cos + angle, p.sin + angle, -1.f);
  }
  const int64_t to = ((i.batch * p.seq + i.token) * p.heads + i.head) * p.head_dim + low;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      sums.query[h][n] *= p.scale;
      sums.key[h][n] *= 0.693147180559945309417f;  // the prepared query holds scale * log2(e)
    }
    saturate<T>(sums.query[h]);
    saturate<T>(sums.key[h]);
    saturate<T>(sums.value[h]);
    if (with_query) store4(static_cast<T*>(out.query) + to + h * half, sums.query[h]);
    store4(static_cast<T*>(out.key) + to + h * half, sums.key[h]);
    store4(static_cast<T*>(out.value) + to + h * half, sums.value[h]);
  }
}

// Rows of the Hopper path, by 256 threads; the own key is in the sums.
template <typename T, int D>
__device__ inline void finish_tiled_rows(const AttentionParams& p, const RowsOfBlock<true>& rows,
                                         const Accumulators& acc, const BackwardOutputs& out) {
  using Lanes = RowLanes<D>;
  const int low = threadIdx.x % Lanes::kGroup * 4, half = p.head_dim / 2;
  for (int row = threadIdx.x / Lanes::kGroup; row < kKeys; row += Lanes::kAtOnce) {
    const RowIndex i = rows.at(row);
    if (!i.valid || low >= half) continue;
    RowSums sums;
    load_sums<D, true>(acc, i, low, half, sums);
    add_slots<D, true>(acc, i, low, half, sums);
    store_sums<T>(p, i, low, acc.query != nullptr, sums, out);
  }
}

}  // namespace rse::kernels
