// Backward attention on the tensor cores through mma.sync, compute capability 8.0 and newer.
//
// A block of 128 queries walks its keys once more, near to far, with dQ in registers. T, the sum of t over
// the keys not nearer than this one (spec section 3), starts from the side's total and loses each t on the
// way. The total was formed from the same rounded weights, so what is left of it beyond the last key is
// float32 rounding; |T| is cut at what the stick still allows (stick times the largest |dA| possible), so
// that this rounding dies with the stick. dK and dV of a tile are formed by the whole block and added in L2.
#include "kernels/portable/tile.cuh"
#include "kernels/passes.h"

namespace rse::kernels {
namespace {

struct BackwardArguments {
  const void *query, *key, *value, *grad_out;
  const float *self_logit, *decay;
  const uint32_t* value_norm;
  const float4* row_state;
  Plan plan;
  const int* extent;
  float *grad_query, *grad_key, *grad_value, *grad_decay;
  int64_t seq, blocks, slot_stride;
  int heads, window, slots;  // slots: 0 where blocks come in any order
  bool causal, self_key, shared;
  float skip_below;
};

template <typename T, int D>
struct BackwardTile {
  static constexpr int kStage = 2 * kKeys * D;    // key, value
  static constexpr int kMatrix = kRows * D;       // query; grad_out
  static constexpr int kWeights = kRows * kKeys;  // weights; dx
  static constexpr int kStages = 2;
  static constexpr int kShared =
      (kStages * kStage + 2 * kMatrix + 2 * kWeights) * static_cast<int>(sizeof(T));
};

__device__ inline void add2(float* to, float a, float b) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(a), "f"(b) : "memory");
#else
  atomicAdd(to, a);
  atomicAdd(to + 1, b);
#endif
}

// Eight neighbouring columns of a 128 x 64 matrix of weights, 16 bytes.
__device__ inline int weight_chunk(int row, int chunk) { return row * kKeys + (chunk ^ (row & 7)) * 8; }

template <typename T, int D>
struct Block {
  using Tile = BackwardTile<T, D>;
  const BackwardArguments& p;
  T *stages, *query, *grad_out, *weights, *logit_grads;  // shared memory
  const T *key, *value;
  float *grad_key, *grad_value;
  RowBlock at;
  int warp_row;  // of the warp's first row, in the block
  float decay, grad_decay;
  float grad_query[D / 8][4];

  __device__ void rows_of(const T* matrix, uint32_t (&a)[D / 16][4]) const {
    const int lane = threadIdx.x % 32, row = warp_row + lane % 16;
#pragma unroll
    for (int d = 0; d < D / 16; ++d)
      ldmatrix4(a[d], shared_address(matrix + row_chunk<D>(row, 2 * d + lane / 16)));
  }

  // bound: the most that T may be for a stick of 1.
  template <bool kLeft>
  __device__ void tile(const T* stage, float (&stick)[2], float (&farther)[2], const float (&bound)[2],
                       int first, bool masked) {
    const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
    float x[2][16], beta[2][16], front[2][4], before[2];
    uint32_t packed[4][4];
    {
      uint32_t rows[D / 16][4];
      rows_of(query, rows);
      products<T, D>(shared_address(stage), rows, x);
    }
    const auto place = [&](int h) { return RowPlace{at.row + warp_row + group + 8 * h, first + 16 * t}; };
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      decay_and_mask<kLeft>(x[h], place(h), decay, masked, p.window, at.length);
      before[h] = stick_before<kLeft>(break_sticks<kLeft, true>(x[h], front[h], beta[h]), stick[h]);
    }
    pack_weights<T, kLeft>(x, front, before, packed);
    store(weights, packed);
    {
      uint32_t rows[D / 16][4];
      rows_of(grad_out, rows);
      products<T, D>(shared_address(stage + kKeys * D), rows, x);  // x: dA
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = 0;
#pragma unroll
      for (int n = 0; n < 16; n += 2) {  // x: t
        const float2 a = unpack<T>(packed[n / 4][2 * ((n / 2) % 2) + h]);
        x[h][n] *= a.x;
        x[h][n + 1] *= a.y;
        sum += x[h][n] + x[h][n + 1];
      }
      const float limit = before[h] * bound[h];
      float remaining = fminf(fmaxf(farther_here<kLeft>(sum, farther[h]), -limit), limit);
      float moment = 0, total = 0;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int n = kLeft ? 15 - i : i;
        const float dx = fmaf(-beta[h][n], remaining, x[h][n]);
        remaining -= x[h][n];
        x[h][n] = dx;
        total += dx;
        moment = fmaf(static_cast<float>(kLeft ? -n : n), dx, moment);
      }
      grad_decay -= fmaf(place(h).template nearest<kLeft>(), total, moment);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int h = 0; h < 2; ++h)
          packed[k][2 * half + h] = pack_finite<T>(x[h][4 * k + 2 * half], x[h][4 * k + 2 * half + 1]);
      }
    }
    store(logit_grads, packed);
    accumulate<T, D>(shared_address(stage), packed, grad_query);
    __syncthreads();
    add_key_gradients(first);
  }

  __device__ void store(T* to, const uint32_t (&packed)[4][4]) const {
    const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<uint4*>(to + weight_chunk(warp_row + group + 8 * h, 2 * t + i)) = make_uint4(
            packed[2 * i][h], packed[2 * i][2 + h], packed[2 * i + 1][h], packed[2 * i + 1][2 + h]);
      }
    }
  }

  // dV += weights^T grad_out by warps 0 to 3, dK += dx^T query by warps 4 to 7; 16 keys a warp.
  __device__ void add_key_gradients(int first) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, key0 = 16 * (warp % 4);
    const T* left = warp < 4 ? weights : logit_grads;
    const T* right = warp < 4 ? grad_out : query;
    float sum[D / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kRows; k += 16) {
      uint32_t a[4];
      ldmatrix4_trans(
          a, shared_address(left + weight_chunk(k + lane % 8 + 8 * (lane / 16), key0 / 8 + (lane / 8) % 2)));
#pragma unroll
      for (int d = 0; d < D / 16; ++d) {
        uint32_t b[4];
        ldmatrix4_trans(b, shared_address(right + row_chunk<D>(k + lane % 16, 2 * d + lane / 16)));
        mma<T>(sum[2 * d], a, b[0], b[1]);
        mma<T>(sum[2 * d + 1], a, b[2], b[3]);
      }
    }
    float* to = warp < 4 ? grad_value : grad_key;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = first + key0 + lane / 4 + 8 * h;
      if (row >= at.length) continue;
#pragma unroll
      for (int d = 0; d < D / 8; ++d)
        add2(to + static_cast<int64_t>(row) * D + 8 * d + 2 * (lane % 4), sum[d][2 * h], sum[d][2 * h + 1]);
    }
  }

  template <bool kLeft>
  __device__ void walk(float (&stick)[2], float (&farther)[2], const float (&bound)[2], int far_key) {
    const int last_row = min(at.row + kRows, at.length) - 1;
    const int begin = (kLeft ? last_row : at.row) / kKeys, end = far_key / kKeys;
    const int tiles = (kLeft ? begin - end : end - begin) + 1;
    const auto tile_at = [&](int i) { return (kLeft ? begin - i : begin + i) * kKeys; };
    load_tile<T, D>(stages, key, value, tile_at(0), at.length);
    cp_async_commit();
    for (int i = 0; i < tiles; ++i) {
      cp_async_wait_all();
      __syncthreads();
      if (i + 1 < tiles) {
        load_tile<T, D>(stages + ((i + 1) & 1) * Tile::kStage, key, value, tile_at(i + 1), at.length);
        cp_async_commit();
      }
      const int first = tile_at(i);
      const bool diagonal = first + kKeys > at.row && first < at.row + kRows;
      const bool border = (kLeft ? last_row - first : first + kKeys - 1 - at.row) >= p.window;
      tile<kLeft>(stages + (i & 1) * Tile::kStage, stick, farther, bound, first,
                  diagonal || border || first + kKeys > at.length);
    }
    __syncthreads();
  }
};

template <typename T, int D>
__device__ void load_rows(T* to, const T* from, const RowBlock& at) {
#pragma unroll
  for (int i = 0; i < kRows * (D / 8) / kThreads; ++i) {
    const int index = threadIdx.x + i * kThreads, row = index / (D / 8), chunk = index % (D / 8);
    const bool valid = at.row + row < at.length;
    cp_async16(shared_address(to + row_chunk<D>(row, chunk)),
               from + static_cast<int64_t>(valid ? at.row + row : 0) * D + chunk * 8, valid);
  }
}

template <typename T, int D>
__device__ void backward_block(const BackwardArguments& p, const Documents& docs, T* shared, int2 item,
                               int slot) {
  using Tile = BackwardTile<T, D>;
  const int head_index = item.y;
  const int64_t item_index = head_index * p.blocks + item.x;
  const RowBlock at = row_block(docs, item.x);
  if (at.row >= at.length) {
    if (threadIdx.x == 0) p.grad_decay[item_index] = 0.f;
    return;
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, t = lane % 4;
  const int64_t base = head_index * p.seq + at.begin;
  T* matrices = shared + Tile::kStages * Tile::kStage;
  Block<T, D> block{p,
                    shared,
                    matrices,
                    matrices + Tile::kMatrix,
                    matrices + 2 * Tile::kMatrix,
                    matrices + 2 * Tile::kMatrix + Tile::kWeights,
                    static_cast<const T*>(p.key) + base * D,
                    static_cast<const T*>(p.value) + base * D,
                    p.grad_key + slot * p.slot_stride + base * D,
                    p.grad_value + slot * p.slot_stride + base * D,
                    at,
                    16 * warp,
                    decay_per_token(p.decay[head_index % p.heads]),
                    0.f,
                    {}};
  load_rows<T, D>(block.query, static_cast<const T*>(p.query) + base * D, at);
  load_rows<T, D>(block.grad_out, static_cast<const T*>(p.grad_out) + base * D, at);
  const float value_norm = __uint_as_float(p.value_norm[head_index]);
  float start[2], stick[2], farther[2], bound[2], right_total[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = at.row + 16 * warp + group + 8 * h;
    const RowStart from = row < at.length
                              ? row_start(p, p.self_logit[base + row], p.row_state[base + row], value_norm)
                              : RowStart();
    stick[h] = start[h] = from.stick;
    farther[h] = from.left_total;
    right_total[h] = from.right_total;
    bound[h] = from.bound;
  }
  const int sides = p.causal ? 1 : 2, last_row = min(at.row + kRows, at.length) - 1;
  const int left_reach = p.extent[(base + last_row) * sides];
  block.template walk<true>(stick, farther, bound, last_row - left_reach);
  if (!p.causal) {
    const int right_reach = p.extent[(base + at.row) * sides + 1];
    stick[0] = start[0];
    stick[1] = start[1];
    block.template walk<false>(stick, right_total, bound, at.row + right_reach);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = at.row + 16 * warp + group + 8 * h;
    if (row >= at.length) continue;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      *reinterpret_cast<float2*>(p.grad_query + (base + row) * D + 8 * d + 2 * t) =
          make_float2(block.grad_query[d][2 * h], block.grad_query[d][2 * h + 1]);
    }
  }
  float* sums = reinterpret_cast<float*>(shared);
  float grad_decay = block.grad_decay;
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) grad_decay += __shfl_xor_sync(~0u, grad_decay, mask);
  if (lane == 0) sums[warp] = grad_decay;
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0;
    for (int w = 0; w < kThreads / 32; ++w) sum += sums[w];
    p.grad_decay[item_index] = sum;
  }
  __syncthreads();
}

template <typename T, int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(const BackwardArguments p, const Documents docs) {
  extern __shared__ __align__(128) uint8_t raw[];
  T* shared = reinterpret_cast<T*>(raw);
  if (p.slots == 0) {
    backward_block<T, D>(p, docs, shared, item_at(p.plan, blockIdx.x, p.blocks, p.causal), 0);
    return;
  }
  // Deterministic: this thread block alone adds to its slot of its head, always in the same order.
  const int slot = blockIdx.x % p.slots, head_index = blockIdx.x / p.slots;
  for (int64_t b = slot; b < p.blocks; b += p.slots)
    backward_block<T, D>(p, docs, shared, make_int2(static_cast<int>(b), head_index), slot);
}

}  // namespace

template <typename T, int D>
cudaError_t launch_backward_portable(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                const BackwardInputs& in, const Accumulators& acc, cudaStream_t stream) {
  constexpr int kShared = BackwardTile<T, D>::kShared;
  const BackwardArguments arguments{prepared.query,
                                    prepared.key,
                                    prepared.value,
                                    acc.grad_out,
                                    prepared.self_logit,
                                    p.decay,
                                    prepared.value_norm,
                                    acc.row_state,
                                    plan,
                                    in.extent,
                                    acc.query,
                                    acc.key,
                                    acc.value,
                                    acc.decay,
                                    p.seq,
                                    num_blocks(p),
                                    acc.matrix,
                                    p.heads,
                                    window_of(p),
                                    p.deterministic ? acc.slots : 0,
                                    p.causal,
                                    p.self_key,
                                    p.shared,
                                    p.skip_below};
  const auto kernel = backward_kernel<T, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared))
    return error;
  const int64_t grid = p.deterministic ? p.batch * p.heads * acc.slots : num_items(p);
  kernel<<<static_cast<unsigned>(grid), kThreads, kShared, stream>>>(arguments, documents_of(p));
  return cudaGetLastError();
}

int portable_backward_shared_bytes(int padded_head_dim) {
  switch (padded_head_dim) {
    case 32:
      return BackwardTile<__nv_bfloat16, 32>::kShared;
    case 64:
      return BackwardTile<__nv_bfloat16, 64>::kShared;
    default:
      return BackwardTile<__nv_bfloat16, 128>::kShared;
  }
}

#define RSE_INSTANTIATE(T, D)                                                                          \
  template cudaError_t launch_backward_portable<T, D>(const AttentionParams&, const Prepared&, const Plan&, \
                                                 const BackwardInputs&, const Accumulators&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(T) RSE_INSTANTIATE(T, 32) RSE_INSTANTIATE(T, 64) RSE_INSTANTIATE(T, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
