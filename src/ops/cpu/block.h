// What forward and backward share of one block of queries: its place in the document, the tiles it may visit,
// its own tile (which holds both sides), and the bound that lets it stop. Part of kernels_impl.h.
#pragma once

#include "ops/cpu/gemm.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/stick.h"

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// The block's queries and the tiles within its window.
struct BlockPlace {
  int64_t index;       // also the index of its own tile
  int64_t first;       // position of its first query
  int64_t rows;        // queries, 1 to kBlock
  int64_t first_tile;  // tiles [first_tile, last_tile] hold every key that may take part
  int64_t last_tile;
};

inline BlockPlace place_block(int64_t len, const StickRules& rules, int64_t block) {
  BlockPlace place;
  place.index = block;
  place.first = block * kBlock;
  place.rows = smaller(kBlock, len - place.first);
  const int64_t reach = rules.window > 0 ? smaller(rules.window - 1, len) : len;
  place.first_tile = larger(0, place.first - reach) / kBlock;
  place.last_tile = rules.causal ? block : smaller(len - 1, place.first + place.rows - 1 + reach) / kBlock;
  return place;
}

template <typename T>
inline int64_t vecs_for(int64_t elements) {
  return (elements + kLanes<T> - 1) / kLanes<T>;
}

template <typename T>
TileShape<T> tile_shape(const HeadView<T>& head, const StickRules& rules, const BlockPlace& place,
                        int64_t tile) {
  TileShape<T> shape;
  shape.keys = smaller(kBlock, head.len - tile * kBlock);
  shape.vecs = vecs_for<T>(place.rows);
  shape.first_offset = static_cast<T>(place.first - tile * kBlock);
  shape.decay = head.decay;
  shape.window = static_cast<T>(rules.window);
  return shape;
}

// Whether the window leaves out some pair of the block and the tile.
inline bool window_cuts(const StickRules& rules, const BlockPlace& place, int64_t tile) {
  if (rules.window == 0) return false;
  const int64_t before = place.first + place.rows - 1 - tile * kBlock;
  const int64_t after = tile * kBlock + kBlock - 1 - place.first;
  return larger(before, after) >= rules.window;
}

// columns[d][i] = rows[i][d], zero for the lanes beyond `rows`.
template <typename T>
void transpose_rows(const T* source, int64_t rows, int64_t head_dim, int64_t stride, T* columns) {
  for (int64_t d = 0; d < head_dim; ++d) {
    T* const column = columns + d * kBlock;
    for (int64_t i = 0; i < rows; ++i) column[i] = source[i * stride + d];
    for (int64_t i = rows; i < kBlock; ++i) column[i] = T(0);
  }
}

// products[j][i] = <row j of keys, column i>.
template <typename T>
void tile_products(const HeadView<T>& head, const T* keys, int64_t tile, const TileShape<T>& shape,
                   const T* columns, T* products) {
  gemm<T, false>(shape.keys, shape.vecs, head.head_dim, {keys + tile * kBlock * head.stride, head.stride, 1},
                 columns, kBlock, products, kBlock);
}

// columns[d][i] += sum_j rows[j][d] weights[j][i], over the keys j of the tile.
template <typename T>
void add_to_columns(const HeadView<T>& head, const T* rows, int64_t tile, const TileShape<T>& shape,
                    const T* weights, T* columns) {
  gemm<T, true>(head.head_dim, shape.vecs, shape.keys, {rows + tile * kBlock * head.stride, 1, head.stride},
                weights, kBlock, columns, kBlock);
}

// rows[j][d] += sum_i weights[j][i] block_rows[i][d]: block_rows are the block's own, rows those of the tile.
template <typename T>
void add_to_rows(const HeadView<T>& head, const BlockPlace& place, const T* block_rows, int64_t tile,
                 const TileShape<T>& shape, const T* weights, T* rows) {
  gemm<T, true>(shape.keys, vecs_for<T>(head.head_dim), place.rows, {weights, kBlock, 1},
                block_rows + place.first * head.stride, head.stride, rows + tile * kBlock * head.stride,
                head.stride);
}

template <typename T>
void break_tile(Side side, bool windowed, const TileShape<T>& shape, T* scores, T* weights, T* sticks) {
  if (side == Side::kBefore) {
    if (windowed)
      break_sticks<T, Side::kBefore, true, false>(shape, scores, weights, nullptr, sticks);
    else
      break_sticks<T, Side::kBefore, false, false>(shape, scores, weights, nullptr, sticks);
  } else {
    if (windowed)
      break_sticks<T, Side::kAfter, true, false>(shape, scores, weights, nullptr, sticks);
    else
      break_sticks<T, Side::kAfter, false, false>(shape, scores, weights, nullptr, sticks);
  }
}

// The own tile, near to far: scores become e; weights A of the own key and of the own tile's part of both
// sides; both sides' sticks as they leave it, 0 in lanes without a query.
template <typename T>
void break_own_tile(const StickRules& rules, const BlockPlace& place, const TileShape<T>& shape, T* scores,
                    T* weights, T* sticks_before, T* sticks_after) {
  own_tile_exps(shape, window_cuts(rules, place, place.index), scores);
  for (int64_t n = 0; n < shape.keys * kBlock; ++n) weights[n] = T(0);
  for (int64_t i = 0; i < kBlock; ++i) {
    const bool query = i < place.rows;
    const T e = query && rules.self_key ? scores[i * kBlock + i] : T(0);
    const T rest = T(1) / (T(1) + e);
    const T start = rules.shared ? rest / static_cast<T>(rules.sides()) : T(1);
    sticks_before[i] = query ? start : T(0);
    sticks_after[i] = query && !rules.causal ? start : T(0);
    if (query) weights[i * kBlock + i] = e * rest;
  }
  break_own_sticks<T, Side::kBefore>(shape, scores, weights, sticks_before);
  if (!rules.causal) break_own_sticks<T, Side::kAfter>(shape, scores, weights, sticks_after);
}

template <typename T>
T largest_norm(const T* rows, int64_t count, int64_t head_dim, int64_t stride) {
  T largest = T(0);
  for (int64_t r = 0; r < count; ++r) {
    T sum = T(0);
    for (int64_t d = 0; d < head_dim; ++d) sum += rows[r * stride + d] * rows[r * stride + d];
    // Written so that a NaN stays: nothing may be skipped because of it.
    largest = sum <= largest ? largest : sum;
  }
  return static_cast<T>(__builtin_sqrt(static_cast<double>(largest)));
}

template <typename T>
void key_norms(const T* key, int64_t len, int64_t head_dim, int64_t stride, T* before, T* after) {
  const int64_t tiles = (len + kBlock - 1) / kBlock;
  for (int64_t t = 0; t < tiles; ++t) {
    before[t] = largest_norm(key + t * kBlock * stride, smaller(kBlock, len - t * kBlock), head_dim, stride);
    after[t] = before[t];
  }
  for (int64_t t = 1; t < tiles; ++t) before[t] = before[t] >= before[t - 1] ? before[t] : before[t - 1];
  for (int64_t t = tiles - 2; t >= 0; --t) after[t] = after[t] >= after[t + 1] ? after[t] : after[t + 1];
}

// Whether `tile` and all tiles beyond it together weigh less than skip_below for every row. The bound is the
// largest stick times the sum of 2^(s_max - decay d), which no beta exceeds, over the keys beyond
// (src/ops/README.md section 5; logits and decay are in units of log2).
template <typename T>
bool may_stop(const HeadView<T>& head, const StickRules& rules, const BlockPlace& place, Side side,
              int64_t tile, T query_norm, const T* sticks) {
  if (rules.skip_below <= 0) return false;
  T stick = T(0);
  for (int64_t i = 0; i < kBlock; ++i) stick = sticks[i] <= stick ? stick : sticks[i];
  if (!(stick >= rules.skip_below)) return stick == stick;
  const bool before = side == Side::kBefore;
  const int64_t distance =
      before ? place.first - (tile * kBlock + kBlock - 1) : tile * kBlock - (place.first + place.rows - 1);
  const double decay = head.decay;
  const double norm = before ? head.key_norm_before[tile] : head.key_norm_after[tile];
  const double count = static_cast<double>(before ? (tile + 1) * kBlock : head.len - tile * kBlock);
  const double nearest = __builtin_exp2(static_cast<double>(query_norm) * norm - decay * distance);
  const double geometric = 1.0 / (1.0 - __builtin_exp2(-decay));
  return stick * nearest * (geometric < count ? geometric : count) < rules.skip_below;
}

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
