// Backward attention through wgmma, compute capability 9.0a. The mathematics is that of backward_mma.cu.
//
// Two warpgroups hold 64 queries each, with dQ in registers. While one tile's sticks are broken, the tensor
// cores form dA of the same tile and dK, dV of the tile before: warpgroup 0 forms dV, 1 forms dK, from the
// weights and logit gradients that both left in shared memory (two buffers), and adds them by one bulk
// reduction in L2. The warpgroups may stand half a tile apart: each waits for the other only where it reads
// what the other wrote.
#pragma once

#include "kernels/hopper_tile.cuh"

namespace rse::kernels {

struct BackwardHopperArguments {
  const void *query, *key, *value, *grad_out;
  const float *self_logit, *decay;
  const uint32_t* value_norm;
  const float4* row_state;
  Plan plan;
  const int* extent;
  const uint32_t* own;     // rows: own key's weight and dx, a pair of T
  float* grad_query;       // null: `query_out` is written
  void* query_out;         // [batch, seq, heads, D]
  const float *cos, *sin;  // null: no rotation
  float *grad_key, *grad_value, *grad_decay;
  int64_t seq, blocks, slot_stride;
  int heads, window, slots;  // slots: 0 where blocks come in any order
  float scale;
  bool causal, self_key, shared;
};

template <int D>
struct BackwardHopperTile {
  static constexpr int kStages = D == 64 ? 3 : 2;
  static constexpr int kMatrix = kKeys * D;  // key; value; 64 rows of query, of grad_out
  static constexpr int kStage = 2 * kMatrix;
  static constexpr int kPanels = D / kPanel;
  static constexpr int kWeights = kRows * kKeys;  // weights; logit gradients
  static constexpr int kQuery = kStages * kStage, kGradOut = kQuery + 2 * kMatrix,
                       kBuffers = kGradOut + 2 * kMatrix;
  static constexpr int kSums = kBuffers + 4 * kWeights;            // two panels of floats
  static constexpr int kOwnKeys = kSums + 2 * 2 * kKeys * kPanel;  // kRows pairs
  static constexpr int kBarriers = kOwnKeys + 2 * kRows;
  static constexpr int kShared = kBarriers * 2 + 64;
};

// Eight neighbouring columns of 64-column rows, 16 bytes, as wgmma's 128-byte swizzle has them.
__device__ inline int weight_chunk(int row, int chunk) { return row * kKeys + (chunk ^ (row & 7)) * 8; }

// Named barriers: of each warpgroup alone; and, for each buffer and warpgroup, what it wrote.
constexpr int kOwn = 1, kWritten = 3;

template <typename T, int D>
struct BackwardHopperBlock {
  using Tile = BackwardHopperTile<D>;
  const BackwardHopperArguments& p;
  T* shared;
  uint32_t barriers;
  const T *key, *value;  // of the document's first tile
  float* key_gradient;   // likewise: warpgroup 0 dV, 1 dK
  RowBlock at;
  int row0;  // of the warp, in the document
  float decay, grad_decay;
  int loads;
  uint32_t query[D == 64 ? 4 : 1][4], grad_out[D == 64 ? 4 : 1][4];  // D = 64: kept in registers
  float grad_query[Tile::kPanels][32];

  __device__ int warpgroup() const { return threadIdx.x / 128; }
  __device__ uint32_t address(int element) const { return shared_address(shared + element); }

  __device__ __forceinline__ void load(int load, int tile) {
    const int stage = load % Tile::kStages;
    const uint32_t barrier = barriers + 8 * stage, to = address(stage * Tile::kStage);
    constexpr int kBytes = Tile::kMatrix * 2;
    barrier_expect(barrier, 2 * kBytes);
    bulk_copy(to, key + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
    bulk_copy(to + kBytes, value + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
  }

  // x (+)= this warpgroup's 64 rows (of `rows`, in registers or at `element`) times the keys at `matrix`.
  __device__ __forceinline__ void row_products(float (&x)[32], const uint32_t (&rows)[D == 64 ? 4 : 1][4],
                                               int element, uint32_t matrix, int offset, int add) const {
    const uint32_t from = D == 64 ? 0 : matrix_at(address(element + warpgroup() * Tile::kMatrix));
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      const int step = k / 4 * kKeys * kPanel * 2 + k % 4 * 32;
      if constexpr (D == 64) {
        wgmma_registers<T, 0>(x, rows[k], descriptor(matrix, offset + step), k > 0 || add);
      } else {
        wgmma_shared<T, 0, 0>(x, descriptor(from, step), descriptor(matrix, offset + step), k > 0 || add);
      }
    }
    wgmma_commit();
  }

  // dV or dK of the tile whose weights lie in `buffer`, one panel of columns.
  __device__ __forceinline__ void key_products(float (&sum)[32], int buffer, int panel) const {
    const uint32_t left = matrix_at(address(Tile::kBuffers + (2 * buffer + warpgroup()) * Tile::kWeights));
    const uint32_t right =
        matrix_at(address(warpgroup() == 0 ? Tile::kGradOut : Tile::kQuery) + panel * kKeys * kPanel * 2);
#pragma unroll
    for (int k = 0; k < kRows / 16; ++k) {
      const int rows = k / 4 * Tile::kMatrix * 2 + k % 4 * 2048;
      wgmma_shared<T, 1, 1>(sum, descriptor(left, k * 2048), descriptor(right, rows), k > 0);
    }
    wgmma_commit();
  }

  __device__ __forceinline__ void add_key_gradient(const float (&sum)[32], int tile, int panel) const {
    float* sums = reinterpret_cast<float*>(shared + Tile::kSums) + warpgroup() * kKeys * kPanel;
    const int thread = threadIdx.x % 128;
    if (thread == 0) p.slots > 0 ? bulk_wait() : bulk_wait_read();  // in slots, additions keep their order
    named_sync(kOwn + warpgroup(), 128);
#pragma unroll
    for (int d = 0; d < 8; ++d)
      *reinterpret_cast<float4*>(sums + (d * 128 + thread) * 4) =
          make_float4(sum[4 * d], sum[4 * d + 1], sum[4 * d + 2], sum[4 * d + 3]);
    fence_shared_writes();
    named_sync(kOwn + warpgroup(), 128);
    if (thread == 0)
      bulk_add(key_gradient + static_cast<int64_t>(tile) * Tile::kMatrix + panel * kKeys * kPanel,
               shared_address(sums), kKeys * kPanel * 4);
  }

  __device__ __forceinline__ void store(int element, const uint32_t (&packed)[4][4]) const {
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, t = lane % 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<uint4*>(shared + element + weight_chunk(row + 8 * h, 2 * t + i)) = make_uint4(
            packed[2 * i][h], packed[2 * i][2 + h], packed[2 * i + 1][h], packed[2 * i + 1][2 + h]);
      }
    }
  }

  // One panel: dV or dK of the tile before, if there is one, is formed while `between` runs.
  template <typename Between>
  __device__ __forceinline__ void previous_tile(bool follows, int before, int buffer, Between between) {
    float sum[32];
    if (follows) key_products(sum, buffer, 0);
    between();
    wgmma_wait<0>();
    if (!follows) return;
    pin(sum);
    add_key_gradient(sum, before, 0);
  }

  // What both warpgroups left in `buffer` may be read, and they have read the stage of that tile.
  __device__ __forceinline__ void wait_for_other(int buffer) const {
    named_sync(kWritten + 2 * buffer + (warpgroup() ^ 1), 256);
  }
  __device__ __forceinline__ void tell_other(int buffer) const {
    named_sync(kOwn + warpgroup(), 128);
    named_arrive(kWritten + 2 * buffer + warpgroup(), 256);
  }

  // In place of tile(): the first tile of a side holds no key on that side of this warpgroup's queries.
  __device__ __forceinline__ void no_tile() {
    const uint32_t zeros[4][4] = {};
    store(Tile::kBuffers, zeros);
    store(Tile::kBuffers + Tile::kWeights, zeros);
    fence_shared_writes();
    tell_other(0);
  }

  // Puts the lower or upper half of the rows' `own` where their own keys are.
  template <bool kUpper>
  __device__ __forceinline__ void put_own(const RowPlace (&place)[2], uint32_t (&packed)[4][4]) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int at_own = place[h].row - place[h].key;
      const uint32_t both = reinterpret_cast<const uint32_t*>(shared + Tile::kOwnKeys)[place[h].row - at.row],
                     half = kUpper ? both >> 16 : both & 0xffffu;
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        uint32_t& pair = packed[n / 4][2 * (n / 2 % 2) + h];
        const uint32_t with_own = n % 2 == 0 ? (pair & 0xffff0000u) | half : (pair & 0xffffu) | half << 16;
        pair = n == at_own ? with_own : pair;
      }
    }
  }

  // The weights of a tile, with the own key's (which is none of a side's).
  template <bool kWithOwn>
  __device__ __forceinline__ void store_weights(const RowPlace (&place)[2], const uint32_t (&packed)[4][4],
                                                int buffer) const {
    if constexpr (kWithOwn) {
      uint32_t with_own[4][4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) with_own[k][i] = packed[k][i];
      }
      put_own<false>(place, with_own);
      store(Tile::kBuffers + 2 * buffer * Tile::kWeights, with_own);
    } else {
      store(Tile::kBuffers + 2 * buffer * Tile::kWeights, packed);
    }
  }

  // bound: the most that T may be for a stick of 1. before: the tile before, or -1.
  template <bool kLeft, bool kMasked, typename Load>
  __device__ __forceinline__ void tile(uint32_t stage, float (&stick)[2], float (&farther)[2],
                                       const float (&bound)[2], int first, int before, int buffer,
                                       Load load_next) {
    const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
    const RowPlace place[2] = {{row0 + group, first + 16 * t}, {row0 + group + 8, first + 16 * t}};
    float x[32], d_weight[32], beta[32], front[2][4], stick_here[2];
    uint32_t packed[4][4];
    start_logits<kLeft, kMasked>(x, place, decay, p.window, at.length);
    wgmma_fence();
    row_products(x, query, Tile::kQuery, stage, 0, 1);
    row_products(d_weight, grad_out, Tile::kGradOut, stage, Tile::kMatrix * 2, 0);
    const bool follows = !kMasked || before >= 0;  // the first tile of a side holds the diagonal
    if (follows) wait_for_other(buffer ^ 1);
    load_next();
    const auto sticks = [&] {
      Tile::kPanels == 1 && follows ? wgmma_wait<2>() : wgmma_wait<1>();
      pin(x);
#pragma unroll
      for (int h = 0; h < 2; ++h)
        stick_here[h] = stick_before<kLeft>(break_row<kLeft, true, true>(x, h, front[h], beta), stick[h]);
      pack_rows<T, kLeft>(x, front, stick_here, packed);
      store_weights<kLeft && kMasked>(place, packed, buffer);
      Tile::kPanels == 1 && follows ? wgmma_wait<1>() : wgmma_wait<0>();
      pin(d_weight);
    };
    if constexpr (Tile::kPanels == 1) {
      previous_tile(follows, before, buffer ^ 1, sticks);
    } else {
      sticks();
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      logit_gradients<kLeft>(d_weight, packed, beta, h, farther[h], stick_here[h] * bound[h], place[h]);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        packed[k][i] = pack_finite<T>(d_weight[at_key(i % 2, 4 * k + i / 2 * 2)],
                                      d_weight[at_key(i % 2, 4 * k + i / 2 * 2 + 1)]);
    }
    if constexpr (kLeft && kMasked) put_own<true>(place, packed);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel)
        wgmma_registers<T, 1>(grad_query[panel], packed[k],
                              descriptor(stage, panel * kKeys * kPanel * 2 + k * 2048));
    }
    wgmma_commit();
    store(Tile::kBuffers + (2 * buffer + 1) * Tile::kWeights, packed);
    fence_shared_writes();
    if (Tile::kPanels == 2 && follows) {
      previous_tile_after(before, buffer ^ 1);
    } else {
      wgmma_wait<0>();
      pin_panels(grad_query);
    }
    tell_other(buffer);  // also: buffer ^ 1 has been read
  }

  // Two panels: dV or dK of the tile before, formed behind this tile's dQ.
  __device__ __forceinline__ void previous_tile_after(int before, int buffer) {
    float sum[32];
    wgmma_fence();
    key_products(sum, buffer, 0);
    wgmma_wait<1>();
    pin_panels(grad_query);
    finish_key_gradient(sum, before, buffer);
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

  // d_weight (dA) of row h becomes dx.
  template <bool kLeft>
  __device__ __forceinline__ void logit_gradients(float (&d_weight)[32], const uint32_t (&packed)[4][4],
                                                  const float (&beta)[32], int h, float& farther, float limit,
                                                  const RowPlace& place) {
    float moment = 0, total = 0;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < 16; n += 2) {
      const float2 a = unpack<T>(packed[n / 4][2 * ((n / 2) % 2) + h]);
      d_weight[at_key(h, n)] *= a.x;
      d_weight[at_key(h, n + 1)] *= a.y;
      sum += d_weight[at_key(h, n)] + d_weight[at_key(h, n + 1)];
    }
    float remaining = fminf(fmaxf(farther_here<kLeft>(sum, farther), -limit), limit);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int n = kLeft ? 15 - i : i;
      const float t = d_weight[at_key(h, n)], dx = fmaf(-beta[at_key(h, n)], remaining, t);
      remaining -= t;
      d_weight[at_key(h, n)] = dx;
      total += dx;
      moment = fmaf(static_cast<float>(kLeft ? -n : n), dx, moment);
    }
    grad_decay -= fmaf(place.template nearest<kLeft>(), total, moment);
  }

  // T of this lane's nearest key, given T of the tile's nearest and the lane's sum of t; `farther` becomes T
  // beyond the tile.
  template <bool kLeft>
  __device__ __forceinline__ static float farther_here(float sum, float& farther) {
    const int t = threadIdx.x % 4;
    const float other = __shfl_xor_sync(~0u, sum, 1), pair = sum + other,
                others = __shfl_xor_sync(~0u, pair, 2);
    float here = farther;
    if ((t >> 1) == (kLeft ? 0 : 1)) here -= others;
    if ((t & 1) == (kLeft ? 0 : 1)) here -= other;
    farther -= pair + others;
    return here;
  }

  template <bool kLeft>
  __device__ __forceinline__ void load_first(const TileRange<kLeft>& tiles, int from) {
    if (threadIdx.x != 0) return;
    for (int i = from; i < min(tiles.count, Tile::kStages - 1); ++i) load(loads + i, tiles.at(i));
  }

  // load_first() goes before; load_more() is called when every stage is free again.
  template <bool kLeft, typename LoadMore>
  __device__ __forceinline__ void walk(const TileRange<kLeft>& tiles, float (&stick)[2], float (&farther)[2],
                                       const float (&bound)[2], LoadMore load_more) {
    const int last_row = min(at.row + kRows, at.length) - 1;
    int i = 0;
    const int rows = at.row + __shfl_sync(~0u, warpgroup(), 0) * kKeys, nearest = tiles.at(0) * kKeys;
    if (kLeft ? nearest > rows : nearest < rows) {
      barrier_wait(barriers + 8 * (loads % Tile::kStages), loads / Tile::kStages & 1);
      no_tile();
      if (threadIdx.x == 0 && Tile::kStages - 1 < tiles.count)
        load(loads + Tile::kStages - 1, tiles.at(Tile::kStages - 1));
      i = 1;
    }
    for (; i < tiles.count; ++i) {
      const int load_index = loads + i, first = tiles.at(i) * kKeys;
      barrier_wait(barriers + 8 * (load_index % Tile::kStages), load_index / Tile::kStages & 1);
      const bool diagonal = first == rows;  // no other tile holds keys of both sides
      const bool border = (kLeft ? last_row - first : first + kKeys - 1 - at.row) >= p.window;
      const uint32_t stage = matrix_at(address(load_index % Tile::kStages * Tile::kStage));
      const int before = i > 0 ? tiles.at(i - 1) : -1, next = i + Tile::kStages - 1;
      const auto load_next = [&] {  // into the stage of tile i - 1, which nobody reads any more
        if (threadIdx.x == 0 && next < tiles.count) load(loads + next, tiles.at(next));
      };
      if (i == 0 || diagonal || border || first + kKeys > at.length) {
        tile<kLeft, true>(stage, stick, farther, bound, first, before, i & 1, load_next);
      } else {
        tile<kLeft, false>(stage, stick, farther, bound, first, before, i & 1, load_next);
      }
    }
    const int last = tiles.count - 1;
    wait_for_other(last & 1);
    loads += tiles.count;
    load_more();
    float sum[32];
    wgmma_fence();
    key_products(sum, last & 1, 0);
    finish_key_gradient(sum, tiles.at(last), last & 1);
    __syncthreads();
  }
};

}  // namespace rse::kernels
