// Backward of one block of queries (src/ops/README.md section 3), in two passes over the tiles that forward
// visited.
//
// Pass 1, near to far: A, t = A dA and dV; e and t of the block are kept (O(len) memory). Pass 2, far to
// near: the totals T start with what the remainder is worth and grow tile by tile, so that they are never a
// difference of large numbers; dx, dQ, dK and d lambda. Part of kernels_impl.h.
#pragma once

#include "ops/cpu/block.h"

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

template <typename T>
int64_t backward_scratch(int64_t head_dim, int64_t tiles) {
  return 3 * head_dim * kBlock + (2 * tiles + 1) * kBlock * kBlock + 4 * kBlock + 2 * kBlock;
}

template <typename T>
struct BackwardScratch {
  T* query;               // [head_dim][kBlock]
  T* out_grad;            // [head_dim][kBlock]
  T* query_grad;          // [head_dim][kBlock]
  T* weights;             // [kBlock][kBlock]
  T* sticks[2];           // each [kBlock]
  T* totals[2];           // each [kBlock]: T of section 3
  double* distance_sums;  // [kBlock]
  T* kept;                // per tile e and then t (or dx), each [kBlock][kBlock]; the own tile first
  BackwardScratch(T* memory, int64_t head_dim)
      : query(memory),
        out_grad(query + head_dim * kBlock),
        query_grad(out_grad + head_dim * kBlock),
        weights(query_grad + head_dim * kBlock),
        sticks{weights + kBlock * kBlock, weights + kBlock * kBlock + kBlock},
        totals{sticks[1] + kBlock, sticks[1] + 2 * kBlock},
        distance_sums(reinterpret_cast<double*>(totals[1] + kBlock)),
        kept(totals[1] + 3 * kBlock) {}
  T* exps(int64_t slot) const { return kept + 2 * slot * kBlock * kBlock; }
  T* ts(int64_t slot) const { return exps(slot) + kBlock * kBlock; }
};

// One call of backward_block: its arguments and where it stands.
template <typename T>
struct BackwardPass {
  const HeadView<T>& head;
  const StickRules& rules;
  const BackwardInput<T>& input;
  const BackwardOutput<T>& output;
  const BackwardScratch<T>& scratch;
  const BlockPlace& place;
  int64_t tiles[2];  // tiles beyond the own that forward walked on each side

  // Slots in `kept`: own tile, the side before from near to far, the side after.
  int64_t slot(Side side, int64_t n) const { return side == Side::kBefore ? 1 + n : 1 + tiles[0] + n; }
  int64_t tile(Side side, int64_t n) const {
    return side == Side::kBefore ? place.index - 1 - n : place.index + 1 + n;
  }
};

template <typename T>
void keep_own_tile(const BackwardPass<T>& pass) {
  const BackwardScratch<T>& scratch = pass.scratch;
  const TileShape<T> shape = tile_shape(pass.head, pass.rules, pass.place, pass.place.index);
  T* const exps = scratch.exps(0);
  T* const ts = scratch.ts(0);
  tile_products(pass.head, pass.head.key, pass.place.index, shape, scratch.query, exps);
  tile_products(pass.head, pass.head.value, pass.place.index, shape, scratch.out_grad, ts);
  break_own_tile(pass.rules, pass.place, shape, exps, scratch.weights, scratch.sticks[0], scratch.sticks[1]);
  // What the remainder given to a query's own value is worth: <do_i, v_i> = dA_ii.
  for (int64_t i = 0; i < kBlock; ++i) {
    const T worth = pass.rules.remainder_self && i < pass.place.rows ? ts[i * kBlock + i] : T(0);
    scratch.totals[0][i] = scratch.totals[1][i] = worth;
  }
  for (int64_t j = 0; j < shape.keys; ++j) {
    for (int64_t x = 0; x < shape.vecs * kLanes<T>; ++x)
      ts[j * kBlock + x] *= scratch.weights[j * kBlock + x];
  }
  add_to_rows(pass.head, pass.place, pass.input.out_grad, pass.place.index, shape, scratch.weights,
              pass.output.value_grad);
}

template <typename T, Side kSide>
void keep_side(const BackwardPass<T>& pass) {
  const BackwardScratch<T>& scratch = pass.scratch;
  T* const sticks = scratch.sticks[kSide == Side::kBefore ? 0 : 1];
  for (int64_t n = 0; n < pass.tiles[kSide == Side::kBefore ? 0 : 1]; ++n) {
    const int64_t tile = pass.tile(kSide, n);
    const TileShape<T> shape = tile_shape(pass.head, pass.rules, pass.place, tile);
    T* const exps = scratch.exps(pass.slot(kSide, n));
    T* const ts = scratch.ts(pass.slot(kSide, n));
    tile_products(pass.head, pass.head.key, tile, shape, scratch.query, exps);
    tile_products(pass.head, pass.head.value, tile, shape, scratch.out_grad, ts);
    if (window_cuts(pass.rules, pass.place, tile)) {
      break_sticks<T, kSide, true, true>(shape, exps, scratch.weights, ts, sticks);
    } else {
      break_sticks<T, kSide, false, true>(shape, exps, scratch.weights, ts, sticks);
    }
    add_to_rows(pass.head, pass.place, pass.input.out_grad, tile, shape, scratch.weights,
                pass.output.value_grad);
  }
}

// Between the passes: T beyond the farthest key = rem (drem + [remainder = self] <do_i, v_i>), and the
// remainder's own part of dV.
template <typename T>
void start_totals(const BackwardPass<T>& pass) {
  const int64_t sides = pass.rules.sides();
  for (int64_t i = 0; i < kBlock; ++i) {
    const int64_t position = pass.place.first + i;
    const bool query = i < pass.place.rows;
    T left = T(0);
    for (int64_t side = 0; side < sides; ++side) {
      const T rem = pass.scratch.sticks[side][i];
      T worth = pass.scratch.totals[side][i];
      if (query && pass.input.rem_grad != nullptr) worth += pass.input.rem_grad[position * sides + side];
      pass.scratch.totals[side][i] = rem * worth;
      left += rem;
    }
    if (!query || !pass.rules.remainder_self) continue;
    const T* const out_grad = pass.input.out_grad + position * pass.head.stride;
    T* const value_grad = pass.output.value_grad + position * pass.head.stride;
    for (int64_t d = 0; d < pass.head.head_dim; ++d) value_grad[d] += left * out_grad[d];
  }
}

template <typename T>
void add_score_grads(const BackwardPass<T>& pass, int64_t tile, const TileShape<T>& shape, const T* dx) {
  add_to_columns(pass.head, pass.head.key, tile, shape, dx, pass.scratch.query_grad);
  add_to_rows(pass.head, pass.place, pass.head.query, tile, shape, dx, pass.output.key_grad);
}

template <typename T, Side kSide>
void return_side(const BackwardPass<T>& pass) {
  const int side = kSide == Side::kBefore ? 0 : 1;
  for (int64_t n = pass.tiles[side] - 1; n >= 0; --n) {
    const int64_t tile = pass.tile(kSide, n);
    const TileShape<T> shape = tile_shape(pass.head, pass.rules, pass.place, tile);
    T* const ts = pass.scratch.ts(pass.slot(kSide, n));
    unbreak_sticks<T, kSide>(shape, pass.scratch.exps(pass.slot(kSide, n)), ts, pass.scratch.totals[side],
                             pass.scratch.distance_sums);
    add_score_grads(pass, tile, shape, ts);
  }
}

// The own tile last; the own key's T holds both sides where the mass is shared.
template <typename T>
void return_own_tile(const BackwardPass<T>& pass) {
  const BackwardScratch<T>& scratch = pass.scratch;
  const TileShape<T> shape = tile_shape(pass.head, pass.rules, pass.place, pass.place.index);
  const T* const exps = scratch.exps(0);
  const T* const ts = scratch.ts(0);
  T* const dx = scratch.weights;
  for (int64_t n = 0; n < shape.keys * kBlock; ++n) dx[n] = T(0);
  unbreak_own_sticks<T, Side::kBefore>(shape, exps, ts, dx, scratch.totals[0], scratch.distance_sums);
  if (!pass.rules.causal) {
    unbreak_own_sticks<T, Side::kAfter>(shape, exps, ts, dx, scratch.totals[1], scratch.distance_sums);
  }
  if (pass.rules.self_key) {
    for (int64_t i = 0; i < pass.place.rows; ++i) {
      const T e = exps[i * kBlock + i];
      const T rest = T(1) / (T(1) + e);
      T total = T(0);
      if (pass.rules.shared) total = scratch.totals[0][i] + (pass.rules.causal ? T(0) : scratch.totals[1][i]);
      dx[i * kBlock + i] = ts[i * kBlock + i] * rest - e * rest * total;
    }
  }
  add_score_grads(pass, pass.place.index, shape, dx);
}

template <typename T>
void backward_block(const HeadView<T>& head, const StickRules& rules, const BackwardInput<T>& input,
                    const BackwardOutput<T>& output, int64_t block, T* memory) {
  const FlushSubnormals flush;
  const BackwardScratch<T> scratch(memory, head.head_dim);
  const BlockPlace place = place_block(head.len, rules, block);
  const int64_t sides = rules.sides();
  const int64_t last = place.first + place.rows - 1;
  BackwardPass<T> pass{head, rules, input, output, scratch, place, {0, 0}};
  pass.tiles[0] = block - (place.first - input.extent[place.first * sides]) / kBlock;
  if (!rules.causal) pass.tiles[1] = (last + input.extent[last * sides + 1]) / kBlock - block;

  transpose_rows(head.query + place.first * head.stride, place.rows, head.head_dim, head.stride,
                 scratch.query);
  transpose_rows(input.out_grad + place.first * head.stride, place.rows, head.head_dim, head.stride,
                 scratch.out_grad);
  for (int64_t n = 0; n < head.head_dim * kBlock; ++n) scratch.query_grad[n] = T(0);
  for (int64_t i = 0; i < kBlock; ++i) scratch.distance_sums[i] = 0.0;

  keep_own_tile(pass);
  keep_side<T, Side::kBefore>(pass);
  if (!rules.causal) keep_side<T, Side::kAfter>(pass);
  start_totals(pass);
  return_side<T, Side::kBefore>(pass);
  if (!rules.causal) return_side<T, Side::kAfter>(pass);
  return_own_tile(pass);

  for (int64_t i = 0; i < place.rows; ++i) {
    T* const query_grad = output.query_grad + (place.first + i) * head.stride;
    for (int64_t d = 0; d < head.head_dim; ++d) query_grad[d] = scratch.query_grad[d * kBlock + i];
  }
  for (int64_t i = 0; i < kBlock; ++i) *output.decay_grad -= scratch.distance_sums[i];
}

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
