// Forward attention in float32 on the plain cores.
//
// Half a block of 128 queries walks each side outward in tiles of 64 keys; it stops at the reach that the
// plan gave its block, or when every stick of the half is below skip_below. A tile's values are fetched while
// its logits are formed, the next tile's keys while its values are summed.
#include "kernels/passes.h"
#include "kernels/float32/tile.cuh"

namespace rse::kernels {
namespace {

using namespace simt;

constexpr int kTileKeys = 64;

template <int D>
struct ForwardTile {
  static constexpr int kMatrix = kHalf * D;         // query; key; value
  static constexpr bool kWeightsOverKeys = D > 64;  // to stay below 99 KB
  static constexpr int kWeights = kWeightsOverKeys ? 0 : kHalf * kTileKeys;
  static constexpr int kShared = (3 * kMatrix + kWeights + kHalf) * static_cast<int>(sizeof(float));
};

template <int D>
struct Block {
  using Tile = ForwardTile<D>;
  using Keys = KeyLanes<kTileKeys>;
  using Columns = ColumnLanes<D>;
  const AttentionParams& p;
  const ForwardOutputs& outputs;
  float *query, *keys, *values, *weights, *own_weight;  // shared memory
  const float *key, *value, *self_logit;                // of the document
  int64_t base;                                         // the document's first row in [batch * heads, seq]
  RowBlock at;
  int last_row, reach;
  Limits limits;
  float stick[Keys::kCount];
  float out[Columns::kCount][kColumnChunks<D>][4];

  __device__ OwnKey own(int row) const {
    return own_key(row < at.length ? self_logit[row] : 0.f, p.self_key);
  }

  template <bool kLeft>
  __device__ void tile(float (&x)[Keys::kCount][4], int first, bool masked) {
    const int row = Keys::row(), column = Keys::column();
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      float beta[4];
      decay_and_mask<kLeft>(x[i], at.row + row + i, first + 4 * column, masked, limits);
      const float leaves = break_sticks<kLeft>(x[i], beta);
      const float before = stick_before<kLeft, kTileKeys / 4>(leaves, stick[i]);
#pragma unroll
      for (int n = 0; n < 4; ++n) x[i][n] *= before;
    }
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

  // Returns the last key walked; at.row where there was none.
  template <bool kLeft>
  __device__ int walk() {
    const int begin = (kLeft ? last_row : at.row) / kTileKeys;
    const int end =
        (kLeft ? max(0, at.row - reach) : min(at.length - 1, last_row + min(reach, at.length))) / kTileKeys;
    const int tiles = (kLeft ? begin - end : end - begin) + 1;
    const auto tile_at = [&](int i) { return (kLeft ? begin - i : begin + i) * kTileKeys; };
    fetch(keys, key, tile_at(0));
    int i = 0;
    for (; i < tiles; ++i) {
      bool live = false;
#pragma unroll
      for (int r = 0; r < Keys::kCount; ++r) live = live || stick[r] >= p.skip_below;
      cp_async_wait_all();
      if (!__syncthreads_or(live)) break;
      const int first = tile_at(i);
      fetch(values, value, first);
      const bool diagonal = first == at.row;
      const bool border = (kLeft ? last_row - first : first + kTileKeys - 1 - at.row) >= limits.window;
      float x[Keys::kCount][4];
      products<D, kTileKeys>(query, keys, x);
      tile<kLeft>(x, first, diagonal || border || first + kTileKeys > at.length);
      cp_async_wait_all();
      __syncthreads();
      if (!Tile::kWeightsOverKeys && i + 1 < tiles) fetch(keys, key, tile_at(i + 1));
      store_weights(x);
      accumulate<D, kTileKeys>(weights, values, out);
      if (Tile::kWeightsOverKeys && i + 1 < tiles) {
        __syncthreads();
        fetch(keys, key, tile_at(i + 1));
      }
    }
    __syncthreads();
    if (i == 0) return at.row;
    return kLeft ? tile_at(i - 1) : min(at.length, tile_at(i - 1) + kTileKeys) - 1;
  }

  template <bool kLeft>
  __device__ void side() {
    const int sides = p.causal ? 1 : 2, row = Keys::row();
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i)
      stick[i] = at.row + row + i < at.length ? stick_start(own(at.row + row + i), p.shared, p.causal) : 0.f;
    const int last_key = walk<kLeft>();
    if (Keys::column() != 0) return;
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      const int to = at.row + row + i;
      if (to >= at.length) continue;
      outputs.rem[(base + to) * sides + !kLeft] = stick[i];
      outputs.extent[(base + to) * sides + !kLeft] = max(0, distance_of<kLeft>(to, last_key));
      if (p.remainder_self) own_weight[row + i] += stick[i];
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

  __device__ void save(float* to) const {
    each_row([&](int row, int column, const float(&sum)[4]) { store4(to + (base + row) * D + column, sum); });
  }

  __device__ void finish(int64_t batch, int head) const {
    float* result =
        static_cast<float*>(outputs.out.data) + batch * outputs.out.batch + head * outputs.out.head;
    each_row([&](int row, int column, const float(&sum)[4]) {
      if (column >= p.head_dim) return;
      const float* own_value = value + static_cast<int64_t>(row) * D + column;
      const float weight = own_weight[row - at.row];
      float* to = result + (at.begin + row) * outputs.out.token + column;
#pragma unroll
      for (int n = 0; n < 4; ++n) to[n] = fmaf(weight, own_value[n], sum[n]);
    });
  }
};

template <int D>
__global__ void __launch_bounds__(kThreads, D <= 64 ? 3 : 2)
    forward_kernel(const __grid_constant__ AttentionParams p, const Documents docs,
                   const __grid_constant__ Prepared prepared, const __grid_constant__ Plan plan,
                   const __grid_constant__ ForwardOutputs outputs, const __grid_constant__ Saved saved) {
  using Tile = ForwardTile<D>;
  extern __shared__ __align__(128) float shared[];
  const int2 item = item_at(plan, blockIdx.x / 2, docs.blocks(), p.causal);
  const RowBlock at = half_block(docs, item.x, blockIdx.x % 2);
  if (at.row >= at.length) return;
  const int head_index = item.y, head = head_index % p.heads;
  const int64_t base = head_index * p.seq + at.begin, blocks = docs.blocks();
  float* weights = shared + (Tile::kWeightsOverKeys ? 1 : 3) * Tile::kMatrix;
  Block<D> block{p,
                 outputs,
                 shared,
                 shared + Tile::kMatrix,
                 shared + 2 * Tile::kMatrix,
                 weights,
                 shared + 3 * Tile::kMatrix + Tile::kWeights,
                 static_cast<const float*>(prepared.key) + base * D,
                 static_cast<const float*>(prepared.value) + base * D,
                 prepared.self_logit + base,
                 base,
                 at,
                 min(at.row + kHalf, at.length) - 1,
                 reach_of(plan, head_index * blocks + item.x, window_of(p)),
                 {decay_per_token(p.decay[head]), window_of(p), at.length},
                 {},
                 {}};
  load_rows<D, kHalf>(block.query, static_cast<const float*>(prepared.query) + base * D, at.row, at.length);
  if (threadIdx.x < kHalf) block.own_weight[threadIdx.x] = block.own(at.row + threadIdx.x).beta;
  block.template side<true>();
  if (!p.causal) {
    if (saved.left != nullptr) block.save(saved.left);
    block.template side<false>();
  }
  if (saved.both != nullptr) block.save(saved.both);
  __syncthreads();
  block.finish(head_index / p.heads, head);
}

}  // namespace

template <int D>
cudaError_t launch_forward_float32(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                const ForwardOutputs& outputs, const Saved& saved, cudaStream_t stream) {
  constexpr int kShared = ForwardTile<D>::kShared;
  const auto kernel = forward_kernel<D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared))
    return error;
  const unsigned grid = static_cast<unsigned>(2 * num_items(p));
  kernel<<<grid, kThreads, kShared, stream>>>(p, documents_of(p), prepared, plan, outputs, saved);
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(D)                                                                          \
  template cudaError_t launch_forward_float32<D>(const AttentionParams&, const Prepared&, const Plan&, \
                                              const ForwardOutputs&, const Saved&, cudaStream_t);
RSE_INSTANTIATE(32)
RSE_INSTANTIATE(64)
RSE_INSTANTIATE(128)

}  // namespace rse::kernels
