// Backward attention in float32 on the plain cores.
//
// Half a block of 128 queries walks its keys once more, far to near, with dQ in registers, so that T of section 3
// of src/ops/README.md is only ever added to: as a difference of a total and what is nearer it would lose its
// digits wherever a near key outweighs the farther ones. The sticks come from what forward left of them, tile by
// tile (kLeastStick in tile.cuh). At a side's end T is its total, which the self key needs where mass is shared.
// The whole thread block forms dK and dV of a tile and adds them in L2.
#include "kernels/float32/tile.cuh"
#include "kernels/passes.h"
#include "kernels/stick.cuh"

namespace rse::kernels {
namespace float32 {
namespace {

// How threads share dK and dV of a tile: two warps per matrix, and per thread 8 keys by 4 or 8 columns, in
// chunks of 4: key() and key() + kAcrossKeys, column() and column() + kAcross.
template <int D>
struct KeyGradientLanes {
  static constexpr int kAcrossKeys = BackwardTile<D>::kTileKeys / 8, kAcross = 64 / kAcrossKeys;
  static constexpr int kChunks = D / 4 / kAcross;
  __device__ static int key() {
    const int lane = threadIdx.x % 32, key = lane % 2 + lane / 16 * 2;
    return kAcrossKeys == 8 ? key + threadIdx.x / 32 % 2 * 4 : key;
  }
  __device__ static int column() {
    const int column = threadIdx.x / 2 % 8;
    return kAcross == 16 ? column + threadIdx.x / 32 % 2 * 8 : column;
  }
};

// Adds four neighbouring floats to device memory.
__device__ inline void add4(float* to, const float (&x)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x[0]), "f"(x[1]), "f"(x[2]),
               "f"(x[3])
               : "memory");
#else
#pragma unroll
  for (int n = 0; n < 4; ++n) atomicAdd(to + n, x[n]);
#endif
}

template <int D>
struct Block {
  using Tile = BackwardTile<D>;
  static constexpr int kTileKeys = Tile::kTileKeys;
  using Keys = KeyLanes<kTileKeys>;
  using Columns = ColumnLanes<D>;
  const BackwardArguments& arguments;
  float* shared;                 // shared memory
  const float *key, *value;      // of the document's first row
  const float2* used_up;         // likewise
  float4* row_state;             // likewise
  float *grad_key, *grad_value;  // likewise
  RowBlock at;
  int last_row;
  Limits limits;
  float grad_decay = 0;
  float stick[Keys::kCount] = {};       // beyond the tile
  int used_up_tile[Keys::kCount] = {};  // the tile in which the stick is used up, or kNotUsedUp
  float farther[Keys::kCount] = {};     // T of the tile's farthest key
  float grad_query[Columns::kCount][kColumnChunks<D>][4] = {};
  // In shared memory.
  float *query = shared, *grad_out = shared + Tile::kGradOut, *keys = shared + Tile::kKeysAt;
  float *values = shared + Tile::kValues, *weights = shared + Tile::kWeights;
  float* logit_grads = shared + Tile::kLogitGrads;

  // Row i of the thread, from logits x and gradients of weights: leaves the weights and the logit gradients
  // in shared memory.
  template <bool kLeft>
  __device__ void row_gradients(int i, float (&x)[4], float (&grad)[4], int first_key, bool masked) {
    const int row = Keys::row() + i, column = Keys::column();
    const OneRow<4> columns;
    const RowPlace row_place{at.row + row, first_key + 4 * column};
    float beta[4], rest[4], run_front[2];
    decay_and_mask<kLeft>(columns, x, row_place, masked, limits);
    const float remaining =
        break_stick<kLeft, true, true, Reciprocal::kNewton>(columns, x, run_front, beta, rest);
    const float known_front = used_up_tile[i] == first_key / kTileKeys ? used_up_front<kLeft>(row) : -1.f;
    const float front = stick_before<kLeft, StickLanes<kTileKeys>>(remaining, stick[i], known_front);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      x[n] *= front * run_front[run_of<kLeft>(n)];
      grad[n] *= x[n];
      sum += grad[n];
    }
    store4(weights + place<kTileKeys>(row, column), x);
    float beyond = farther[i] + farther_lanes<kLeft, StickLanes<kTileKeys>>(sum);
    farther[i] += sum;
    const float nearest = row_place.nearest<kLeft>();
#pragma unroll
    for (int nth = 3; nth >= 0; --nth) {
      const int n = nth_nearest<kLeft, OneRow<4>>(nth);
      const float weighted = grad[n];
      grad[n] = fmaf(-beta[n], beyond, weighted * rest[n]);
      beyond += weighted;
      grad_decay = fmaf(-grad[n], plus_keys<kLeft>(nearest, n), grad_decay);
    }
    store4(logit_grads + place<kTileKeys>(row, column), grad);
  }

  template <bool kLeft>
  __device__ const float2& used_up_of(int row) const {  // row: of the document
    return used_up[arguments.params.causal ? row : 2 * int64_t{row} + (kLeft ? 0 : 1)];
  }
  // The stick in front of the tile in which it is used up. row: of the half block.
  template <bool kLeft>
  __device__ float used_up_front(int row) const {
    return used_up_of<kLeft>(at.row + row).x;
  }

  // dV += weights^T grad_out by warps 0 and 1, dK += logit gradients^T query by warps 2 and 3.
  __device__ void add_key_gradients(int first_key) const {
    using Lanes = KeyGradientLanes<D>;
    const bool of_value = threadIdx.x < kThreads / 2;
    const float* lhs = of_value ? weights : logit_grads;
    const float* rhs = of_value ? grad_out : query;
    const int key = Lanes::key(), column = Lanes::column();
    float sum[2][4][Lanes::kChunks][4] = {};
#pragma unroll 4
    for (int row = 0; row < kHalfRows; ++row) {
      float4 b[Lanes::kChunks];
#pragma unroll
      for (int c = 0; c < Lanes::kChunks; ++c) b[c] = load4(rhs + place<D>(row, column + c * Lanes::kAcross));
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float4 a = load4(lhs + place<Tile::kTileKeys>(row, key + h * Lanes::kAcrossKeys));
#pragma unroll
        for (int c = 0; c < Lanes::kChunks; ++c) {
          multiply_add(sum[h][0][c], a.x, b[c]);
          multiply_add(sum[h][1][c], a.y, b[c]);
          multiply_add(sum[h][2][c], a.z, b[c]);
          multiply_add(sum[h][3][c], a.w, b[c]);
        }
      }
    }
    float* to = of_value ? grad_value : grad_key;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int row = first_key + 4 * (key + h * Lanes::kAcrossKeys) + n;
        if (row >= at.length) continue;
#pragma unroll
        for (int c = 0; c < Lanes::kChunks; ++c)
          add4(to + static_cast<int64_t>(row) * D + 4 * (column + c * Lanes::kAcross), sum[h][n][c]);
      }
    }
  }

  __device__ void fetch(int first_key) const {
    load_rows<D, kTileKeys>(keys, key, first_key, at.length);
    load_rows<D, kTileKeys>(values, value, first_key, at.length);
    cp_async_commit();
  }

  template <bool kLeft>
  __device__ void tile(int first_key, bool masked) {
    float x[Keys::kCount][4], grad[Keys::kCount][4];
    products<D, kTileKeys>(query, keys, x);
    products<D, kTileKeys>(grad_out, values, grad);
    if (Tile::kWeightsOverValues) __syncthreads();
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) row_gradients<kLeft>(i, x[i], grad[i], first_key, masked);
    __syncwarp();
    accumulate<D, kTileKeys>(logit_grads, keys, grad_query);
    __syncthreads();
  }

  template <bool kLeft>
  __device__ void walk(int far_key) {
    const TileRange<kLeft, kTileKeys> tiles(at.row, last_row, far_key);
    fetch(tiles.first_key(tiles.count - 1));
    for (int i = tiles.count - 1; i >= 0; --i) {
      cp_async_wait_all();
      __syncthreads();
      const int first_key = tiles.first_key(i);
      tile<kLeft>(first_key, needs_mask<kLeft, kTileKeys>(first_key, at.row, kHalfRows, last_row, limits));
      if (!Tile::kWeightsOverValues && i > 0) fetch(tiles.first_key(i - 1));
      add_key_gradients(first_key);
      if (Tile::kWeightsOverValues && i > 0) {
        __syncthreads();
        fetch(tiles.first_key(i - 1));
      }
    }
    __syncthreads();
  }

  template <bool kLeft>
  __device__ void side(const int* extent) {  // extent: of the document's first row
    const int sides = arguments.params.causal ? 1 : 2;
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      const int row = at.row + Keys::row() + i;
      const bool inside = row < at.length;
      const float2 end = inside ? used_up_of<kLeft>(row) : make_float2(0.f, __int_as_float(kNotUsedUp));
      used_up_tile[i] = __float_as_int(end.y);
      stick[i] = used_up_tile[i] == kNotUsedUp ? end.x : 0.f;
      farther[i] = !inside ? 0.f : kLeft ? row_state[row].x : row_state[row].y;
    }
    walk<kLeft>(kLeft ? last_row - extent[last_row * int64_t{sides}]
                      : at.row + extent[at.row * int64_t{sides} + 1]);
    if (Keys::column() != 0) return;
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      const int row = at.row + Keys::row() + i;
      if (row < at.length) (kLeft ? row_state[row].x : row_state[row].y) = farther[i];
    }
  }

  // Adds the half's d lambda to its item's, which was 0: two numbers have the same sum in either order.
  __device__ void add_grad_decay(float* scratch, float* to) const {
    const float sum = warp_sum(grad_decay);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(to, (scratch[0] + scratch[1]) + (scratch[2] + scratch[3]));
    __syncthreads();
  }

  __device__ void store_grad_query(float* to) const {  // to: of the document's first row
#pragma unroll
    for (int i = 0; i < Columns::kCount; ++i) {
      const int row = at.row + Columns::row() + i;
      if (row >= at.length) continue;
#pragma unroll
      for (int c = 0; c < kColumnChunks<D>; ++c)
        store4(to + static_cast<int64_t>(row) * D + 4 * Columns::column() + 64 * c, grad_query[i][c]);
    }
  }
};

template <int D>
__device__ void backward_half(const BackwardArguments& arguments, const Documents& docs, float* shared,
                              int2 item, int half, int slot) {
  const RowBlock at = half_block(docs, item.x, half);
  if (at.row >= at.length) return;
  const AttentionParams& p = arguments.params;
  const Prepared& prepared = arguments.prepared;
  const Accumulators& sums = arguments.sums;
  const int head_index = item.y;
  const int64_t base = head_index * p.seq + at.begin, slot_base = slot * sums.matrix + base * D;
  Block<D> block{arguments,
                 shared,
                 static_cast<const float*>(prepared.key) + base * D,
                 static_cast<const float*>(prepared.value) + base * D,
                 arguments.used_up + base * (p.causal ? 1 : 2),
                 sums.row_state + base,
                 sums.key + slot_base,
                 sums.value + slot_base,
                 at,
                 min(at.row + kHalfRows, at.length) - 1,
                 {decay_per_token(p.decay[head_index % p.heads]), arguments.window, at.length}};
  load_rows<D, kHalfRows>(block.query, static_cast<const float*>(prepared.query) + base * D, at.row,
                          at.length);
  load_rows<D, kHalfRows>(block.grad_out, static_cast<const float*>(sums.grad_out) + base * D, at.row,
                          at.length);
  const int* extent = arguments.inputs.extent + base * (p.causal ? 1 : 2);
  block.template side<true>(extent);
  if (!p.causal) block.template side<false>(extent);
  block.store_grad_query(sums.query + base * D);
  block.add_grad_decay(shared, sums.decay + head_index * arguments.blocks + item.x);
}

template <int D>
__global__ void __launch_bounds__(kThreads, BackwardTile<D>::kBlocksPerMultiprocessor)
    backward_kernel(const __grid_constant__ BackwardArguments arguments, const Documents docs) {
  extern __shared__ __align__(128) float shared[];
  if (arguments.ordered_slots == 0) {
    const int2 item = item_at(arguments.plan, blockIdx.x / 2, arguments.blocks, arguments.params.causal);
    backward_half<D>(arguments, docs, shared, item, blockIdx.x % 2, 0);
    return;
  }
  // Deterministic: this thread block alone adds to its slot of its head, always in the same order.
  const int slots = arguments.ordered_slots, slot = blockIdx.x % slots, head_index = blockIdx.x / slots;
  const int halves = 2 * docs.blocks();
  for (int n = 2 * slot; n < halves; n += n % 2 == 0 ? 1 : 2 * slots - 1)
    backward_half<D>(arguments, docs, shared, make_int2(n / 2, head_index), n % 2, slot);
}

}  // namespace
}  // namespace float32

template <int D>
cudaError_t launch_backward_float32(const BackwardArguments& arguments, cudaStream_t stream) {
  constexpr int kSharedBytes = float32::BackwardTile<D>::kSharedBytes;
  const AttentionParams& p = arguments.params;
  const auto kernel = float32::backward_kernel<D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes))
    return error;
  if (const cudaError_t error =
          cudaMemsetAsync(arguments.sums.decay, 0, num_items(p) * sizeof(float), stream))
    return error;
  const unsigned grid = backward_grid(arguments) * (p.deterministic ? 1 : 2);  // two halves per item
  kernel<<<grid, float32::kThreads, kSharedBytes, stream>>>(arguments, documents_of(p));
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(D) \
  template cudaError_t launch_backward_float32<D>(const BackwardArguments&, cudaStream_t);
RSE_INSTANTIATE(32)
RSE_INSTANTIATE(64)
RSE_INSTANTIATE(128)

}  // namespace rse::kernels
