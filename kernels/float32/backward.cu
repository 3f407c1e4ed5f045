// Backward attention in float32 on the plain cores.
//
// Half a block of 128 queries walks its keys once more, near to far, with dQ in registers. T, the sum of t
// over the keys not nearer than this one (spec section 3), starts from the side's total and loses each t on
// the way; what is left of it beyond the last key is rounding. |T| is cut at what the stick still allows
// (stick times the largest |dA| possible), so that this rounding dies with the stick. d lambda would see it
// times the distance, and does without T:
//   sum_j dx_j d_j = sum_j t_j (d_j - C_j) - rem drem C_last,
//   with d_j = |i - j| and C_j the sum of beta_m d_m over the keys m not farther than j.
// dK and dV of a tile are formed by the whole thread block and added in L2.
#include "kernels/passes.h"
#include "kernels/float32/tile.cuh"

namespace rse::kernels {
namespace {

using namespace simt;

template <int D>
struct BackwardTile {
  static constexpr int kKeys = D <= 64 ? 64 : 32;
  static constexpr int kRowMatrix = kHalf * D;        // query; grad_out
  static constexpr int kKeyMatrix = kKeys * D;        // key; value
  static constexpr int kWeights = kHalf * kKeys;      // weights; dx
  static constexpr bool kWeightsOverValues = D > 64;  // to stay below 99 KB
  static_assert(!kWeightsOverValues || 2 * kWeights <= kKeyMatrix);
  static constexpr int kFloats = 2 * (kRowMatrix + kKeyMatrix) + (kWeightsOverValues ? 0 : 2 * kWeights);
  static constexpr int kShared = kFloats * static_cast<int>(sizeof(float));
};

// How dK and dV are shared: two warps a matrix, a thread 8 keys by 4 or 8 columns of D, in chunks of 4: key()
// and key() + kAcrossKeys, column() and column() + kAcross.
template <int D>
struct KeyGradientLanes {
  static constexpr int kKeys = BackwardTile<D>::kKeys, kAcrossKeys = kKeys / 8, kAcross = 64 / kAcrossKeys;
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
  using Keys = KeyLanes<Tile::kKeys>;
  using Columns = ColumnLanes<D>;
  static constexpr int kAcross = Tile::kKeys / 4;
  const AttentionParams& p;
  float *query, *grad_out, *keys, *values, *weights, *logit_grads;  // shared memory
  const float *key, *value, *self_logit;                            // of the document
  const float4* row_state;
  const float2* remainder;
  float *grad_key, *grad_value;
  RowBlock at;
  int last_row;
  Limits limits;
  float value_norm, grad_decay;
  float stick[Keys::kCount], farther[Keys::kCount],
      bound[Keys::kCount];     // farther: T; bound: of |T|, for a stick of 1
  float moment[Keys::kCount];  // C
  float grad_query[Columns::kCount][kColumnChunks<D>][4];

  // x: logits -> weights -> dx. d_weight: dA -> t.
  template <bool kLeft>
  __device__ void row_gradients(int i, float (&x)[4], float (&d_weight)[4], int first, bool masked) {
    const int row = Keys::row() + i, column = Keys::column(), key = first + 4 * column;
    const auto add = [](float a, float b) { return a + b; };
    float beta[4];
    decay_and_mask<kLeft>(x, at.row + row, key, masked, limits);
    const float leaves = break_sticks<kLeft>(x, beta);
    const float before = stick_before<kLeft, kAcross>(leaves, stick[i]);
    const float near = static_cast<float>(distance_of<kLeft>(at.row + row, key));
    float sum = 0, moments = 0;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      x[n] *= before;
      d_weight[n] *= x[n];
      sum += d_weight[n];
      moments = fmaf(beta[n], distance_on<kLeft>(near, n), moments);
    }
    store4(weights + place<Tile::kKeys>(row, column), x);
    const float limit = before * bound[i];
    float remaining = farther[i] - nearer_lanes<kLeft, kAcross>(sum, 0.f, add);
    remaining = fminf(fmaxf(remaining, -limit), limit);
    farther[i] -= sum;
    float reached = moment[i] + nearer_lanes<kLeft, kAcross>(moments, 0.f, add);
    moment[i] += moments;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      const int n = kLeft ? 3 - m : m;
      const float distance = distance_on<kLeft>(near, n);
      x[n] = fmaf(-beta[n], remaining, d_weight[n]);
      remaining -= d_weight[n];
      reached = fmaf(beta[n], distance, reached);
      grad_decay = fmaf(d_weight[n], reached - distance, grad_decay);
    }
    store4(logit_grads + place<Tile::kKeys>(row, column), x);
  }

  // dV += weights^T grad_out by warps 0 and 1, dK += dx^T query by warps 2 and 3.
  __device__ void add_key_gradients(int first) const {
    using Own = KeyGradientLanes<D>;
    const bool of_value = threadIdx.x < kThreads / 2;
    const float *left = of_value ? weights : logit_grads, *right = of_value ? grad_out : query;
    const int key = Own::key(), column = Own::column();
    float sum[2][4][Own::kChunks][4] = {};
#pragma unroll 4
    for (int row = 0; row < kHalf; ++row) {
      float4 b[Own::kChunks];
#pragma unroll
      for (int c = 0; c < Own::kChunks; ++c) b[c] = load4(right + place<D>(row, column + c * Own::kAcross));
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float4 a = load4(left + place<Tile::kKeys>(row, key + h * Own::kAcrossKeys));
#pragma unroll
        for (int c = 0; c < Own::kChunks; ++c) {
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
        const int row = first + 4 * (key + h * Own::kAcrossKeys) + n;
        if (row >= at.length) continue;
#pragma unroll
        for (int c = 0; c < Own::kChunks; ++c)
          add4(to + static_cast<int64_t>(row) * D + 4 * (column + c * Own::kAcross), sum[h][n][c]);
      }
    }
  }

  __device__ void fetch(int first) const {
    load_rows<D, Tile::kKeys>(keys, key, first, at.length);
    load_rows<D, Tile::kKeys>(values, value, first, at.length);
    cp_async_commit();
  }

  template <bool kLeft>
  __device__ void tile(int first, bool masked) {
    float x[Keys::kCount][4], d_weight[Keys::kCount][4];
    products<D, Tile::kKeys>(query, keys, x);
    products<D, Tile::kKeys>(grad_out, values, d_weight);
    if (Tile::kWeightsOverValues) __syncthreads();
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) row_gradients<kLeft>(i, x[i], d_weight[i], first, masked);
    __syncwarp();
    accumulate<D, Tile::kKeys>(logit_grads, keys, grad_query);
    __syncthreads();
  }

  template <bool kLeft>
  __device__ void walk(int far_key) {
    constexpr int kKeys = Tile::kKeys;
    const int begin = (kLeft ? last_row : at.row) / kKeys, end = far_key / kKeys;
    const int tiles = (kLeft ? begin - end : end - begin) + 1;
    const auto tile_at = [&](int i) { return (kLeft ? begin - i : begin + i) * kKeys; };
    fetch(tile_at(0));
    for (int i = 0; i < tiles; ++i) {
      cp_async_wait_all();
      __syncthreads();
      const int first = tile_at(i);
      const bool diagonal = first + kKeys > at.row && first < at.row + kHalf;
      const bool border = (kLeft ? last_row - first : first + kKeys - 1 - at.row) >= limits.window;
      tile<kLeft>(first, diagonal || border || first + kKeys > at.length);
      if (!Tile::kWeightsOverValues && i + 1 < tiles) fetch(tile_at(i + 1));
      add_key_gradients(first);
      if (Tile::kWeightsOverValues && i + 1 < tiles) {
        __syncthreads();
        fetch(tile_at(i + 1));
      }
    }
    __syncthreads();
  }

  template <bool kLeft>
  __device__ void side(const int* extent) {  // of the document's rows
    const int sides = p.causal ? 1 : 2;
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      const int row = at.row + Keys::row() + i;
      const RowStart from =
          row < at.length ? row_start(p, self_logit[row], row_state[row], value_norm) : RowStart();
      stick[i] = from.stick;
      farther[i] = kLeft ? from.left_total : from.right_total;
      bound[i] = from.bound;
      moment[i] = 0.f;
    }
    walk<kLeft>(kLeft ? last_row - extent[last_row * int64_t{sides}]
                      : at.row + extent[at.row * int64_t{sides} + 1]);
    if (Keys::column() != 0) return;
#pragma unroll
    for (int i = 0; i < Keys::kCount; ++i) {
      const int row = at.row + Keys::row() + i;
      if (row < at.length)
        grad_decay = fmaf(kLeft ? remainder[row].x : remainder[row].y, moment[i], grad_decay);
    }
  }

  // Adds the half's d lambda to its item's, 0 before: two numbers, the same sum in either order.
  __device__ void add_grad_decay(float* sums, float* to) const {
    float sum = grad_decay;
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(~0u, sum, mask);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(to, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    __syncthreads();
  }

  __device__ void store_grad_query(float* to) const {
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
__device__ void backward_half(const AttentionParams& p, const Documents& docs, const Prepared& prepared,
                              const BackwardInputs& in, const Accumulators& acc, float* shared, int2 item,
                              int half, int slot) {
  using Tile = BackwardTile<D>;
  const RowBlock at = half_block(docs, item.x, half);
  if (at.row >= at.length) return;
  const int head_index = item.y;
  const int64_t base = head_index * p.seq + at.begin, blocks = docs.blocks();
  const int64_t slot_base = slot * acc.matrix + base * D;
  float *keys = shared + 2 * Tile::kRowMatrix, *values = keys + Tile::kKeyMatrix;
  float* weights = Tile::kWeightsOverValues ? values : values + Tile::kKeyMatrix;
  Block<D> block{p,
                 shared,
                 shared + Tile::kRowMatrix,
                 keys,
                 values,
                 weights,
                 weights + Tile::kWeights,
                 static_cast<const float*>(prepared.key) + base * D,
                 static_cast<const float*>(prepared.value) + base * D,
                 prepared.self_logit + base,
                 acc.row_state + base,
                 acc.remainder + base,
                 acc.key + slot_base,
                 acc.value + slot_base,
                 at,
                 min(at.row + kHalf, at.length) - 1,
                 {decay_per_token(p.decay[head_index % p.heads]), window_of(p), at.length},
                 __uint_as_float(prepared.value_norm[head_index]),
                 0.f,
                 {},
                 {},
                 {},
                 {},
                 {}};
  load_rows<D, kHalf>(block.query, static_cast<const float*>(prepared.query) + base * D, at.row, at.length);
  load_rows<D, kHalf>(block.grad_out, static_cast<const float*>(acc.grad_out) + base * D, at.row, at.length);
  const int* extent = in.extent + base * (p.causal ? 1 : 2);
  block.template side<true>(extent);
  if (!p.causal) block.template side<false>(extent);
  block.store_grad_query(acc.query + base * D);
  block.add_grad_decay(shared, acc.decay + head_index * blocks + item.x);
}

template <int D>
__global__ void __launch_bounds__(kThreads, 2)
    backward_kernel(const __grid_constant__ AttentionParams p, const Documents docs,
                    const __grid_constant__ Prepared prepared, const __grid_constant__ Plan plan,
                    const __grid_constant__ BackwardInputs in, const __grid_constant__ Accumulators acc) {
  extern __shared__ __align__(128) float shared[];
  if (!p.deterministic) {
    const int2 item = item_at(plan, blockIdx.x / 2, docs.blocks(), p.causal);
    backward_half<D>(p, docs, prepared, in, acc, shared, item, blockIdx.x % 2, 0);
    return;
  }
  // This thread block alone adds to its slot of its head, always in the same order.
  const int slot = blockIdx.x % acc.slots, head_index = blockIdx.x / acc.slots;
  const int halves = 2 * docs.blocks();
  for (int n = 2 * slot; n < halves; n += n % 2 == 0 ? 1 : 2 * acc.slots - 1)
    backward_half<D>(p, docs, prepared, in, acc, shared, make_int2(n / 2, head_index), n % 2, slot);
}

}  // namespace

template <int D>
cudaError_t launch_backward_float32(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                 const BackwardInputs& in, const Accumulators& acc, cudaStream_t stream) {
  constexpr int kShared = BackwardTile<D>::kShared;
  const auto kernel = backward_kernel<D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared))
    return error;
  if (const cudaError_t error = cudaMemsetAsync(acc.decay, 0, num_items(p) * sizeof(float), stream))
    return error;
  const int64_t grid = p.deterministic ? p.batch * p.heads * acc.slots : 2 * num_items(p);
  kernel<<<static_cast<unsigned>(grid), kThreads, kShared, stream>>>(p, documents_of(p), prepared, plan, in,
                                                                     acc);
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(D)                                                                           \
  template cudaError_t launch_backward_float32<D>(const AttentionParams&, const Prepared&, const Plan&, \
                                               const BackwardInputs&, const Accumulators&, cudaStream_t);
RSE_INSTANTIATE(32)
RSE_INSTANTIATE(64)
RSE_INSTANTIATE(128)

}  // namespace rse::kernels
