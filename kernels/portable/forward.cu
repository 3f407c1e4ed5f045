// Forward attention on the tensor cores through mma.sync, compute capability 8.0 and newer.
//
// A block of 128 queries walks each side outward in tiles of 64 keys, two stages of cp.async deep; it stops
// at the reach that the plan gave it, or when every stick of the block is below skip_below.
#include "kernels/portable/tile.cuh"
#include "kernels/passes.h"

namespace rse::kernels {
namespace {

struct ForwardArguments {
  const void *query, *key, *value;
  const float *self_logit, *decay;
  Plan plan;
  Strided out;
  float *rem, *left, *both;
  int* extent;
  int64_t seq, blocks;
  int heads, head_dim, window;
  bool causal, self_key, shared, remainder_self;
  float skip_below;
};

struct Span {  // of keys that one side walked
  int first, end;
};

template <typename T, int D>
struct Block {
  const ForwardArguments& p;
  T* shared;
  const T *key, *value;
  RowBlock at;
  int row0, reach;
  float decay;
  uint32_t query[D / 16][4];
  float out[D / 8][4];

  template <bool kLeft>
  __device__ void tile(const T* stage, float (&stick)[2], int first, bool masked) {
    const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
    float x[2][16], front[2][4], before[2], unused[16];
    products<T, D>(shared_address(stage), query, x);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      decay_and_mask<kLeft>(x[h], {row0 + group + 8 * h, first + 16 * t}, decay, masked, p.window, at.length);
      before[h] = stick_before<kLeft>(break_sticks<kLeft, false>(x[h], front[h], unused), stick[h]);
    }
    uint32_t weights[4][4];
    pack_weights<T, kLeft>(x, front, before, weights);
    accumulate<T, D>(shared_address(stage + kKeys * D), weights, out);
  }

  template <bool kLeft>
  __device__ Span walk(float (&stick)[2]) {
    constexpr int kStage = 2 * kKeys * D;
    const int last_row = min(at.row + kRows, at.length) - 1;
    const int begin = (kLeft ? last_row : at.row) / kKeys;
    const int end =
        (kLeft ? max(0, at.row - reach) : min(at.length - 1, last_row + min(reach, at.length))) / kKeys;
    const int tiles = (kLeft ? begin - end : end - begin) + 1;
    const auto tile_at = [&](int i) { return (kLeft ? begin - i : begin + i) * kKeys; };
    load_tile<T, D>(shared, key, value, tile_at(0), at.length);
    cp_async_commit();
    int i = 0;
    for (; i < tiles; ++i) {
      const bool live = stick[0] >= p.skip_below || stick[1] >= p.skip_below;
      cp_async_wait_all();
      if (!__syncthreads_or(live)) break;
      if (i + 1 < tiles) {
        load_tile<T, D>(shared + ((i + 1) & 1) * kStage, key, value, tile_at(i + 1), at.length);
        cp_async_commit();
      }
      const int first = tile_at(i);
      const bool diagonal = first + kKeys > at.row && first < at.row + kRows;
      const bool border = (kLeft ? last_row - first : first + kKeys - 1 - at.row) >= p.window;
      tile<kLeft>(shared + (i & 1) * kStage, stick, first, diagonal || border || first + kKeys > at.length);
    }
    __syncthreads();
    if (i == 0) return {at.row, at.row};
    return kLeft ? Span{tile_at(i - 1), last_row + 1} : Span{at.row, min(at.length, tile_at(i - 1) + kKeys)};
  }
};

template <typename T, int D>
__global__ void __launch_bounds__(kThreads, D <= 64 ? 2 : 1)
    forward_kernel(const ForwardArguments p, const Documents docs) {
  extern __shared__ __align__(128) uint8_t raw[];
  const int2 item = item_at(p.plan, blockIdx.x, p.blocks, p.causal);
  const RowBlock at = row_block(docs, item.x);
  if (at.row >= at.length) return;
  const int head_index = item.y, head = head_index % p.heads;
  const int lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
  const int64_t base = head_index * p.seq + at.begin;
  Block<T, D> block{p,
                    reinterpret_cast<T*>(raw),
                    static_cast<const T*>(p.key) + base * D,
                    static_cast<const T*>(p.value) + base * D,
                    at,
                    at.row + 16 * static_cast<int>(threadIdx.x / 32),
                    reach_of(p.plan, head_index * p.blocks + item.x, p.window),
                    decay_per_token(p.decay[head]),
                    {},
                    {}};
  const T* query = static_cast<const T*>(p.query) + base * D;
#pragma unroll
  for (int d = 0; d < D / 16; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = block.row0 + group + 8 * (i & 1), column = 16 * d + 2 * t + 8 * (i >> 1);
      block.query[d][i] =
          row < at.length ? *reinterpret_cast<const uint32_t*>(query + static_cast<int64_t>(row) * D + column)
                          : 0u;
    }
  }
  float self[2], start[2], rem[2][2] = {};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = block.row0 + group + 8 * h;
    const OwnKey own = own_key(row < at.length ? p.self_logit[base + row] : 0.f, p.self_key);
    self[h] = own.beta;
    start[h] = row >= at.length ? 0.f : stick_start(own, p.shared, p.causal);
  }
  const auto save = [&](float* to) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = block.row0 + group + 8 * h;
      if (row >= at.length) continue;
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        *reinterpret_cast<float2*>(to + (base + row) * D + 8 * d + 2 * t) =
            make_float2(block.out[d][2 * h], block.out[d][2 * h + 1]);
      }
    }
  };
  float stick[2] = {start[0], start[1]};
  const Span left = block.template walk<true>(stick);
  Span right = {at.row, at.row};
  rem[0][0] = stick[0];
  rem[1][0] = stick[1];
  if (!p.causal) {
    if (p.left != nullptr) save(p.left);
    stick[0] = start[0];
    stick[1] = start[1];
    right = block.template walk<false>(stick);
    rem[0][1] = stick[0];
    rem[1][1] = stick[1];
  }
  if (p.both != nullptr) save(p.both);
  const int sides = p.causal ? 1 : 2;
  T* result = static_cast<T*>(p.out.data) + (head_index / p.heads) * p.out.batch + head * p.out.head;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = block.row0 + group + 8 * h;
    if (row >= at.length) continue;
    if (t == 0) {
      p.rem[(base + row) * sides] = rem[h][0];
      p.extent[(base + row) * sides] = max(0, row - left.first);
      if (!p.causal) {
        p.rem[(base + row) * sides + 1] = rem[h][1];
        p.extent[(base + row) * sides + 1] = max(0, right.end - 1 - row);
      }
    }
    const float own = self[h] + (p.remainder_self ? rem[h][0] + rem[h][1] : 0.f);
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      const int column = 8 * d + 2 * t;
      if (column >= p.head_dim) continue;
      const float2 v =
          unpack<T>(*reinterpret_cast<const uint32_t*>(block.value + static_cast<int64_t>(row) * D + column));
      T* to = result + (at.begin + row) * p.out.token + column;
      const uint32_t packed =
          pack<T>(fmaf(own, v.x, block.out[d][2 * h]), fmaf(own, v.y, block.out[d][2 * h + 1]));
      *reinterpret_cast<uint32_t*>(to) = packed;
    }
  }
}

}  // namespace

template <typename T, int D>
cudaError_t launch_forward_portable(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                               const ForwardOutputs& outputs, const Saved& saved, cudaStream_t stream) {
  constexpr int kShared = 4 * kKeys * D * static_cast<int>(sizeof(T));
  const ForwardArguments arguments{
      prepared.query, prepared.key,     prepared.value, prepared.self_logit, p.decay,        plan,
      outputs.out,    outputs.rem,      saved.left,     saved.both,          outputs.extent, p.seq,
      num_blocks(p),  p.heads,          p.head_dim,     window_of(p),        p.causal,       p.self_key,
      p.shared,       p.remainder_self, p.skip_below};
  const auto kernel = forward_kernel<T, D>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared))
    return error;
  kernel<<<static_cast<unsigned>(num_items(p)), kThreads, kShared, stream>>>(arguments, documents_of(p));
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(T, D)                                                                         \
  template cudaError_t launch_forward_portable<T, D>(const AttentionParams&, const Prepared&, const Plan&, \
                                                const ForwardOutputs&, const Saved&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(T) RSE_INSTANTIATE(T, 32) RSE_INSTANTIATE(T, 64) RSE_INSTANTIATE(T, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
