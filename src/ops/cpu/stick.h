// Breaking sticks over one tile of keys (src/ops/README.md section 1), and the way back (section 3):
// everything of the operator that is no matrix product. Tiles are [keys][kBlock] with the queries of the
// block in the lanes. Part of kernels_impl.h.
#pragma once

#include "ops/cpu/simd.h"

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

enum class Side { kBefore, kAfter };

// What one block of queries and one tile of keys need to know of each other.
template <typename T>
struct TileShape {
  int64_t keys;
  int64_t vecs;    // vectors of queries in use
  T first_offset;  // position of the block's first query minus position of the tile's first key
  T decay;         // lambda * log2(e)
  T window;        // keys at this distance or farther take no part; read only where kWindow
};

// One tile of a side, nearest key first. In: scores, sticks as they reach the tile. Out: weights A, sticks
// beyond it. kKeep (backward): `scores` becomes e = exp(x), and `dweights`, which comes as dA, becomes t = A
// dA. weights may be scores where !kKeep.
template <typename T, Side kSide, bool kWindow, bool kKeep>
void break_sticks(const TileShape<T>& shape, T* scores, T* weights, T* dweights, T* sticks) {
  constexpr int64_t kStep = kSide == Side::kBefore ? -kBlock : kBlock;
  const int64_t nearest = kSide == Side::kBefore ? (shape.keys - 1) * kBlock : 0;
  for (int64_t v = 0; v < shape.vecs; ++v) {
    Vec<T> stick = load(sticks + v * kLanes<T>);
    const Vec<T> ahead = iota<T>(shape.first_offset + static_cast<T>(v * kLanes<T>));
    Vec<T> distance = kSide == Side::kBefore ? ahead - static_cast<T>(shape.keys - 1) : -ahead;
    int64_t at = nearest + v * kLanes<T>;
    for (int64_t n = 0; n < shape.keys; ++n, at += kStep, distance += T(1)) {
      Vec<T> e = exp2<T>(load(scores + at) - shape.decay * distance);
      if constexpr (kWindow) e = distance < shape.window ? e : Vec<T>{};
      const Vec<T> rest = T(1) / (T(1) + e);  // 1 - beta
      const Vec<T> weight = e * rest * stick;
      stick *= rest;
      if constexpr (kKeep) {
        store<T>(scores + at, e);
        store<T>(dweights + at, weight * load(dweights + at));
      }
      store<T>(weights + at, weight);
    }
    store<T>(sticks + v * kLanes<T>, stick);
  }
}

// The way back over one tile, farthest key first. In: e, t and the totals T of all farther keys. Out: dx in
// place of t, the totals with this tile's t added; distance_sums += dx |i - j|.
template <typename T, Side kSide>
void unbreak_sticks(const TileShape<T>& shape, const T* exps, T* t_to_dx, T* totals, double* distance_sums) {
  constexpr int64_t kStep = kSide == Side::kBefore ? kBlock : -kBlock;
  const int64_t farthest = kSide == Side::kBefore ? 0 : (shape.keys - 1) * kBlock;
  for (int64_t v = 0; v < shape.vecs; ++v) {
    Vec<T> total = load(totals + v * kLanes<T>);
    Vec<T> distance_sum = Vec<T>{};
    const Vec<T> ahead = iota<T>(shape.first_offset + static_cast<T>(v * kLanes<T>));
    Vec<T> distance = kSide == Side::kBefore ? ahead : static_cast<T>(shape.keys - 1) - ahead;
    int64_t at = farthest + v * kLanes<T>;
    for (int64_t n = 0; n < shape.keys; ++n, at += kStep, distance -= T(1)) {
      const Vec<T> e = load(exps + at);
      const Vec<T> t = load(t_to_dx + at);
      const Vec<T> rest = T(1) / (T(1) + e);
      const Vec<T> dx = t * rest - e * rest * total;  // t - beta (t + T)
      total += t;
      distance_sum += dx * distance;
      store<T>(t_to_dx + at, dx);
    }
    store<T>(totals + v * kLanes<T>, total);
    for (int64_t l = 0; l < kLanes<T>; ++l) distance_sums[v * kLanes<T> + l] += distance_sum[l];
  }
}

// The tile that holds the block's own keys belongs to both sides; `mine` below picks the lanes of one.
// e = exp(x) of every pair, 0 beyond the window.
template <typename T>
void own_tile_exps(const TileShape<T>& shape, bool windowed, T* scores) {
  for (int64_t j = 0; j < shape.keys; ++j) {
    for (int64_t v = 0; v < shape.vecs; ++v) {
      const Vec<T> ahead = iota<T>(static_cast<T>(v * kLanes<T> - j));
      const Vec<T> distance = ahead < T(0) ? -ahead : ahead;
      T* const at = scores + j * kBlock + v * kLanes<T>;
      const Vec<T> e = exp2<T>(load(at) - shape.decay * distance);
      store<T>(at, windowed ? (distance < shape.window ? e : Vec<T>{}) : e);
    }
  }
}

template <typename T, Side kSide>
inline Vec<T> mine(Vec<T> ahead, Vec<T> x) {
  return kSide == Side::kBefore ? (ahead > T(0) ? x : Vec<T>{}) : (ahead < T(0) ? x : Vec<T>{});
}

// One side of the own tile; adds to `weights`, which start at zero.
template <typename T, Side kSide>
void break_own_sticks(const TileShape<T>& shape, const T* exps, T* weights, T* sticks) {
  for (int64_t v = 0; v < shape.vecs; ++v) {
    Vec<T> stick = load(sticks + v * kLanes<T>);
    for (int64_t n = 0; n < shape.keys; ++n) {
      const int64_t j = kSide == Side::kBefore ? shape.keys - 1 - n : n;
      const int64_t at = j * kBlock + v * kLanes<T>;
      const Vec<T> e = mine<T, kSide>(iota<T>(static_cast<T>(v * kLanes<T> - j)), load(exps + at));
      const Vec<T> rest = T(1) / (T(1) + e);
      store<T>(weights + at, load(weights + at) + e * rest * stick);
      stick *= rest;
    }
    store<T>(sticks + v * kLanes<T>, stick);
  }
}

// The way back; adds to `dx`, which starts at zero, and leaves t as it is.
template <typename T, Side kSide>
void unbreak_own_sticks(const TileShape<T>& shape, const T* exps, const T* ts, T* dx, T* totals,
                        double* distance_sums) {
  for (int64_t v = 0; v < shape.vecs; ++v) {
    Vec<T> total = load(totals + v * kLanes<T>);
    Vec<T> distance_sum = Vec<T>{};
    for (int64_t n = 0; n < shape.keys; ++n) {
      const int64_t j = kSide == Side::kBefore ? n : shape.keys - 1 - n;
      const int64_t at = j * kBlock + v * kLanes<T>;
      const Vec<T> ahead = iota<T>(static_cast<T>(v * kLanes<T> - j));
      const Vec<T> e = mine<T, kSide>(ahead, load(exps + at));
      const Vec<T> t = mine<T, kSide>(ahead, load(ts + at));
      const Vec<T> rest = T(1) / (T(1) + e);
      const Vec<T> change = t * rest - e * rest * total;
      total += t;
      distance_sum += change * (kSide == Side::kBefore ? ahead : -ahead);
      store<T>(dx + at, load(dx + at) + change);
    }
    store<T>(totals + v * kLanes<T>, total);
    for (int64_t l = 0; l < kLanes<T>; ++l) distance_sums[v * kLanes<T> + l] += distance_sum[l];
  }
}

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
