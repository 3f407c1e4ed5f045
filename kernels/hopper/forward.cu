// Forward attention through wgmma, for compute capability 9.0a.
//
// Two warpgroups hold 64 queries each and share the tiles of 64 keys, which one thread brings by bulk copies,
// kStages deep. A tile's product with the values runs on into the next tile. Head sizes up to 64 leave room
// for two thread blocks per multiprocessor: while one waits for products, the other breaks sticks.
#include "kernels/forward_rows.cuh"
#include "kernels/hopper/tile.cuh"
#include "kernels/passes.h"
#include "kernels/stick.cuh"

namespace rse::kernels {
namespace hopper {

// Whether a logit may exceed kMostLogit, by the largest norms (as bits) of queries and keys; also where they
// are NaN.
__device__ inline bool may_exceed(uint32_t query_norm, uint32_t key_norm) {
  return !(__uint_as_float(query_norm) * __uint_as_float(key_norm) <= kMostLogit);
}

namespace {

template <typename Element, int D>
struct Block {
  using Tile = ForwardTile<D>;
  const ForwardArguments& arguments;
  Element* stages;             // shared memory
  uint32_t barriers;           // likewise: of each stage
  const Element *key, *value;  // of the document's first tile
  RowBlock at;
  int first_row, reach;  // the thread's first row; the number of keys that any row may need on a side
  float decay;
  bool may_clamp;  // logits may exceed kMostLogit
  int loads = 0;   // number of tiles that this thread block has asked for
  float out[Tile::kPanels][32] = {};

  __device__ Limits limits() const { return {decay, arguments.window, at.length}; }
  __device__ uint32_t barrier(int load) const { return barriers + 8 * (load % Tile::kStages); }
  __device__ void await(int load) const { barrier_wait(barrier(load), load / Tile::kStages & 1); }

  // Asks for a tile of keys and values. extra_bytes: what the same barrier is to wait for beside it.
  __device__ void load(int load, int tile, int extra_bytes = 0) {
    const uint32_t to = shared_address(stages + load % Tile::kStages * Tile::kStage);
    constexpr int kBytes = Tile::kMatrix * 2;
    barrier_expect(barrier(load), 2 * kBytes + extra_bytes);
    bulk_copy(to, key + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier(load));
    bulk_copy(to + kBytes, value + static_cast<int64_t>(tile) * Tile::kMatrix, kBytes, barrier(load));
  }

  // Asks for the first step, and with its first tile for the block's rows of query. row_tile: their tile's
  // number among all prepared tiles.
  __device__ void load_first(const TileRange<true>& tiles, int64_t row_tile) {
    constexpr int kBytes = 2 * Tile::kMatrix * 2;
    load(0, tiles.at(0), kBytes);
    bulk_copy(shared_address(stages + Tile::kQuery),
              static_cast<const Element*>(arguments.prepared.query) + row_tile * Tile::kMatrix, kBytes,
              barriers);
    for (int i = 1; i < min(tiles.count, Tile::kStep); ++i) load(i, tiles.at(i));
  }

  // Leaves the product with the values under way.
  template <bool kLeft, bool kMasked, bool kClamp>
  __device__ void tile(uint32_t stage, float (&stick)[2], int first_key) {
    float x[32], run_front[2][4], front[2], no_beta[32];
#pragma unroll
    for (int h = 0; h < 2; ++h)
      start_logits<kLeft, kMasked>(AccumulatorRow{h}, x, {first_row + 8 * h, first_key + 16 * quad_lane()},
                                   limits());
    const uint32_t query =
        matrix_at(shared_address(stages + Tile::kQuery + threadIdx.x / kWarpgroup * Tile::kMatrix));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      const int step = k / 4 * kPanelElements * 2 + k % 4 * 32;
      wgmma_shared<Element, 0, 0>(x, descriptor(query, step), descriptor(stage, step), 1);
    }
    wgmma_commit();
    wgmma_wait<0>();
    pin(x);
    pin_out();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float remaining = break_stick<kLeft, false, kClamp, Reciprocal::kApproximate>(
          AccumulatorRow{h}, x, run_front[h], no_beta);
      front[h] = stick_in_front<kLeft, QuadLanes>(remaining, stick[h]);
    }
    uint32_t weights[4][4];
    pack_weights<Element, kLeft>(x, run_front, front, weights);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel)
        wgmma_registers<Element, 1>(
            out[panel], weights[k],
            descriptor(stage, (Tile::kMatrix + panel * kPanelElements) * 2 + k * 2048));
    }
    wgmma_commit();
  }

  __device__ void pin_out() {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) pin(out[panel]);
  }

  __device__ void clear_out() {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
#pragma unroll
      for (int i = 0; i < 32; ++i) out[panel][i] = 0.f;
    }
  }

  template <bool kLeft>
  __device__ void walk_tile(float (&stick)[2], int load, int first_key, int last_row) {
    await(load);
    const int rows = at.row + uniform(threadIdx.x / kWarpgroup) * kKeys;  // the warpgroup's first row
    if (kLeft ? first_key > rows : first_key < rows) return;              // no key on this side
    const bool diagonal = first_key == rows;
    const bool border = crosses_window<kLeft>(first_key, at.row, last_row, arguments.window);
    const uint32_t stage = matrix_at(shared_address(stages + load % Tile::kStages * Tile::kStage));
    if (diagonal || border || first_key + kKeys > at.length) {
      tile<kLeft, true, true>(stage, stick, first_key);
    } else if (may_clamp) {
      tile<kLeft, false, true>(stage, stick, first_key);
    } else {
      tile<kLeft, false, false>(stage, stick, first_key);
    }
  }

  template <bool kLeft>
  __device__ TileRange<kLeft> range() const {
    const int last_row = min(at.row + kRows, at.length) - 1;
    return {at.row, last_row, farthest_key<kLeft>(at.row, last_row, reach, at.length)};
  }

  template <bool kLeft>
  __device__ void load_step(const TileRange<kLeft>& tiles, int from) {
    if (threadIdx.x != 0) return;
    for (int i = from; i < min(tiles.count, from + Tile::kStep); ++i) load(loads + i, tiles.at(i));
  }

  // Walks one side and returns the last key walked. load_step(tiles, 0) must go before; load_more() is called
  // when every stage is free again.
  template <bool kLeft, typename LoadMore>
  __device__ int walk(const TileRange<kLeft>& tiles, float (&stick)[2], LoadMore load_more) {
    const float skip_below = kWeightScale<Element> * arguments.params.skip_below;
    const int last_row = min(at.row + kRows, at.length) - 1;
    int i = 0;
    while (i < tiles.count) {
      if (!__syncthreads_or(stick[0] >= skip_below || stick[1] >= skip_below)) break;
      // Into the stages of the step before the last, which nobody reads any more.
      load_step(tiles, i + Tile::kStep);
      const int step_end = min(tiles.count, i + Tile::kStep);
      for (; i < step_end; ++i) walk_tile<kLeft>(stick, loads + i, tiles.first_key(i), last_row);
    }
    wgmma_wait<0>();
    pin_out();
    // Copies under way when the walk ended early must have landed before their stages are used again.
    const int issued = min(tiles.count, i + Tile::kStep);
    for (int n = i; n < issued; ++n) await(loads + n);
    loads += issued;
    __syncthreads();
    load_more();
    return tiles.last_key(i, at.row, at.length);
  }
};

template <typename Element, int D>
__global__ void __launch_bounds__(kThreads, ForwardTile<D>::kBlocksPerMultiprocessor)
    forward_kernel(const __grid_constant__ ForwardArguments arguments, const Documents docs) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Tile = ForwardTile<D>;
  extern __shared__ __align__(1024) uint8_t raw[];
  const AttentionParams& p = arguments.params;
  const Prepared& prepared = arguments.prepared;
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int2 item = item_at(arguments.plan, blockIdx.x, arguments.blocks, p.causal);
  const RowBlock at = row_block(docs, item.x);
  if (at.row >= at.length) return;
  const int head_index = item.y;
  const int64_t base = head_index * p.seq + at.begin, item_index = head_index * arguments.blocks + item.x;
  const int64_t first_tile = (item_index - at.row / kRows) * 2;
  Block<Element, D> block{arguments,
                          reinterpret_cast<Element*>(raw),
                          shared_address(raw + Tile::kBarriers * 2),
                          static_cast<const Element*>(prepared.key) + first_tile * Tile::kMatrix,
                          static_cast<const Element*>(prepared.value) + first_tile * Tile::kMatrix,
                          at,
                          at.row + kWarpRows * static_cast<int>(threadIdx.x / 32) + quad_of_warp(),
                          reach_of(arguments.plan, item_index, arguments.window),
                          decay_per_token(p.decay[head_index % p.heads]),
                          may_exceed(prepared.query_norm[item_index], prepared.key_norm[head_index])};
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) barrier_init(block.barriers + 8 * s, 1);
    fence_shared_writes();
  }
  __syncthreads();
  const TileRange<true> left_tiles = block.template range<true>();
  const TileRange<false> right_tiles = block.template range<false>();
  const int64_t row_tile = first_tile + at.row / kKeys + threadIdx.x / kWarpgroup;
  if (threadIdx.x == 0) block.load_first(left_tiles, row_tile);
  ForwardRows rows(arguments, base, at, block.first_row);
  const auto save = [&](float* to) {  // as accumulator_offset() has it; also the rows past the document's end
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel)
      store_accumulator(to + row_tile * Tile::kMatrix + panel * kPanelElements, block.out[panel]);
  };
  constexpr float kScale = kWeightScale<Element>;
  float stick[2] = {kScale * rows.start[0], kScale * rows.start[1]};
  const int left_key = block.walk(left_tiles, stick, [&] {
    if (!p.causal) block.load_step(right_tiles, 0);
  });
  int right_key = at.row;
  rows.rem[0][0] = stick[0] / kScale;
  rows.rem[1][0] = stick[1] / kScale;
  const bool saves = arguments.saved.left != nullptr;
  if (saves) save(arguments.saved.left);
  if (!p.causal) {
    // Where the sides are saved each is summed alone, and the left one is read again at the end.
    if (saves) block.clear_out();
    stick[0] = kScale * rows.start[0];
    stick[1] = kScale * rows.start[1];
    right_key = block.walk(right_tiles, stick, [] {});
    rows.rem[0][1] = stick[0] / kScale;
    rows.rem[1][1] = stick[1] / kScale;
  }
  // The rows' own values are all loaded before the first store, because this is bound by their latency.
  uint32_t value[2][D / 8];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = column_of_key(rows.row(h) % kKeys);
    const Element* from = static_cast<const Element*>(prepared.value) + row_tile * Tile::kMatrix;
#pragma unroll
    for (int d = 0; d < D / 8; ++d)
      value[h][d] = *reinterpret_cast<const uint32_t*>(from + tile_offset<D>(row, 8 * d + 2 * quad_lane()));
  }
  if (saves && !p.causal) {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      const int64_t panel_at = row_tile * Tile::kMatrix + panel * kPanelElements;
      float left[32];
      load_accumulator(arguments.saved.left + panel_at, left);
      store_accumulator(arguments.saved.right + panel_at, block.out[panel]);
#pragma unroll
      for (int i = 0; i < 32; ++i) block.out[panel][i] += left[i];
    }
  }
  const auto sum = [&](int h, int d) {
    const float* o = &block.out[d / 8][4 * (d % 8) + 2 * h];
    return make_float2(o[0] / kScale, o[1] / kScale);
  };
  rows.finish<Element, D>(
      head_index, left_key, right_key, [&](int h, int d) { return value[h][d]; }, sum);
#endif  // No other architecture launches this: why_not_supported().
}

}  // namespace
}  // namespace hopper

template <typename Element, int D>
cudaError_t launch_forward_hopper(const ForwardArguments& arguments, cudaStream_t stream) {
  constexpr int kSharedBytes = hopper::ForwardTile<D>::kSharedBytes;
  const AttentionParams& p = arguments.params;
  const auto kernel = hopper::forward_kernel<Element, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes))
    return error;
  return launch_early(p.path, kernel, static_cast<unsigned>(num_items(p)), hopper::kThreads, kSharedBytes,
                      stream, arguments, documents_of(p));
}

#define RSE_INSTANTIATE(Element, D) \
  template cudaError_t launch_forward_hopper<Element, D>(const ForwardArguments&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(Element) RSE_INSTANTIATE(Element, 64) RSE_INSTANTIATE(Element, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
