// Backward attention through wgmma: what a thread block does around its walks, and the launch.
#include "kernels/hopper/backward_block.cuh"
#include "kernels/passes.h"
#include "kernels/self_key.cuh"

namespace rse::kernels {
namespace hopper {
namespace {

// Stores dQ as it is. to: of the document's first token.
template <int D>
__device__ void store_query(float* to, const float (&grad_query)[D / kPanel][32], const RowBlock& at) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = at.row + threadIdx.x / 32 * kWarpRows + quad_of_warp() + 8 * h;
    if (row >= at.length) continue;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      const float* from = &grad_query[d / 8][4 * (d % 8) + 2 * h];
      *reinterpret_cast<float2*>(to + static_cast<int64_t>(row) * D + 8 * d + quad_lane() * 2) =
          make_float2(from[0], from[1]);
    }
  }
}

// Rotates dQ back, scales and converts it. A thread holds both columns, c and c + D / 2, of its pairs.
template <typename Element, int D>
__device__ void finish_query(const BackwardArguments& arguments, const float (&grad_query)[D / kPanel][32],
                             const RowBlock& at, int head_index, float scale) {
  constexpr int kHalf = D / 2, kPieces = kHalf / 8;
  const AttentionParams& p = arguments.params;
  const int first_row = at.row + threadIdx.x / 32 * kWarpRows + quad_of_warp();
  // All loads go before the first store, because this is bound by their latency and the compiler moves no
  // load over a store.
  float2 cos[2][kPieces], sin[2][kPieces];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t angle = int64_t{min(first_row + 8 * h, at.length - 1)} * kHalf + quad_lane() * 2;
#pragma unroll
    for (int d = 0; d < kPieces; ++d) {
      const auto load = [&](const float* table) {
        return __ldg(reinterpret_cast<const float2*>(table + angle + 8 * d));
      };
      cos[h][d] = p.cos == nullptr ? make_float2(1, 1) : load(p.cos);
      sin[h][d] = p.cos == nullptr ? make_float2(0, 0) : load(p.sin);
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first_row + 8 * h;
    if (row >= at.length) continue;
    const int64_t token = head_index / p.heads * p.seq + at.begin + row;
    Element* to = static_cast<Element*>(arguments.outputs.query) +
                  (token * p.heads + head_index % p.heads) * D + quad_lane() * 2;
#pragma unroll
    for (int d = 0; d < kPieces; ++d) {
      const float* low = &grad_query[d / 8][4 * (d % 8) + 2 * h];
      const float* high = &grad_query[(d + kPieces) / 8][4 * ((d + kPieces) % 8) + 2 * h];
      const float2 c = cos[h][d], s = sin[h][d];
      *reinterpret_cast<uint32_t*>(to + 8 * d) =
          pack<Element>(scale * fmaf(low[0], c.x, high[0] * s.x), scale * fmaf(low[1], c.y, high[1] * s.y));
      *reinterpret_cast<uint32_t*>(to + kHalf + 8 * d) =
          pack<Element>(scale * fmaf(high[0], c.x, -low[0] * s.x), scale * fmaf(high[1], c.y, -low[1] * s.y));
    }
  }
}

template <typename Element, int D>
__device__ void backward_block(const BackwardArguments& arguments, const Documents& docs, Element* shared,
                               int2 item, int slot, int& loads) {
  using Tile = BackwardTile<D>;
  const AttentionParams& p = arguments.params;
  const Prepared& prepared = arguments.prepared;
  const Accumulators& sums = arguments.sums;
  const int head_index = item.y;
  const int64_t item_index = head_index * arguments.blocks + item.x;
  RowBlock at = row_block(docs, item.x);
  at = {uniform(at.begin), uniform(at.length), uniform(at.row)};
  if (at.row >= at.length) {
    if (threadIdx.x == 0) sums.decay[item_index] = 0.f;
    return;
  }
  const int warp = threadIdx.x / 32;
  const int64_t base = head_index * p.seq + at.begin;
  const int64_t first_tile = (item_index - at.row / kRows) * 2, row_tile = first_tile + at.row / kKeys;
  BackwardBlock<Element, D> block{
      arguments,
      shared,
      shared_address(shared + Tile::kBarriers),
      static_cast<const Element*>(prepared.key) + first_tile * Tile::kMatrix,
      static_cast<const Element*>(prepared.value) + first_tile * Tile::kMatrix,
      (warp < 4 ? sums.value : sums.key) + slot * sums.matrix + first_tile * Tile::kMatrix,
      at,
      at.row + kWarpRows * warp,
      decay_per_token(p.decay[head_index % p.heads]),
      1.f,  // grad_scale, which is set below
      loads};
  const int sides = p.causal ? 1 : 2, last_row = min(at.row + kRows, at.length) - 1;
  // Under way while the extents come: the nearest tile, which every block has, and the block's own rows.
  const int* extent = arguments.inputs.extent;
  const int left_extent = extent[(base + last_row) * sides],
            right_extent = p.causal ? 0 : extent[(base + at.row) * sides + 1];
  if (threadIdx.x == 0) block.load_first(last_row / kKeys, row_tile);
  const float value_norm = __uint_as_float(prepared.value_norm[head_index]);
  const auto row_of = [&](int h) { return at.row + kWarpRows * warp + quad_of_warp() + 8 * h; };
  float logit[2];
  float4 state[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t row = base + min(row_of(h), at.length - 1);
    logit[h] = prepared.self_logit[row];
    state[h] = sums.row_state[row];
  }
  // Not before the loads above are under way, because it waits for its own.
  const float grad_scale = logit_grad_scale<Element>(prepared, sums, head_index);
  block.grad_scale = grad_scale / kWeightScale<Element>;
  if (threadIdx.x < kRows) {
    const float2 self = sums.self_key[base + min(at.row + static_cast<int>(threadIdx.x), at.length - 1)];
    reinterpret_cast<uint32_t*>(shared + Tile::kSelfKeys)[threadIdx.x] =
        pack<Element>(kWeightScale<Element> * self.x, grad_scale * self.y);
  }
  float start[2], stick[2], left_total[2], right_total[2], bound[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const RowStart from =
        row_of(h) < at.length ? row_start<Element>(p, logit[h], state[h], value_norm) : RowStart();
    stick[h] = start[h] = from.stick;
    left_total[h] = from.left_total;
    right_total[h] = from.right_total;
    bound[h] = from.bound;
  }
  const TileRange<true> left(at.row, last_row, last_row - uniform(left_extent));
  TileRange<false> right(at.row, last_row, at.row + uniform(right_extent));
  if (p.causal) right.count = 0;
  for (int n = 1; n < Tile::kStages - 1; ++n) block.load_nth(left, right, n);
  __syncthreads();
  int n = 0, previous_tile = -1;
  block.template walk<true>(left, right, stick, left_total, bound, n, previous_tile);
  if (!p.causal) {
    stick[0] = start[0];
    stick[1] = start[1];
    block.template walk<false>(left, right, stick, right_total, bound, n, previous_tile);
  }
  block.finish_walk(n, previous_tile);
  loads = block.loads;
  if (sums.query == nullptr) {
    const float scale = p.scale / (grad_scale * key_factor<Element>(prepared, head_index));
    finish_query<Element, D>(arguments, block.grad_query, at, head_index, scale);
  } else {
    store_query<D>(sums.query + base * D, block.grad_query, at);
  }
  if (threadIdx.x % kWarpgroup == 0) bulk_wait();
  store_grad_decay<kThreads>(block.grad_decay / kWeightScale<Element>,
                             reinterpret_cast<float*>(shared + Tile::kBuffers), sums.decay + item_index);
}

template <typename Element, int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(const __grid_constant__ BackwardArguments arguments, const Documents docs) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Tile = BackwardTile<D>;
  extern __shared__ __align__(1024) uint8_t raw[];
  Element* shared = reinterpret_cast<Element*>(raw);
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) barrier_init(shared_address(shared + Tile::kBarriers) + 8 * s, 1);
    fence_shared_writes();
  }
  __syncthreads();
  wait_for_previous_kernel();
  let_next_kernel_start();
  int loads = 0;
  if (arguments.ordered_slots == 0) {
    const int2 item = item_at(arguments.plan, blockIdx.x, arguments.blocks, arguments.params.causal);
    backward_block<Element, D>(arguments, docs, shared, item, 0, loads);
    return;
  }
  // Deterministic: this thread block alone adds to its slot of its head, always in the same order.
  const int slot = blockIdx.x % arguments.ordered_slots, head_index = blockIdx.x / arguments.ordered_slots;
  for (int64_t b = slot; b < arguments.blocks; b += arguments.ordered_slots)
    backward_block<Element, D>(arguments, docs, shared, make_int2(static_cast<int>(b), head_index), slot,
                               loads);
#endif  // No other architecture launches this: why_not_supported().
}

}  // namespace
}  // namespace hopper

template <typename Element, int D>
cudaError_t launch_backward_hopper(const BackwardArguments& arguments, cudaStream_t stream) {
  constexpr int kSharedBytes = hopper::BackwardTile<D>::kSharedBytes;
  const auto kernel = hopper::backward_kernel<Element, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes))
    return error;
  return launch_early(arguments.params.path, kernel, backward_grid(arguments), hopper::kThreads, kSharedBytes,
                      stream, arguments, documents_of(arguments.params));
}

#define RSE_INSTANTIATE(Element, D) \
  template cudaError_t launch_backward_hopper<Element, D>(const BackwardArguments&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(Element) RSE_INSTANTIATE(Element, 64) RSE_INSTANTIATE(Element, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
