// Forward attention on the tensor cores through mma.sync, for compute capability 8.0 and newer.
//
// A block of 128 queries walks each side outward in tiles of 64 keys, two stages of cp.async deep. It stops
// at the reach that the plan gave it, or when every stick of the block is below skip_below.
#include "kernels/forward_rows.cuh"
#include "kernels/passes.h"
#include "kernels/portable/tile.cuh"
#include "kernels/stick.cuh"

namespace rse::kernels {
namespace portable {
namespace {

template <typename Element, int D>
struct Block {
  using Tile = ForwardTile<D>;
  const ForwardArguments& arguments;
  Element* stages;             // shared memory
  const Element *key, *value;  // of the document's first row
  RowBlock at;
  int first_row, reach;  // the thread's first row; the number of keys that any row may need on a side
  Limits limits;
  uint32_t query[D / 16][4] = {};
  float out[D / 8][4] = {};

  template <bool kLeft>
  __device__ void tile(const Element* stage, float (&stick)[2], int first_key, bool masked) {
    float x[32], run_front[2][4], front[2], no_beta[32];
    uint32_t weights[4][4];
    products<Element, D>(shared_address(stage), query, x);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const AccumulatorRow keys{h};
      decay_and_mask<kLeft>(keys, x, {first_row + 8 * h, first_key + 16 * quad_lane()}, masked, limits);
      const float remaining =
          break_stick<kLeft, false, true, Reciprocal::kApproximate>(keys, x, run_front[h], no_beta);
      front[h] = stick_in_front<kLeft, QuadLanes>(remaining, stick[h]);
    }
    pack_weights<Element, kLeft>(x, run_front, front, weights);
    accumulate<Element, D>(shared_address(stage + Tile::kMatrix), weights, out);
  }

  // Walks one side; returns the last key walked. stick: of the thread's two rows.
  template <bool kLeft>
  __device__ int walk(float (&stick)[2]) {
    const float skip_below = kWeightScale<Element> * arguments.params.skip_below;
    const int last_row = min(at.row + kRows, at.length) - 1;
    const TileRange<kLeft> tiles(at.row, last_row, farthest_key<kLeft>(at.row, last_row, reach, at.length));
    const auto load = [&](int i) {
      load_tile<Element, D>(stages + (i & 1) * Tile::kStage, key, value, tiles.first_key(i), at.length);
      cp_async_commit();
    };
    load(0);
    int i = 0;
    for (; i < tiles.count; ++i) {
      const bool live = stick[0] >= skip_below || stick[1] >= skip_below;
      cp_async_wait_all();
      if (!__syncthreads_or(live)) break;
      if (i + 1 < tiles.count) load(i + 1);
      const int first_key = tiles.first_key(i);
      tile<kLeft>(stages + (i & 1) * Tile::kStage, stick, first_key,
                  needs_mask<kLeft>(first_key, at.row, kRows, last_row, limits));
    }
    __syncthreads();
    return tiles.last_key(i, at.row, at.length);
  }

  __device__ void load_query(const Element* from) {  // from: of the document's first row
#pragma unroll
    for (int d = 0; d < D / 16; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = first_row + 8 * (i & 1), column = 16 * d + 2 * quad_lane() + 8 * (i >> 1);
        query[d][i] = row < at.length
                          ? *reinterpret_cast<const uint32_t*>(from + static_cast<int64_t>(row) * D + column)
                          : 0u;
      }
    }
  }

  __device__ float2 sum(int h, int d) const { return make_float2(out[d][2 * h], out[d][2 * h + 1]); }

  __device__ void save(float* to, const ForwardRows& rows) const {  // for backward
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!rows.inside(h)) continue;
#pragma unroll
      for (int d = 0; d < D / 8; ++d)
        *reinterpret_cast<float2*>(to + (rows.base + rows.row(h)) * D + 8 * d + 2 * quad_lane()) = sum(h, d);
    }
  }
  __device__ void add(const float* from, const ForwardRows& rows) {  // what this thread saved there
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!rows.inside(h)) continue;
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        const float2 x =
            *reinterpret_cast<const float2*>(from + (rows.base + rows.row(h)) * D + 8 * d + 2 * quad_lane());
        out[d][2 * h] += x.x;
        out[d][2 * h + 1] += x.y;
      }
    }
  }
  __device__ void clear() {
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[d][i] = 0.f;
    }
  }
};

template <typename Element, int D>
__global__ void __launch_bounds__(kThreads, ForwardTile<D>::kBlocksPerMultiprocessor)
    forward_kernel(const __grid_constant__ ForwardArguments arguments, const Documents docs) {
  extern __shared__ __align__(128) uint8_t raw[];
  const AttentionParams& p = arguments.params;
  const int2 item = item_at(arguments.plan, blockIdx.x, arguments.blocks, p.causal);
  const RowBlock at = row_block(docs, item.x);
  if (at.row >= at.length) return;
  const int head_index = item.y, head = head_index % p.heads;
  const int64_t base = head_index * p.seq + at.begin;
  Block<Element, D> block{arguments,
                          reinterpret_cast<Element*>(raw),
                          static_cast<const Element*>(arguments.prepared.key) + base * D,
                          static_cast<const Element*>(arguments.prepared.value) + base * D,
                          at,
                          at.row + kWarpRows * static_cast<int>(threadIdx.x / 32) + quad_of_warp(),
                          reach_of(arguments.plan, head_index * arguments.blocks + item.x, arguments.window),
                          {decay_per_token(p.decay[head]), arguments.window, at.length}};
  block.load_query(static_cast<const Element*>(arguments.prepared.query) + base * D);
  ForwardRows rows(arguments, base, at, block.first_row);
  constexpr float kScale = kWeightScale<Element>;
  float stick[2] = {kScale * rows.start[0], kScale * rows.start[1]};
  const int left_key = block.template walk<true>(stick);
  int right_key = at.row;
  rows.rem[0][0] = stick[0] / kScale;
  rows.rem[1][0] = stick[1] / kScale;
  const bool saves = arguments.saved.left != nullptr;
  if (saves) block.save(arguments.saved.left, rows);
  if (!p.causal) {
    // Where the sides are saved each is summed alone, and the left one is read again at the end.
    if (saves) block.clear();
    stick[0] = kScale * rows.start[0];
    stick[1] = kScale * rows.start[1];
    right_key = block.template walk<false>(stick);
    rows.rem[0][1] = stick[0] / kScale;
    rows.rem[1][1] = stick[1] / kScale;
    if (saves) {
      block.save(arguments.saved.right, rows);
      block.add(arguments.saved.left, rows);
    }
  }
  const auto self_value = [&](int h, int d) {
    const int64_t from = static_cast<int64_t>(rows.row(h)) * D + 8 * d + 2 * quad_lane();
    return *reinterpret_cast<const uint32_t*>(block.value + from);
  };
  rows.finish<Element, D>(head_index, left_key, right_key, self_value, [&](int h, int d) {
    const float2 sum = block.sum(h, d);
    return make_float2(sum.x / kScale, sum.y / kScale);
  });
}

}  // namespace
}  // namespace portable

template <typename Element, int D>
cudaError_t launch_forward_portable(const ForwardArguments& arguments, cudaStream_t stream) {
  constexpr int kSharedBytes = portable::ForwardTile<D>::kSharedBytes;
  const auto kernel = portable::forward_kernel<Element, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes))
    return error;
  const auto grid = static_cast<unsigned>(num_items(arguments.params));
  kernel<<<grid, portable::kThreads, kSharedBytes, stream>>>(arguments, documents_of(arguments.params));
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(Element, D) \
  template cudaError_t launch_forward_portable<Element, D>(const ForwardArguments&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(Element) \
  RSE_INSTANTIATE(Element, 32) RSE_INSTANTIATE(Element, 64) RSE_INSTANTIATE(Element, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
