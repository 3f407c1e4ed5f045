// The walk of a block of queries along its keys: one side after the other, nearest tile first. Which tiles a
// side has, how far it reaches, and which keys of a tile take part. What becomes of the logits is not the
// walk's: the stick (stick.cuh) is one arithmetic over it.
//
// kLeft: the side of the keys before the query; else the side of those after it.
#pragma once

#include "kernels/device_common.cuh"
#include "kernels/thread_keys.cuh"

namespace rse::kernels {

// What bounds the keys that a query may meet, beside the side.
struct Limits {
  float decay;  // lambda in units of log2
  int window;   // only keys nearer than this; INT32_MAX: no window
  int length;   // of the document
};

// A row of the document, and the first of the keys that a thread holds of that row.
struct RowPlace {
  int row, key;
  // The distance of key 0. That of key n is plus_keys() of it.
  template <bool kLeft>
  __device__ float nearest() const {
    return static_cast<float>(kLeft ? row - key : key - row);
  }
};

// The distance n keys further along the document.
template <bool kLeft>
__device__ inline float plus_keys(float distance, int n) {
  return kLeft ? distance - n : distance + n;
}

// Logits in units of log2 lose decay times distance; those of keys that take no part become -inf. masked: the
// tile may hold such keys.
template <bool kLeft, typename Keys, int N>
__device__ inline void decay_and_mask(Keys keys, float (&logit)[N], const RowPlace& place, bool masked,
                                      const Limits& limits) {
  const float nearest = place.nearest<kLeft>();
#pragma unroll
  for (int n = 0; n < Keys::kCount; ++n)
    logit[keys(n)] = fmaf(-limits.decay, plus_keys<kLeft>(nearest, n), logit[keys(n)]);
  if (!masked) return;
#pragma unroll
  for (int n = 0; n < Keys::kCount; ++n) {
    const int key = place.key + n, distance = kLeft ? place.row - key : key - place.row;
    if (distance <= 0 || distance >= limits.window || key >= limits.length) logit[keys(n)] = -INFINITY;
  }
}

// The same before the product, for an accumulator that the product is then added to.
template <bool kLeft, bool kMasked, typename Keys, int N>
__device__ inline void start_logits(Keys keys, float (&logit)[N], const RowPlace& place,
                                    const Limits& limits) {
  const float nearest = -limits.decay * place.nearest<kLeft>();
#pragma unroll
  for (int n = 0; n < Keys::kCount; ++n) {
    logit[keys(n)] = fmaf(kLeft ? limits.decay : -limits.decay, static_cast<float>(n), nearest);
    if constexpr (kMasked) {
      const int key = place.key + n, distance = kLeft ? place.row - key : key - place.row;
      if (distance <= 0 || distance >= limits.window || key >= limits.length) logit[keys(n)] = -INFINITY;
    }
  }
}

// The farthest key that rows first_row to last_row of a document need on a side, given how many keys each
// needs.
template <bool kLeft>
__device__ inline int farthest_key(int first_row, int last_row, int reach, int length) {
  return kLeft ? max(0, first_row - reach) : min(length - 1, last_row + min(reach, length));
}

// The tiles that one side of rows first_row to last_row walks, nearest first; at least one.
template <bool kLeft, int kTileKeys = kKeys>
struct TileRange {
  int begin, count;
  __device__ TileRange(int first_row, int last_row, int far_key)
      : begin((kLeft ? last_row : first_row) / kTileKeys) {
    const int end = far_key / kTileKeys;
    count = (kLeft ? begin - end : end - begin) + 1;
  }
  __device__ int at(int i) const { return kLeft ? begin - i : begin + i; }  // number of the i-th tile
  __device__ int first_key(int i) const { return at(i) * kTileKeys; }
  // The farthest key of the first `walked` tiles, or first_row where none was walked: on the left the extents
  // then count keys of the block itself, all of which weigh less than skip_below.
  __device__ int last_key(int walked, int first_row, int length) const {
    if (walked == 0) return first_row;
    return kLeft ? first_key(walked - 1) : min(length, first_key(walked - 1) + kTileKeys) - 1;
  }
};

// Whether the window of any row ends within the tile that begins at first_key.
template <bool kLeft, int kTileKeys = kKeys>
__device__ inline bool crosses_window(int first_key, int first_row, int last_row, int window) {
  return (kLeft ? last_row - first_key : first_key + kTileKeys - 1 - first_row) >= window;
}

// Whether the tile holds keys that do not take part for every one of `rows` rows from first_row.
template <bool kLeft, int kTileKeys = kKeys>
__device__ inline bool needs_mask(int first_key, int first_row, int rows, int last_row,
                                  const Limits& limits) {
  const bool diagonal = rows == kTileKeys ? first_key == first_row
                                          : first_key + kTileKeys > first_row && first_key < first_row + rows;
  return diagonal || crosses_window<kLeft, kTileKeys>(first_key, first_row, last_row, limits.window) ||
         first_key + kTileKeys > limits.length;
}

// The sum over a warp, in every lane.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(~0u, x, mask);
  return x;
}

// Stores a row block's share of d lambda, the sum over the thread block. scratch: a float per warp, in shared
// memory.
template <int kThreads>
__device__ inline void store_grad_decay(float grad_decay, float* scratch, float* to) {
  const float sum = warp_sum(grad_decay);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float all = 0;
    for (int warp = 0; warp < kThreads / 32; ++warp) all += scratch[warp];
    *to = all;
  }
  __syncthreads();
}

}  // namespace rse::kernels
