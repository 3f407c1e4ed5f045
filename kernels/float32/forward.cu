// Forward attention in float32 on the plain cores.
//
// Half a block of 128 queries walks each side outward in tiles of 64 keys. It stops at the reach that the
// plan gave its block, or when every stick of the half is below skip_below. A tile's values are fetched while
// its logits are formed, the next tile's keys while its values are summed.
#include "kernels/float32/tile.cuh"
#include "kernels/forward_rows.cuh"
#include "kernels/passes.h"
#include "kernels/stick.cuh"

namespace rse::kernels {
namespace float32 {
namespace {

template <int D>
struct Block {
  using Tile = ForwardTile<D>;
  static constexpr int kTileKeys = Tile::kTileKeys;
  using Keys = KeyLanes<kTileKeys>;
  using Columns = ColumnLanes<D>;
  const ForwardArguments& arguments;
  float* shared;                          // shared memory
  const float *key, *value, *self_logit;  // of the document's first row
  int64_t base;                           // the document's first row in [batch * heads, seq]
  RowBlock at;
  int last_row, reach;  // reach: the number of keys that any row may need on a side
  Limits limits;
  int walked = 0;  // tiles of the side
  float stick[Keys::kCount] = {};
  float out[Columns::kCount][kColumnChunks<D>][4] = {};
  // In shared memory.
  float *query = shared, *keys = shared + Tile::kKeysAt, *values = shared + Tile::kValues;
  float *weights = shared + Tile::kWeights, *self_weights = shared + Tile::kSelfWeights;

  __device__ SelfKey self_key(int row) const {
    return break_self_key(row < at.length ? self_logit[row] : 0.f, arguments.params.self_key);
  }

  template <bool kLeft>
  __device__ void tile(float (&x)[Keys::kCount][4], int first_key, bool masked) {
    const int row = Keys::row(), column = Keys::column();
    const OneRow<4> columns;
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      float beta[4], run_front[2];
      decay_and_mask<kLeft>(columns, x[i], {at.row + row + i, first_key + 4 * column}, masked, limits);
      const float remaining =
          break_stick<kLeft, false, true, Reciprocal::kNewton>(columns, x[i], run_front, beta);
      const float before = stick[i];
      const float front = stick_in_front<kLeft, StickLanes<kTileKeys>>(remaining, stick[i]);
      if (before >= kLeastStick && stick[i] < kLeastStick)
        keep_used_up<kLeft>(row + i, before, front, first_key);
#pragma unroll
      for (int n = 0; n < 4; ++n) x[i][n] *= front * run_front[run_of<kLeft>(n)];
    }
  }

  // Keeps for backward, whose tiles are as large or half as large, in which of them a stick falls below
  // kLeastStick, and the stick in front of that tile. before: in front of this tile; front: of this lane's keys.
  template <bool kLeft>
  __device__ void keep_used_up(int row, float before, float front, int first_key) const {
    constexpr int kBackwardKeys = BackwardTile<D>::kTileKeys, kMiddle = kTileKeys / 8;
    constexpr bool kHalves = kBackwardKeys < kTileKeys;
    static_assert(kBackwardKeys * (kHalves ? 2 : 1) == kTileKeys);
    // Of all lanes, the one with the nearest keys of the farther half.
    if (arguments.saved.used_up == nullptr || Keys::column() != (kLeft ? kMiddle - 1 : kMiddle)) return;
    const bool farther = kHalves && front >= kLeastStick;
    const int tile = first_key / kBackwardKeys + (kHalves && farther != kLeft ? 1 : 0);
    store_used_up<kLeft>(at.row + row, farther ? front : before, tile);
  }
  template <bool kLeft>
  __device__ void store_used_up(int row, float stick, int tile) const {
    if (arguments.saved.used_up == nullptr || row >= at.length) return;
    const int sides = arguments.params.causal ? 1 : 2;
    arguments.saved.used_up[(base + row) * sides + (kLeft ? 0 : 1)] =
        make_float2(stick, __int_as_float(tile));
  }

  __device__ void store_weights(const float (&x)[Keys::kCount][4]) const {
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i)
      store4(weights + place<kTileKeys>(Keys::row() + i, Keys::column()), x[i]);
    __syncwarp();
  }

  __device__ void fetch(float* to, const float* from, int first) const {
    load_rows<D, kTileKeys>(to, from, first, at.length);
    cp_async_commit();
  }

  // Walks one side and returns the last key walked.
  template <bool kLeft>
  __device__ int walk() {
    const TileRange<kLeft, kTileKeys> tiles(at.row, last_row,
                                            farthest_key<kLeft>(at.row, last_row, reach, at.length));
    fetch(keys, key, tiles.first_key(0));
    int i = 0;
    for (; i < tiles.count; ++i) {
      bool live = false;
#pragma unroll
      for (int r = 0; r < Keys::kCount; ++r) live = live || stick[r] >= arguments.params.skip_below;
      cp_async_wait_all();
      if (!__syncthreads_or(live)) break;
      const int first_key = tiles.first_key(i);
      fetch(values, value, first_key);
      float x[Keys::kCount][4];
      products<D, kTileKeys>(query, keys, x);
      tile<kLeft>(x, first_key, needs_mask<kLeft, kTileKeys>(first_key, at.row, kHalfRows, last_row, limits));
      cp_async_wait_all();
      __syncthreads();
      if (!Tile::kWeightsOverKeys && i + 1 < tiles.count) fetch(keys, key, tiles.first_key(i + 1));
      store_weights(x);
      accumulate<D, kTileKeys>(weights, values, out);
      if (Tile::kWeightsOverKeys && i + 1 < tiles.count) {
        __syncthreads();
        fetch(keys, key, tiles.first_key(i + 1));
      }
    }
    __syncthreads();
    walked = i;
    return tiles.last_key(i, at.row, at.length);
  }

  template <bool kLeft>
  __device__ void side() {
    const AttentionParams& p = arguments.params;
    const int sides = p.causal ? 1 : 2, first_row = at.row + Keys::row();
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i)
      stick[i] = first_row + i < at.length ? stick_start(self_key(first_row + i), p.shared, p.causal) : 0.f;
    const int last_key = walk<kLeft>();
    if (Keys::column() != 0) return;
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      const int row = first_row + i;
      if (row >= at.length) continue;
      // Backward always takes one tile; where forward took none, with nothing of the stick.
      if (!(stick[i] < kLeastStick)) store_used_up<kLeft>(row, walked > 0 ? stick[i] : 0.f, kNotUsedUp);
      store_side_end<kLeft>(arguments.outputs, base + row, sides, stick[i],
                            kLeft ? row - last_key : last_key - row);
      if (p.remainder_self) self_weights[row - at.row] += stick[i];
    }
  }

  template <typename Store>
  __device__ void each_row(Store store) const {  // store(row, column, its 4 sums)
#pragma unroll
    for (int i = 0; i < Columns::kCount; ++i) {
      const int row = at.row + Columns::row() + i;
      if (row >= at.length) continue;
#pragma unroll
      for (int c = 0; c < kColumnChunks<D>; ++c) store(row, 4 * Columns::column() + 64 * c, out[i][c]);
    }
  }

  // Stores the output: the sums, and the self key's value times its weight.
  __device__ void finish(int64_t batch, int head) const {
    const Strided& to_out = arguments.outputs.out;
    float* result = static_cast<float*>(to_out.data) + batch * to_out.batch + head * to_out.head;
    each_row([&](int row, int column, const float(&sum)[4]) {
      if (column >= arguments.params.head_dim) return;
      const float* self_value = value + static_cast<int64_t>(row) * D + column;
      const float weight = self_weights[row - at.row];
      float* to = result + (at.begin + row) * to_out.token + column;
#pragma unroll
      for (int n = 0; n < 4; ++n) to[n] = fmaf(weight, self_value[n], sum[n]);
    });
  }
};

template <int D>
__global__ void __launch_bounds__(kThreads, ForwardTile<D>::kBlocksPerMultiprocessor)
    forward_kernel(const __grid_constant__ ForwardArguments arguments, const Documents docs) {
  extern __shared__ __align__(128) float shared[];
  const AttentionParams& p = arguments.params;
  const Prepared& prepared = arguments.prepared;
  const int2 item = item_at(arguments.plan, blockIdx.x / 2, arguments.blocks, p.causal);
  const RowBlock at = half_block(docs, item.x, blockIdx.x % 2);
  if (at.row >= at.length) return;
  const int head_index = item.y, head = head_index % p.heads;
  const int64_t base = head_index * p.seq + at.begin;
  Block<D> block{arguments,
                 shared,
                 static_cast<const float*>(prepared.key) + base * D,
                 static_cast<const float*>(prepared.value) + base * D,
                 prepared.self_logit + base,
                 base,
                 at,
                 min(at.row + kHalfRows, at.length) - 1,
                 reach_of(arguments.plan, head_index * arguments.blocks + item.x, arguments.window),
                 {decay_per_token(p.decay[head]), arguments.window, at.length}};
  load_rows<D, kHalfRows>(block.query, static_cast<const float*>(prepared.query) + base * D, at.row,
                          at.length);
  if (threadIdx.x < kHalfRows) block.self_weights[threadIdx.x] = block.self_key(at.row + threadIdx.x).beta;
  block.template side<true>();
  if (!p.causal) block.template side<false>();
  __syncthreads();
  block.finish(head_index / p.heads, head);
}

}  // namespace
}  // namespace float32

template <int D>
cudaError_t launch_forward_float32(const ForwardArguments& arguments, cudaStream_t stream) {
  constexpr int kSharedBytes = float32::ForwardTile<D>::kSharedBytes;
  const auto kernel = float32::forward_kernel<D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes))
    return error;
  const auto grid = static_cast<unsigned>(2 * num_items(arguments.params));
  kernel<<<grid, float32::kThreads, kSharedBytes, stream>>>(arguments, documents_of(arguments.params));
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(D) \
  template cudaError_t launch_forward_float32<D>(const ForwardArguments&, cudaStream_t);
RSE_INSTANTIATE(32)
RSE_INSTANTIATE(64)
RSE_INSTANTIATE(128)

}  // namespace rse::kernels
