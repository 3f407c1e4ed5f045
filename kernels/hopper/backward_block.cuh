// Backward attention through wgmma, compute capability 9.0a. The mathematics is that of backward_mma.cu.
//
// Two warpgroups hold 64 queries each, with dQ in registers. While one tile's sticks are broken, the tensor
// cores form dA of the same tile and dK, dV of the tile before: warpgroup 0 forms dV, 1 forms dK, from the
// weights and logit gradients that both left in shared memory (two buffers), and adds them by one bulk
// reduction in L2. The warpgroups may stand half a tile apart: each waits for the other only where it reads
// what the other wrote. The left side's last tile is finished during the right side's first.
//
// What a tile leaves in shared memory is stored before its dQ is asked for: the fence that wgmma wants after
// it then costs little. ptxas keeps wgmma asynchronous only as long as no branch around it can diverge
// (uniform(); a tile before is known when compiled): tests/kernels/check_wgmma.sh.
#pragma once

#include "kernels/hopper/backward_tile.cuh"

namespace rse::kernels {

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
  float grad_query[Tile::kPanels][32];

  __device__ int warpgroup() const { return threadIdx.x / 128; }
  __device__ uint32_t address(int element) const { return shared_address(shared + element); }

  // others: bytes that the same barrier is to wait for.
  __device__ __forceinline__ void load(int load, int tile, int others = 0) const {
    const int stage = load % Tile::kStages;
    const uint32_t barrier = barriers + 8 * stage, to = address(stage * Tile::kStage);
    constexpr int kBytes = Tile::kMatrix * 2;
    barrier_expect(barrier, 2 * kBytes + others);
    bulk_copy(to, key + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
    bulk_copy(to + kBytes, value + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier);
  }

  // The first tile, and with it the block's rows of query and grad_out; row_tile: of all prepared tiles.
  __device__ __forceinline__ void load_first(int tile, int64_t row_tile) const {
    constexpr int kBytes = 2 * Tile::kMatrix * 2;
    load(loads, tile, 2 * kBytes);
    const uint32_t barrier = barriers + 8 * (loads % Tile::kStages);
    bulk_copy(address(Tile::kQuery), static_cast<const T*>(p.query) + row_tile * Tile::kMatrix, kBytes,
              barrier);
    bulk_copy(address(Tile::kGradOut), static_cast<const T*>(p.grad_out) + row_tile * Tile::kMatrix, kBytes,
              barrier);
  }

  // x (+)= this warpgroup's 64 rows at `element` times the keys or values at `matrix`. The rows stay in
  // shared memory: the registers are worth more than the traffic.
  __device__ __forceinline__ void row_products(float (&x)[32], int element, uint32_t matrix, int offset,
                                               int add) const {
    const uint32_t from = matrix_at(address(element + warpgroup() * Tile::kMatrix));
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      const int step = k / 4 * kKeys * kPanel * 2 + k % 4 * 32;
      wgmma_shared<T, 0, 0>(x, descriptor(from, step), descriptor(matrix, offset + step), k > 0 || add);
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

  // Sums of dV or dK on their way: through shared memory, from which one thread adds them in L2. Buffer
  // `buffer` must be free before store_sums() (free_sums()), and written before add_sums().
  __device__ __forceinline__ float* sums(int buffer) const {
    return reinterpret_cast<float*>(shared + Tile::kSums) +
           (buffer % Tile::kSumBuffers * 2 + warpgroup()) * Tile::kPanelFloats;
  }
  // By one thread of the warpgroup, before a barrier of it. In slots, additions keep their order.
  template <int kPending>
  __device__ __forceinline__ void free_sums() const {
    if (threadIdx.x % 128 == 0) p.slots > 0 ? bulk_wait() : bulk_wait_read<kPending>();
  }
  __device__ __forceinline__ void store_sums(const float (&sum)[32], int buffer) const {
    store_accumulator(sums(buffer), sum);
  }
  __device__ __forceinline__ void add_sums(int tile, int panel, int buffer) const {
    if (threadIdx.x % 128 == 0)
      bulk_add(key_gradient + static_cast<int64_t>(tile) * Tile::kMatrix + panel * Tile::kPanelFloats,
               shared_address(sums(buffer)), Tile::kPanelFloats * 4);
  }
  __device__ __forceinline__ void add_key_gradient(const float (&sum)[32], int tile, int panel) const {
    free_sums<0>();
    named_sync(kOwn + warpgroup(), 128);
    store_sums(sum, 0);
    fence_shared_writes();
    named_sync(kOwn + warpgroup(), 128);
    add_sums(tile, panel, 0);
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

  // One panel: dV or dK of the tile before, if there is one, is formed while `between` runs, and left for
  // add_sums() behind the next barrier.
  template <typename Between>
  __device__ __forceinline__ void previous_tile(bool follows, int buffer, Between between) {
    float sum[32];
    if (follows) key_products(sum, buffer, 0);
    between();
    wgmma_wait<0>();
    if (!follows) return;
    pin(sum);
    store_sums(sum, buffer);
  }

  // What both warpgroups left in `buffer` may be read, and they have read the stage of that tile.
  __device__ __forceinline__ void await_other(int buffer) const {
    if constexpr (Tile::kPanels == 1) free_sums<1>();
    named_sync(kWritten + 2 * buffer + (warpgroup() ^ 1), 256);
  }
  __device__ __forceinline__ void tell_other(int buffer) const {
    named_sync(kOwn + warpgroup(), 128);
    named_arrive(kWritten + 2 * buffer + warpgroup(), 256);
  }

  // In place of tile(): the first tile of a side holds no key on that side of this warpgroup's queries. Known
  // when compiled whether a tile goes before: the right side follows the left.
  template <bool kLeft, typename Load>
  __device__ __forceinline__ void no_tile(int before, int buffer, Load load_next) {
    constexpr bool follows = !kLeft;
    if (follows) await_other(buffer ^ 1);
    load_next();
    const uint32_t zeros[4][4] = {};
    const auto store_zeros = [&] {
      store(Tile::kBuffers + 2 * buffer * Tile::kWeights, zeros);
      store(Tile::kBuffers + (2 * buffer + 1) * Tile::kWeights, zeros);
    };
    if constexpr (Tile::kPanels == 1) {
      wgmma_fence();
      previous_tile(follows, buffer ^ 1, store_zeros);
      fence_shared_writes();
      tell_other(buffer);
      if (follows) add_sums(before, 0, buffer ^ 1);
    } else {
      store_zeros();
      fence_shared_writes();
      if (follows) {
        float sum[32];
        wgmma_fence();
        key_products(sum, buffer ^ 1, 0);
        finish_key_gradient(sum, before, buffer ^ 1);
      }
      tell_other(buffer);
    }
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
    row_products(x, Tile::kQuery, stage, 0, 1);
    row_products(d_weight, Tile::kGradOut, stage, Tile::kMatrix * 2, 0);
    const bool follows = !kLeft || !kMasked || before >= 0;  // the very first tile holds the diagonal
    if (follows) await_other(buffer ^ 1);
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
      previous_tile(follows, buffer ^ 1, sticks);
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
    store(Tile::kBuffers + (2 * buffer + 1) * Tile::kWeights, packed);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel)
        wgmma_registers<T, 1>(grad_query[panel], packed[k],
                              descriptor(stage, panel * kKeys * kPanel * 2 + k * 2048));
    }
    wgmma_commit();
    fence_shared_writes();
    if (Tile::kPanels == 2 && follows) {
      previous_tile_after(before, buffer ^ 1);
    } else {
      wgmma_wait<0>();
      pin_panels(grad_query);
    }
    tell_other(buffer);  // also: buffer ^ 1 has been read
    if (Tile::kPanels == 1 && follows) add_sums(before, 0, buffer ^ 1);
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

  // Loads what goes `n`-th (both sides counted) if there is such a tile; by one thread.
  __device__ __forceinline__ void load_nth(const TileRange<true>& left, const TileRange<false>& right,
                                           int n) const {
    if (threadIdx.x != 0 || n >= left.count + right.count) return;
    load(loads + n, n < left.count ? left.at(n) : right.at(n - left.count));
  }

  // Walks one side. n: tiles walked so far; before: the last of them, whose dK and dV are still to be formed,
  // or -1. The first kStages - 1 tiles have been asked for.
  template <bool kLeft>
  __device__ __forceinline__ void walk(const TileRange<true>& left, const TileRange<false>& right,
                                       float (&stick)[2], float (&farther)[2], const float (&bound)[2],
                                       int& n, int& before) {
    const int last_row = min(at.row + kRows, at.length) - 1;
    const int end = kLeft ? left.count : left.count + right.count;
    const auto tile_at = [&](int i) { return kLeft ? left.at(i) : right.at(i - left.count); };
    const auto load_next = [&] {  // into the stage of the tile before, which nobody reads any more
      load_nth(left, right, n + Tile::kStages - 1);
    };
    const auto await_tile = [&] {
      const int load_index = loads + n;
      barrier_wait(barriers + 8 * (load_index % Tile::kStages), load_index / Tile::kStages & 1);
    };
    const int rows = at.row + uniform(warpgroup()) * kKeys, nearest = tile_at(n) * kKeys;
    if (kLeft ? nearest > rows : nearest < rows) {
      await_tile();
      no_tile<kLeft>(before, n & 1, load_next);
      before = tile_at(n);
      ++n;
    }
    for (; n < end; ++n) {
      const int number = tile_at(n), first = number * kKeys;
      await_tile();
      const bool diagonal = first == rows;  // no other tile holds keys of both sides
      const bool border = (kLeft ? last_row - first : first + kKeys - 1 - at.row) >= p.window;
      const uint32_t stage = matrix_at(address((loads + n) % Tile::kStages * Tile::kStage));
      if (before < 0 || diagonal || border || first + kKeys > at.length) {
        tile<kLeft, true>(stage, stick, farther, bound, first, before, n & 1, load_next);
      } else {
        tile<kLeft, false>(stage, stick, farther, bound, first, before, n & 1, load_next);
      }
      before = number;
    }
  }

  // After both sides: dK and dV of the last tile.
  __device__ __forceinline__ void finish_walk(int n, int before) {
    await_other((n - 1) & 1);
    loads += n;
    float sum[32];
    wgmma_fence();
    key_products(sum, (n - 1) & 1, 0);
    finish_key_gradient(sum, before, (n - 1) & 1);
    __syncthreads();
  }
};

}  // namespace rse::kernels
