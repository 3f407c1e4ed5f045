// Forward of one block of queries (src/ops/README.md section 1): S^T = K Q^T, sticks, O^T += V^T A^T, tile by
// tile from the block's own tile outwards, one side after the other. Part of kernels_impl.h.
#pragma once

#include "ops/cpu/block.h"

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

template <typename T>
int64_t forward_scratch(int64_t head_dim) {
  return 2 * head_dim * kBlock + 2 * kBlock * kBlock + 2 * kBlock;
}

template <typename T>
struct ForwardScratch {
  T* query;      // [head_dim][kBlock]
  T* out;        // [head_dim][kBlock]
  T* scores;     // [kBlock][kBlock]
  T* weights;    // [kBlock][kBlock]
  T* sticks[2];  // each [kBlock]
  ForwardScratch(T* memory, int64_t head_dim)
      : query(memory),
        out(query + head_dim * kBlock),
        scores(out + head_dim * kBlock),
        weights(scores + kBlock * kBlock),
        sticks{weights + kBlock * kBlock, weights + kBlock * kBlock + kBlock} {}
};

// Walks one side and returns how many tiles beyond the own it went.
template <typename T>
int64_t walk_side(const HeadView<T>& head, const StickRules& rules, const BlockPlace& place, Side side,
                  T query_norm, const ForwardScratch<T>& scratch) {
  const bool before = side == Side::kBefore;
  const int64_t tiles = before ? place.index - place.first_tile : place.last_tile - place.index;
  T* const sticks = scratch.sticks[before ? 0 : 1];
  for (int64_t n = 0; n < tiles; ++n) {
    const int64_t tile = before ? place.index - 1 - n : place.index + 1 + n;
    if (may_stop(head, rules, place, side, tile, query_norm, sticks)) return n;
    const TileShape<T> shape = tile_shape(head, rules, place, tile);
    tile_products(head, head.key, tile, shape, scratch.query, scratch.scores);
    break_tile(side, window_cuts(rules, place, tile), shape, scratch.scores, scratch.scores, sticks);
    add_to_columns(head, head.value, tile, shape, scratch.scores, scratch.out);
  }
  return tiles;
}

// Keys of the side that the row at `position` walked when its block went `tiles` tiles beyond its own.
inline int64_t keys_walked(int64_t len, const StickRules& rules, const BlockPlace& place, Side side,
                           int64_t tiles, int64_t position) {
  const int64_t keys = side == Side::kBefore
                           ? position - (place.index - tiles) * kBlock
                           : smaller(len, (place.index + tiles + 1) * kBlock) - 1 - position;
  return rules.window > 0 ? smaller(keys, rules.window - 1) : keys;
}

template <typename T>
void write_forward(const HeadView<T>& head, const StickRules& rules, const BlockPlace& place,
                   const ForwardScratch<T>& scratch, const int64_t* tiles_walked,
                   const ForwardOutput<T>& output) {
  const int64_t sides = rules.sides();
  for (int64_t i = 0; i < place.rows; ++i) {
    const int64_t position = place.first + i;
    T left = T(0);
    for (int64_t side = 0; side < sides; ++side) {
      output.rem[position * sides + side] = scratch.sticks[side][i];
      output.extent[position * sides + side] = static_cast<int32_t>(keys_walked(
          head.len, rules, place, side == 0 ? Side::kBefore : Side::kAfter, tiles_walked[side], position));
      left += scratch.sticks[side][i];
    }
    const T to_self = rules.remainder_self ? left : T(0);
    T* const out = output.out + position * output.out_stride;
    const T* const value = head.value + position * head.stride;
    for (int64_t d = 0; d < head.head_dim; ++d) out[d] = scratch.out[d * kBlock + i] + to_self * value[d];
  }
}

template <typename T>
void forward_block(const HeadView<T>& head, const StickRules& rules, const ForwardOutput<T>& output,
                   int64_t block, T* memory) {
  const FlushSubnormals flush;
  const ForwardScratch<T> scratch(memory, head.head_dim);
  const BlockPlace place = place_block(head.len, rules, block);
  const T* const queries = head.query + place.first * head.stride;
  transpose_rows(queries, place.rows, head.head_dim, head.stride, scratch.query);
  for (int64_t n = 0; n < head.head_dim * kBlock; ++n) scratch.out[n] = T(0);

  const TileShape<T> own = tile_shape(head, rules, place, place.index);
  tile_products(head, head.key, place.index, own, scratch.query, scratch.scores);
  break_own_tile(rules, place, own, scratch.scores, scratch.weights, scratch.sticks[0], scratch.sticks[1]);
  add_to_columns(head, head.value, place.index, own, scratch.weights, scratch.out);

  const T query_norm =
      rules.skip_below > 0 ? largest_norm(queries, place.rows, head.head_dim, head.stride) : T(0);
  int64_t tiles_walked[2] = {0, 0};
  tiles_walked[0] = walk_side(head, rules, place, Side::kBefore, query_norm, scratch);
  if (!rules.causal) tiles_walked[1] = walk_side(head, rules, place, Side::kAfter, query_norm, scratch);
  write_forward(head, rules, place, scratch, tiles_walked, output);
}

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
