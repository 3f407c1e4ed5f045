// Backward attention through wgmma, for compute capability 9.0a: what a thread block does with each tile. The
// mathematics is that of portable/backward.cu.
//
// Two warpgroups hold 64 queries each, with dQ in registers. While one tile's sticks are broken, the tensor
// cores form the gradients of weights of the same tile, and dK and dV of the previous tile: warpgroup 0 forms
// dV and warpgroup 1 forms dK, from the weights and logit gradients that both left in shared memory (two
// buffers), and adds them by one bulk reduction in L2. The warpgroups may stand half a tile apart: each waits
// for the other only where it reads what the other wrote. The left side's last tile is finished during the
// right side's first.
//
// What a tile leaves in shared memory is stored before its dQ is asked for: the fence that wgmma wants after
// it then costs little. ptxas keeps wgmma asynchronous only as long as no branch around it can diverge
// (uniform(); whether there is a previous tile is known at compile time): tests/kernels/check_wgmma.sh.
//
// Order of calls, by every thread but for the loads: load_first() and load_nth() by one thread, a barrier,
// walk<true>(), walk<false>() unless causal, finish_walk().
#pragma once

#include "kernels/hopper/tile.cuh"
#include "kernels/stick.cuh"

namespace rse::kernels::hopper {

// The offset of 16 bytes, eight neighbouring columns, in rows of 64 columns, as the 128-byte swizzle has
// them.
__device__ inline int weight_chunk(int row, int chunk) { return row * kKeys + (chunk ^ (row & 7)) * 8; }

// Named barriers: one of each warpgroup alone; and one for what each warpgroup wrote to each buffer.
constexpr int kWarpgroupBarrier = 1, kWritten = 3;

template <typename Element, int D>
struct BackwardBlock {
  using Tile = BackwardTile<D>;
  const BackwardArguments& arguments;
  Element* shared;             // shared memory
  uint32_t barriers;           // likewise: of each stage
  const Element *key, *value;  // of the document's first tile
  float* key_gradient;         // likewise: dV for warpgroup 0, dK for warpgroup 1
  RowBlock at;
  int warp_row;  // the warp's first row in the document
  float decay;
  float grad_scale;  // of logit gradients: logit_grad_scale() over kWeightScale
  int loads;         // number of tiles that this thread block had asked for before this row block
  float grad_decay = 0;
  float grad_query[Tile::kPanels][32] = {};

  __device__ int warpgroup() const { return threadIdx.x / kWarpgroup; }
  __device__ Limits limits() const { return {decay, arguments.window, at.length}; }
  __device__ uint32_t address(int element) const { return shared_address(shared + element); }

  // Asks for a tile of keys and values. extra_bytes: what the same barrier is to wait for beside it.
  __device__ __forceinline__ void load(int load, int tile, int extra_bytes = 0) const {
    const int stage = load % Tile::kStages;
    const uint32_t barrier = barriers + 8 * stage, to = address(stage * Tile::kStage);
    constexpr int kBytes = Tile::kMatrix * 2;
    barrier_expect(barrier, 2 * kBytes + extra_bytes);
    bulk_copy(to, key + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
    bulk_copy(to + kBytes, value + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
  }

  // Asks for the first tile, and with it for the block's rows of query and grad_out. row_tile: their tile's
  // number among all prepared tiles.
  __device__ __forceinline__ void load_first(int tile, int64_t row_tile) const {
    constexpr int kBytes = 2 * Tile::kMatrix * 2;
    load(loads, tile, 2 * kBytes);
    const uint32_t barrier = barriers + 8 * (loads % Tile::kStages);
    bulk_copy(address(Tile::kQuery),
              static_cast<const Element*>(arguments.prepared.query) + row_tile * Tile::kMatrix, kBytes,
              barrier);
    bulk_copy(address(Tile::kGradOut),
              static_cast<const Element*>(arguments.sums.grad_out) + row_tile * Tile::kMatrix, kBytes,
              barrier);
  }

  // x (+)= this warpgroup's 64 rows at `element` times the keys or values at `matrix`, `offset` bytes
  // further. The rows stay in shared memory, because the registers are worth more than the traffic.
  __device__ __forceinline__ void row_products(float (&x)[32], int element, uint32_t matrix, int offset,
                                               int add) const {
    const uint32_t from = matrix_at(address(element + warpgroup() * Tile::kMatrix));
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      const int step = k / 4 * kPanelElements * 2 + k % 4 * 32;
      wgmma_shared<Element, 0, 0>(x, descriptor(from, step), descriptor(matrix, offset + step), k > 0 || add);
    }
    wgmma_commit();
  }

  // Starts to form dV or dK of the tile whose weights lie in `buffer`, one panel of columns.
  __device__ __forceinline__ void key_products(float (&sum)[32], int buffer, int panel) const {
    const uint32_t lhs =
        matrix_at(address(Tile::kBuffers + (2 * buffer + warpgroup()) * Tile::kWeightMatrix));
    const uint32_t rhs =
        matrix_at(address(warpgroup() == 0 ? Tile::kGradOut : Tile::kQuery) + panel * kPanelElements * 2);
#pragma unroll
    for (int k = 0; k < kRows / 16; ++k) {
      const int rows = k / 4 * Tile::kMatrix * 2 + k % 4 * 2048;
      wgmma_shared<Element, 1, 1>(sum, descriptor(lhs, k * 2048), descriptor(rhs, rows), k > 0);
    }
    wgmma_commit();
  }

  // Sums of dV or dK go through shared memory, from which one thread adds them in L2. Order of calls:
  // free_sums(), a barrier of the warpgroup, store_sums(), fence_shared_writes(), a barrier, add_sums().
  __device__ __forceinline__ float* sums(int buffer) const {
    return reinterpret_cast<float*>(shared + Tile::kSums) +
           (buffer % Tile::kSumBuffers * 2 + warpgroup()) * kPanelElements;
  }
  // One thread waits until a buffer of sums is free; in slots until all additions are made, so that they keep
  // their order.
  template <int kPending>
  __device__ __forceinline__ void free_sums() const {
    if (threadIdx.x % kWarpgroup == 0) arguments.ordered_slots > 0 ? bulk_wait() : bulk_wait_read<kPending>();
  }
  __device__ __forceinline__ void store_sums(const float (&sum)[32], int buffer) const {
    store_accumulator(sums(buffer), sum);
  }
  __device__ __forceinline__ void add_sums(int tile, int panel, int buffer) const {
    if (threadIdx.x % kWarpgroup == 0)
      bulk_add(key_gradient + static_cast<int64_t>(tile) * Tile::kMatrix + panel * kPanelElements,
               shared_address(sums(buffer)), kPanelElements * 4);
  }
  __device__ __forceinline__ void add_key_gradient(const float (&sum)[32], int tile, int panel) const {
    free_sums<0>();
    named_sync(kWarpgroupBarrier + warpgroup(), kWarpgroup);
    store_sums(sum, 0);
    fence_shared_writes();
    named_sync(kWarpgroupBarrier + warpgroup(), kWarpgroup);
    add_sums(tile, panel, 0);
  }

  // Stores weights or logit gradients at `element`.
  __device__ __forceinline__ void store(int element, const uint32_t (&packed)[4][4]) const {
    const int row = threadIdx.x / 32 * kWarpRows + quad_of_warp();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<uint4*>(shared + element + weight_chunk(row + 8 * h, 2 * quad_lane() + i)) =
            make_uint4(packed[2 * i][h], packed[2 * i][2 + h], packed[2 * i + 1][h],
                       packed[2 * i + 1][2 + h]);
      }
    }
  }

  // With one panel: forms dV or dK of the previous tile, if there is one, while `between` runs, and leaves it
  // for add_sums() behind the next barrier.
  template <typename Between>
  __device__ __forceinline__ void form_previous(bool has_previous, int buffer, Between between) {
    float sum[32];
    if (has_previous) key_products(sum, buffer, 0);
    between();
    wgmma_wait<0>();
    if (!has_previous) return;
    pin(sum);
    store_sums(sum, buffer);
  }

  // After it, what both warpgroups left in `buffer` may be read, and both have read the stage of that tile.
  __device__ __forceinline__ void await_other(int buffer) const {
    if constexpr (Tile::kPanels == 1) free_sums<1>();
    named_sync(kWritten + 2 * buffer + (warpgroup() ^ 1), kThreads);
  }
  __device__ __forceinline__ void tell_other(int buffer) const {
    named_sync(kWarpgroupBarrier + warpgroup(), kWarpgroup);
    named_arrive(kWritten + 2 * buffer + warpgroup(), kThreads);
  }

  // In place of tile() where the first tile of a side holds no key on that side of this warpgroup's queries.
  // Whether there is a previous tile is known at compile time: the right side comes after the left.
  template <bool kLeft, typename Load>
  __device__ __forceinline__ void no_tile(int previous_tile, int buffer, Load load_next) {
    constexpr bool has_previous = !kLeft;
    if (has_previous) await_other(buffer ^ 1);
    load_next();
    const uint32_t zeros[4][4] = {};
    const auto store_zeros = [&] {
      store(Tile::kBuffers + 2 * buffer * Tile::kWeightMatrix, zeros);
      store(Tile::kBuffers + (2 * buffer + 1) * Tile::kWeightMatrix, zeros);
    };
    if constexpr (Tile::kPanels == 1) {
      wgmma_fence();
      form_previous(has_previous, buffer ^ 1, store_zeros);
      fence_shared_writes();
      tell_other(buffer);
      if (has_previous) add_sums(previous_tile, 0, buffer ^ 1);
    } else {
      store_zeros();
      fence_shared_writes();
      if (has_previous) {
        float sum[32];
        wgmma_fence();
        key_products(sum, buffer ^ 1, 0);
        finish_key_gradient(sum, previous_tile, buffer ^ 1);
      }
      tell_other(buffer);
    }
  }

  // Puts the lower (weight) or upper (logit gradient) half of each row's pair where its self key is.
  template <bool kUpper>
  __device__ __forceinline__ void insert_self_keys(const RowPlace (&place)[2],
                                                   uint32_t (&packed)[4][4]) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int self_column = place[h].row - place[h].key;
      const auto* pairs = reinterpret_cast<const uint32_t*>(shared + Tile::kSelfKeys);
      const uint32_t both = pairs[place[h].row - at.row], half = kUpper ? both >> 16 : both & 0xffffu;
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        uint32_t& pair = packed[n / 4][2 * (n / 2 % 2) + h];
        const uint32_t with_self = n % 2 == 0 ? (pair & 0xffff0000u) | half : (pair & 0xffffu) | half << 16;
        pair = n == self_column ? with_self : pair;
      }
    }
  }

  // Stores the weights of a tile; kWithSelf: with those of the self keys, which belong to neither side.
  template <bool kWithSelf>
  __device__ __forceinline__ void store_weights(const RowPlace (&place)[2], const uint32_t (&packed)[4][4],
                                                int buffer) const {
    if constexpr (kWithSelf) {
      uint32_t with_self[4][4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) with_self[k][i] = packed[k][i];
      }
      insert_self_keys<false>(place, with_self);
      store(Tile::kBuffers + 2 * buffer * Tile::kWeightMatrix, with_self);
    } else {
      store(Tile::kBuffers + 2 * buffer * Tile::kWeightMatrix, packed);
    }
  }

  // bound: the most that a sum over farther keys may be for a stick of 1. previous_tile: its number, or -1.
  template <bool kLeft, bool kMasked, typename Load>
  __device__ __forceinline__ void tile(uint32_t stage, float (&stick)[2], float (&farther)[2],
                                       const float (&bound)[2], int first_key, int previous_tile, int buffer,
                                       Load load_next) {
    const int row = warp_row + quad_of_warp(), key = first_key + 16 * quad_lane();
    const RowPlace place[2] = {{row, key}, {row + 8, key}};
    float x[32], grad[32], beta[32], run_front[2][4], front[2];  // grad: of the weights, then of the logits
    bool uses_up = false;
    uint32_t packed[4][4];
#pragma unroll
    for (int h = 0; h < 2; ++h) start_logits<kLeft, kMasked>(AccumulatorRow{h}, x, place[h], limits());
    wgmma_fence();
    row_products(x, Tile::kQuery, stage, 0, 1);
    row_products(grad, Tile::kGradOut, stage, Tile::kMatrix * 2, 0);
    // The very first tile holds the diagonal, so it is masked and on the left.
    const bool has_previous = !kLeft || !kMasked || previous_tile >= 0;
    if (has_previous) await_other(buffer ^ 1);
    load_next();
    const auto sticks = [&] {
      Tile::kPanels == 1 && has_previous ? wgmma_wait<2>() : wgmma_wait<1>();
      pin(x);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float remaining = break_stick<kLeft, true, true, Reciprocal::kApproximate>(AccumulatorRow{h}, x,
                                                                                         run_front[h], beta);
        front[h] = stick_in_front<kLeft, QuadLanes>(remaining, stick[h]);
        uses_up = uses_up || may_use_up(front[h], remaining);
      }
      pack_weights<Element, kLeft>(x, run_front, front, packed);
      store_weights<kLeft && kMasked>(place, packed, buffer);
      Tile::kPanels == 1 && has_previous ? wgmma_wait<1>() : wgmma_wait<0>();
      pin(grad);
    };
    if constexpr (Tile::kPanels == 1) {
      form_previous(has_previous, buffer ^ 1, sticks);
    } else {
      sticks();
    }
    if (uses_up) snap_to_one(beta);
#pragma unroll
    for (int h = 0; h < 2; ++h)
      row_gradients<Element, kLeft>(h, grad, packed, beta, farther[h],
                                    most_farther<Element>(stick[h], bound[h]), place[h], grad_decay);
    pack_logit_gradients<Element>(grad, grad_scale, packed);
    if constexpr (kLeft && kMasked) insert_self_keys<true>(place, packed);
    store(Tile::kBuffers + (2 * buffer + 1) * Tile::kWeightMatrix, packed);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel)
        wgmma_registers<Element, 1>(grad_query[panel], packed[k],
                                    descriptor(stage, panel * kPanelElements * 2 + k * 2048));
    }
    wgmma_commit();
    fence_shared_writes();
    if (Tile::kPanels == 2 && has_previous) {
      form_previous_after(previous_tile, buffer ^ 1);
    } else {
      wgmma_wait<0>();
      pin_panels(grad_query);
    }
    tell_other(buffer);  // which also says that buffer ^ 1 has been read
    if (Tile::kPanels == 1 && has_previous) add_sums(previous_tile, 0, buffer ^ 1);
  }

  // With two panels: forms dV or dK of the previous tile behind this tile's dQ.
  __device__ __forceinline__ void form_previous_after(int previous_tile, int buffer) {
    float sum[32];
    wgmma_fence();
    key_products(sum, buffer, 0);
    wgmma_wait<1>();
    pin_panels(grad_query);
    finish_key_gradient(sum, previous_tile, buffer);
  }

  __device__ __forceinline__ static void pin_panels(float (&x)[Tile::kPanels][32]) {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) pin(x[panel]);
  }

  // Adds the first panel, which is being formed; forms and adds the second.
  __device__ __forceinline__ void finish_key_gradient(float (&sum)[32], int tile, int buffer) const {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      if (panel > 0) {
        wgmma_fence();
        key_products(sum, buffer, panel);
      }
      wgmma_wait<0>();
      pin(sum);
      add_key_gradient(sum, tile, panel);
    }
  }

  // Asks for the n-th tile, both sides counted, if there is one. One thread does it.
  __device__ __forceinline__ void load_nth(const TileRange<true>& left, const TileRange<false>& right,
                                           int n) const {
    if (threadIdx.x != 0 || n >= left.count + right.count) return;
    load(loads + n, n < left.count ? left.at(n) : right.at(n - left.count));
  }

  // Walks one side. n: the number of tiles walked so far. previous_tile: the last of them, whose dK and dV
  // are still to be formed, or -1. The first kStages - 1 tiles must have been asked for.
  template <bool kLeft>
  __device__ __forceinline__ void walk(const TileRange<true>& left, const TileRange<false>& right,
                                       float (&stick)[2], float (&farther)[2], const float (&bound)[2],
                                       int& n, int& previous_tile) {
    const int last_row = min(at.row + kRows, at.length) - 1;
    const int end = kLeft ? left.count : left.count + right.count;
    const auto tile_at = [&](int i) { return kLeft ? left.at(i) : right.at(i - left.count); };
    const auto load_next = [&] {  // into the stage of the previous tile, which nobody reads any more
      load_nth(left, right, n + Tile::kStages - 1);
    };
    const auto await_tile = [&] {
      const int load_index = loads + n;
      barrier_wait(barriers + 8 * (load_index % Tile::kStages), load_index / Tile::kStages & 1);
    };
    const int rows = at.row + uniform(warpgroup()) * kKeys, nearest = tile_at(n) * kKeys;
    if (kLeft ? nearest > rows : nearest < rows) {
      await_tile();
      no_tile<kLeft>(previous_tile, n & 1, load_next);
      previous_tile = tile_at(n);
      ++n;
    }
    for (; n < end; ++n) {
      const int number = tile_at(n), first_key = number * kKeys;
      await_tile();
      const bool diagonal = first_key == rows;  // no other tile holds keys of both sides
      const bool border = crosses_window<kLeft>(first_key, at.row, last_row, arguments.window);
      const uint32_t stage = matrix_at(address((loads + n) % Tile::kStages * Tile::kStage));
      if (previous_tile < 0 || diagonal || border || first_key + kKeys > at.length) {
        tile<kLeft, true>(stage, stick, farther, bound, first_key, previous_tile, n & 1, load_next);
      } else {
        tile<kLeft, false>(stage, stick, farther, bound, first_key, previous_tile, n & 1, load_next);
      }
      previous_tile = number;
    }
  }

  // After both sides: forms dK and dV of the last tile.
  __device__ __forceinline__ void finish_walk(int n, int previous_tile) {
    await_other((n - 1) & 1);
    loads += n;
    float sum[32];
    wgmma_fence();
    key_products(sum, (n - 1) & 1, 0);
    finish_key_gradient(sum, previous_tile, (n - 1) & 1);
    __syncthreads();
  }
};

}  // namespace rse::kernels::hopper
