// Backward attention through wgmma: what a thread block does around its walks, and the launch.
#include "kernels/hopper/backward_block.cuh"
#include "kernels/passes.h"

namespace rse::kernels {
namespace {

// dQ as it is; to: of the document's first token.
template <int D>
__device__ void store_query(float* to, const float (&grad_query)[D / kPanel][32], const RowBlock& at) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = at.row + threadIdx.x / 32 * 16 + lane / 4 + 8 * h;
    if (row >= at.length) continue;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      const float* from = &grad_query[d / 8][4 * (d % 8) + 2 * h];
      *reinterpret_cast<float2*>(to + static_cast<int64_t>(row) * D + 8 * d + lane % 4 * 2) =
          make_float2(from[0], from[1]);
    }
  }
}

// dQ rotated back, scaled and converted. A thread holds both columns, c and c + D / 2, of its pairs.
template <typename T, int D>
__device__ void finish_query(const BackwardHopperArguments& p, const float (&grad_query)[D / kPanel][32],
                             const RowBlock& at, int head_index) {
  constexpr int kHalf = D / 2, kPieces = kHalf / 8;
  const int lane = threadIdx.x % 32, first_row = at.row + threadIdx.x / 32 * 16 + lane / 4;
  // All loads before the first store, which the compiler would not pass: this is bound by their latency.
  float2 cos[2][kPieces], sin[2][kPieces];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t angle = int64_t{min(first_row + 8 * h, at.length - 1)} * kHalf + lane % 4 * 2;
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
    T* to = static_cast<T*>(p.query_out) + (token * p.heads + head_index % p.heads) * D + lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < kPieces; ++d) {
      const float* low = &grad_query[d / 8][4 * (d % 8) + 2 * h];
      const float* high = &grad_query[(d + kPieces) / 8][4 * ((d + kPieces) % 8) + 2 * h];
      const float2 c = cos[h][d], s = sin[h][d];
      *reinterpret_cast<uint32_t*>(to + 8 * d) = pack_finite<T>(p.scale * fmaf(low[0], c.x, high[0] * s.x),
                                                                p.scale * fmaf(low[1], c.y, high[1] * s.y));
      *reinterpret_cast<uint32_t*>(to + kHalf + 8 * d) = pack_finite<T>(
          p.scale * fmaf(high[0], c.x, -low[0] * s.x), p.scale * fmaf(high[1], c.y, -low[1] * s.y));
    }
  }
}

template <typename T, int D>
__device__ void backward_block(const BackwardHopperArguments& p, const Documents& docs, T* shared, int2 item,
                               int slot, int& loads) {
  using Tile = BackwardHopperTile<D>;
  const int head_index = item.y;
  const int64_t item_index = head_index * p.blocks + item.x;
  RowBlock at = row_block(docs, item.x);
  at = {uniform(at.begin), uniform(at.length), uniform(at.row)};
  if (at.row >= at.length) {
    if (threadIdx.x == 0) p.grad_decay[item_index] = 0.f;
    return;
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4;
  const int64_t base = head_index * p.seq + at.begin;
  const int64_t first_tile = (head_index * p.blocks + item.x - at.row / kRows) * 2,
                row_tile = first_tile + at.row / kKeys;
  BackwardHopperBlock<T, D> block{
      p,
      shared,
      shared_address(shared + Tile::kBarriers),
      static_cast<const T*>(p.key) + first_tile * Tile::kMatrix,
      static_cast<const T*>(p.value) + first_tile * Tile::kMatrix,
      (warp < 4 ? p.grad_value : p.grad_key) + slot * p.slot_stride + first_tile * Tile::kMatrix,
      at,
      at.row + 16 * warp,
      decay_per_token(p.decay[head_index % p.heads]),
      0.f,
      loads,
      {}};
  const int sides = p.causal ? 1 : 2, last_row = min(at.row + kRows, at.length) - 1;
  // Under way while the extents come: the nearest tile, which every block has, and its own rows.
  const int left_extent = p.extent[(base + last_row) * sides],
            right_extent = p.causal ? 0 : p.extent[(base + at.row) * sides + 1];
  if (threadIdx.x == 0) block.load_first(last_row / kKeys, row_tile);
  const float value_norm = __uint_as_float(p.value_norm[head_index]);
  const auto row_of = [&](int h) { return at.row + 16 * warp + group + 8 * h; };
  float logit[2];
  float4 state[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t row = base + min(row_of(h), at.length - 1);
    logit[h] = p.self_logit[row];
    state[h] = p.row_state[row];
  }
  if (threadIdx.x < kRows)
    reinterpret_cast<uint32_t*>(shared + Tile::kOwnKeys)[threadIdx.x] =
        p.own[base + min(at.row + static_cast<int>(threadIdx.x), at.length - 1)];
  float start[2], stick[2], left_total[2], bound[2], right_total[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const RowStart from = row_of(h) < at.length ? row_start(p, logit[h], state[h], value_norm) : RowStart();
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
  int n = 0, before = -1;
  block.template walk<true>(left, right, stick, left_total, bound, n, before);
  if (!p.causal) {
    stick[0] = start[0];
    stick[1] = start[1];
    block.template walk<false>(left, right, stick, right_total, bound, n, before);
  }
  block.finish_walk(n, before);
  loads = block.loads;
  if (p.grad_query == nullptr) {
    finish_query<T, D>(p, block.grad_query, at, head_index);
  } else {
    store_query<D>(p.grad_query + base * D, block.grad_query, at);
  }
  float* sums = reinterpret_cast<float*>(shared + Tile::kBuffers);
  float grad_decay = block.grad_decay;
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) grad_decay += __shfl_xor_sync(~0u, grad_decay, mask);
  if (lane == 0) sums[warp] = grad_decay;
  if (threadIdx.x % 128 == 0) bulk_wait();
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
    backward_kernel(const __grid_constant__ BackwardHopperArguments p, const Documents docs) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Tile = BackwardHopperTile<D>;
  extern __shared__ __align__(1024) uint8_t raw[];
  T* shared = reinterpret_cast<T*>(raw);
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) barrier_init(shared_address(shared + Tile::kBarriers) + 8 * s, 1);
    fence_shared_writes();
  }
  __syncthreads();
  wait_for_before();
  let_next_start();
  int loads = 0;
  if (p.slots == 0) {
    const int2 item = item_at(p.plan, blockIdx.x, p.blocks, p.causal);
    backward_block<T, D>(p, docs, shared, item, 0, loads);
    return;
  }
  // Deterministic: this thread block alone adds to its slot of its head, always in the same order.
  const int slot = blockIdx.x % p.slots, head_index = blockIdx.x / p.slots;
  for (int64_t b = slot; b < p.blocks; b += p.slots)
    backward_block<T, D>(p, docs, shared, make_int2(static_cast<int>(b), head_index), slot, loads);
#endif  // other architectures are not launched: why_not_supported()
}

}  // namespace

template <typename T, int D>
cudaError_t launch_backward_hopper(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                                   const BackwardInputs& in, const Accumulators& acc,
                                   const BackwardOutputs& out, cudaStream_t stream) {
  constexpr int kShared = BackwardHopperTile<D>::kShared;
  const BackwardHopperArguments arguments{prepared.query,
                                          prepared.key,
                                          prepared.value,
                                          acc.grad_out,
                                          prepared.self_logit,
                                          p.decay,
                                          prepared.value_norm,
                                          acc.row_state,
                                          plan,
                                          in.extent,
                                          acc.own,
                                          acc.query,
                                          out.query,
                                          p.cos,
                                          p.sin,
                                          acc.key,
                                          acc.value,
                                          acc.decay,
                                          p.seq,
                                          num_blocks(p),
                                          acc.matrix,
                                          p.heads,
                                          window_of(p),
                                          p.deterministic ? acc.slots : 0,
                                          p.scale,
                                          p.causal,
                                          p.self_key,
                                          p.shared};
  const auto kernel = backward_kernel<T, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared))
    return error;
  const int64_t grid = p.deterministic ? p.batch * p.heads * acc.slots : num_items(p);
  return launch_early(p.path, kernel, static_cast<unsigned>(grid), kThreads, kShared, stream, arguments,
                      documents_of(p));
}

#define RSE_INSTANTIATE(T, D)                                                                             \
  template cudaError_t launch_backward_hopper<T, D>(const AttentionParams&, const Prepared&, const Plan&, \
                                                    const BackwardInputs&, const Accumulators&,           \
                                                    const BackwardOutputs&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(T) RSE_INSTANTIATE(T, 64) RSE_INSTANTIATE(T, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
