// Backward attention on the tensor cores through mma.sync, for compute capability 8.0 and newer.
//
// A block of 128 queries walks its keys once more, near to far, with dQ in registers. The sum of the weighted
// gradients of a tile's keys and all beyond (farther_sum() in stick.cuh; src/ops/README.md section 3) starts
// from the side's total and loses each tile's on the way. The total was formed from the same rounded weights,
// so what is left of it beyond the last key is float32 rounding; it is held to what the stick still allows
// (stick times the largest possible gradient of a weight), so that this rounding dies with the stick. The
// whole block forms dK and dV of a tile and adds them in L2.
#include "kernels/passes.h"
#include "kernels/portable/tile.cuh"
#include "kernels/self_key.cuh"
#include "kernels/stick.cuh"

namespace rse::kernels {
namespace portable {
namespace {

// Adds two neighbouring floats to device memory.
__device__ inline void add2(float* to, float a, float b) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(a), "f"(b) : "memory");
#else
  atomicAdd(to, a);
  atomicAdd(to + 1, b);
#endif
}

// The offset of 16 bytes, eight neighbouring columns, of a 128 x 64 matrix of weights.
__device__ inline int weight_chunk(int row, int chunk) { return row * kKeys + (chunk ^ (row & 7)) * 8; }

template <typename Element, int D>
struct Block {
  using Tile = BackwardTile<D>;
  const BackwardArguments& arguments;
  Element* shared;             // shared memory
  const Element *key, *value;  // of the document's first row
  float *grad_key, *grad_value;
  RowBlock at;
  int warp_row;  // the warp's first row in the block
  Limits limits;
  float grad_scale;  // of logit gradients: logit_grad_scale() over kWeightScale
  float grad_decay = 0;
  float grad_query[D / 8][4] = {};
  // In shared memory, beside the stages.
  Element *query = shared + Tile::kQuery, *grad_out = shared + Tile::kGradOut;
  Element *weights = shared + Tile::kWeights, *logit_grads = shared + Tile::kLogitGrads;

  // The thread's first row in the block; its other row is 8 further.
  __device__ int thread_row() const { return warp_row + quad_of_warp(); }

  __device__ void rows_of(const Element* matrix, uint32_t (&a)[D / 16][4]) const {
    const int lane = threadIdx.x % 32, row = warp_row + lane % 16;
#pragma unroll
    for (int d = 0; d < D / 16; ++d)
      ldmatrix4(a[d], shared_address(matrix + row_chunk<D>(row, 2 * d + lane / 16)));
  }

  // bound: the most that a sum over farther keys may be for a stick of 1.
  template <bool kLeft>
  __device__ void tile(const Element* stage, float (&stick)[2], float (&farther)[2], const float (&bound)[2],
                       int first_key, bool masked) {
    float x[32], beta[32], run_front[2][4], front[2];
    bool uses_up = false;
    uint32_t packed[4][4];
    {
      uint32_t rows[D / 16][4];
      rows_of(query, rows);
      products<Element, D>(shared_address(stage), rows, x);
    }
    const auto place = [&](int h) {
      return RowPlace{at.row + thread_row() + 8 * h, first_key + 16 * quad_lane()};
    };
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const AccumulatorRow keys{h};
      decay_and_mask<kLeft>(keys, x, place(h), masked, limits);
      const float remaining =
          break_stick<kLeft, true, true, Reciprocal::kApproximate>(keys, x, run_front[h], beta);
      front[h] = stick_in_front<kLeft, QuadLanes>(remaining, stick[h]);
      uses_up = uses_up || may_use_up(front[h], remaining);
    }
    pack_weights<Element, kLeft>(x, run_front, front, packed);
    store(weights, packed);
    float(&grad)[32] = x;  // of the weights, then of the logits
    {
      uint32_t rows[D / 16][4];
      rows_of(grad_out, rows);
      products<Element, D>(shared_address(stage + Tile::kMatrix), rows, grad);
    }
    if (uses_up) snap_to_one(beta);
#pragma unroll
    for (int h = 0; h < 2; ++h)
      row_gradients<Element, kLeft>(h, grad, packed, beta, farther[h],
                                    most_farther<Element>(stick[h], bound[h]), place(h), grad_decay);
    pack_logit_gradients<Element>(grad, grad_scale, packed);
    store(logit_grads, packed);
    accumulate<Element, D>(shared_address(stage), packed, grad_query);
    __syncthreads();
    add_key_gradients(first_key);
  }

  __device__ void store(Element* to, const uint32_t (&packed)[4][4]) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<uint4*>(to + weight_chunk(thread_row() + 8 * h, 2 * quad_lane() + i)) = make_uint4(
            packed[2 * i][h], packed[2 * i][2 + h], packed[2 * i + 1][h], packed[2 * i + 1][2 + h]);
      }
    }
  }

  // dV += weights^T grad_out by warps 0 to 3, dK += logit gradients^T query by warps 4 to 7; 16 keys per
  // warp.
  __device__ void add_key_gradients(int first_key) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_key = 16 * (warp % 4);
    const Element* lhs = warp < 4 ? weights : logit_grads;
    const Element* rhs = warp < 4 ? grad_out : query;
    float sum[D / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kRows; k += 16) {
      uint32_t a[4];
      ldmatrix4_trans(a, shared_address(lhs + weight_chunk(k + lane % 8 + 8 * (lane / 16),
                                                           warp_key / 8 + (lane / 8) % 2)));
#pragma unroll
      for (int d = 0; d < D / 16; ++d) {
        uint32_t b[4];
        ldmatrix4_trans(b, shared_address(rhs + row_chunk<D>(k + lane % 16, 2 * d + lane / 16)));
        mma<Element>(sum[2 * d], a, b[0], b[1]);
        mma<Element>(sum[2 * d + 1], a, b[2], b[3]);
      }
    }
    float* to = warp < 4 ? grad_value : grad_key;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = first_key + warp_key + lane / 4 + 8 * h;
      if (row >= at.length) continue;
#pragma unroll
      for (int d = 0; d < D / 8; ++d)
        add2(to + static_cast<int64_t>(row) * D + 8 * d + 2 * (lane % 4), sum[d][2 * h], sum[d][2 * h + 1]);
    }
  }

  template <bool kLeft>
  __device__ void walk(float (&stick)[2], float (&farther)[2], const float (&bound)[2], int far_key) {
    const int last_row = min(at.row + kRows, at.length) - 1;
    const TileRange<kLeft> tiles(at.row, last_row, far_key);
    const auto load = [&](int i) {
      load_tile<Element, D>(shared + (i & 1) * Tile::kStage, key, value, tiles.first_key(i), at.length);
      cp_async_commit();
    };
    load(0);
    for (int i = 0; i < tiles.count; ++i) {
      cp_async_wait_all();
      __syncthreads();
      if (i + 1 < tiles.count) load(i + 1);
      const int first_key = tiles.first_key(i);
      tile<kLeft>(shared + (i & 1) * Tile::kStage, stick, farther, bound, first_key,
                  needs_mask<kLeft>(first_key, at.row, kRows, last_row, limits));
    }
    __syncthreads();
  }
};

// Starts to copy the block's rows of a matrix; rows past the document's end become zero.
template <typename Element, int D>
__device__ void load_rows(Element* to, const Element* from, const RowBlock& at) {
#pragma unroll
  for (int i = 0; i < kRows * (D / 8) / kThreads; ++i) {
    const int index = threadIdx.x + i * kThreads, row = index / (D / 8), chunk = index % (D / 8);
    const bool valid = at.row + row < at.length;
    cp_async16(shared_address(to + row_chunk<D>(row, chunk)),
               from + static_cast<int64_t>(valid ? at.row + row : 0) * D + chunk * 8, valid);
  }
}

template <typename Element, int D>
__device__ void backward_block(const BackwardArguments& arguments, const Documents& docs, Element* shared,
                               int2 item, int slot) {
  using Tile = BackwardTile<D>;
  const AttentionParams& p = arguments.params;
  const Prepared& prepared = arguments.prepared;
  const Accumulators& sums = arguments.sums;
  const int head_index = item.y;
  const int64_t item_index = head_index * arguments.blocks + item.x;
  const RowBlock at = row_block(docs, item.x);
  if (at.row >= at.length) {
    if (threadIdx.x == 0) sums.decay[item_index] = 0.f;
    return;
  }
  const int64_t base = head_index * p.seq + at.begin;
  Block<Element, D> block{arguments,
                          shared,
                          static_cast<const Element*>(prepared.key) + base * D,
                          static_cast<const Element*>(prepared.value) + base * D,
                          sums.key + slot * sums.matrix + base * D,
                          sums.value + slot * sums.matrix + base * D,
                          at,
                          kWarpRows * static_cast<int>(threadIdx.x / 32),
                          {decay_per_token(p.decay[head_index % p.heads]), arguments.window, at.length},
                          logit_grad_scale<Element>(prepared, sums, head_index) / kWeightScale<Element>};
  load_rows<Element, D>(block.query, static_cast<const Element*>(prepared.query) + base * D, at);
  load_rows<Element, D>(block.grad_out, static_cast<const Element*>(sums.grad_out) + base * D, at);
  const float value_norm = __uint_as_float(prepared.value_norm[head_index]);
  float start[2], stick[2], left_total[2], right_total[2], bound[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = at.row + block.thread_row() + 8 * h;
    const RowStart from = row < at.length ? row_start<Element>(p, prepared.self_logit[base + row],
                                                               sums.row_state[base + row], value_norm)
                                          : RowStart();
    stick[h] = start[h] = from.stick;
    left_total[h] = from.left_total;
    right_total[h] = from.right_total;
    bound[h] = from.bound;
  }
  const int sides = p.causal ? 1 : 2, last_row = min(at.row + kRows, at.length) - 1;
  const int* extent = arguments.inputs.extent + base * sides;
  block.template walk<true>(stick, left_total, bound, last_row - extent[last_row * int64_t{sides}]);
  if (!p.causal) {
    stick[0] = start[0];
    stick[1] = start[1];
    block.template walk<false>(stick, right_total, bound, at.row + extent[at.row * int64_t{sides} + 1]);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = at.row + block.thread_row() + 8 * h;
    if (row >= at.length) continue;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      *reinterpret_cast<float2*>(sums.query + (base + row) * D + 8 * d + 2 * quad_lane()) =
          make_float2(block.grad_query[d][2 * h], block.grad_query[d][2 * h + 1]);
    }
  }
  store_grad_decay<kThreads>(block.grad_decay / kWeightScale<Element>, reinterpret_cast<float*>(shared),
                             sums.decay + item_index);
}

template <typename Element, int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(const __grid_constant__ BackwardArguments arguments, const Documents docs) {
  extern __shared__ __align__(128) uint8_t raw[];
  Element* shared = reinterpret_cast<Element*>(raw);
  if (arguments.ordered_slots == 0) {
    const int2 item = item_at(arguments.plan, blockIdx.x, arguments.blocks, arguments.params.causal);
    backward_block<Element, D>(arguments, docs, shared, item, 0);
    return;
  }
  // Deterministic: this thread block alone adds to its slot of its head, always in the same order.
  const int slot = blockIdx.x % arguments.ordered_slots, head_index = blockIdx.x / arguments.ordered_slots;
  for (int64_t b = slot; b < arguments.blocks; b += arguments.ordered_slots)
    backward_block<Element, D>(arguments, docs, shared, make_int2(static_cast<int>(b), head_index), slot);
}

}  // namespace
}  // namespace portable

template <typename Element, int D>
cudaError_t launch_backward_portable(const BackwardArguments& arguments, cudaStream_t stream) {
  constexpr int kSharedBytes = portable::BackwardTile<D>::kSharedBytes;
  const auto kernel = portable::backward_kernel<Element, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes))
    return error;
  kernel<<<backward_grid(arguments), portable::kThreads, kSharedBytes, stream>>>(
      arguments, documents_of(arguments.params));
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(Element, D) \
  template cudaError_t launch_backward_portable<Element, D>(const BackwardArguments&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(Element) \
  RSE_INSTANTIATE(Element, 32) RSE_INSTANTIATE(Element, 64) RSE_INSTANTIATE(Element, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
