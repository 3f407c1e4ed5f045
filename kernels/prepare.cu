// Element-wise passes before the attention kernels: they rotate and pad, find norms, and form what backward
// starts from. All are bound by memory.
#include "kernels/passes.h"
#include "kernels/rows.cuh"
#include "kernels/self_key.cuh"

namespace rse::kernels {
namespace {

// Takes the largest of each of x over the thread block; thread 0 gets it.
template <int N>
__device__ inline void block_max(float (&x)[N]) {
  __shared__ float largest[kPassThreads / 32][N];
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) x[n] = fmaxf(x[n], __shfl_xor_sync(~0u, x[n], mask));
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32][n] = x[n];
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
#pragma unroll
  for (int warp = 1; warp < kPassThreads / 32; ++warp) {
#pragma unroll
    for (int n = 0; n < N; ++n) x[n] = fmaxf(x[n], largest[warp][n]);
  }
}

// Norms are positive, so their bits are ordered as they are. The factor 1.01 covers rounding, that of the
// 16-bit copies included.
__device__ inline void keep_largest(uint32_t* to, float x) { atomicMax(to, __float_as_uint(1.01f * x)); }

// Where column `column` of a prepared row lies. kPermuted: as rows lie in tiles of keys and values.
template <int D, bool kTiled, bool kPermuted>
__device__ inline int64_t prepared_at(const RowIndex& i, int column) {
  if constexpr (kTiled) {
    const int row = static_cast<int>(i.prepared % kKeys);
    return i.prepared / kKeys * (kKeys * D) +
           hopper::tile_offset<D>(kPermuted ? column_of_key(row) : row, column);
  } else {
    return i.prepared * D + column;
  }
}

// Stores what lane g holds of a row (RowLanes), and zeros in the columns beyond head_dim.
template <typename Element, int D, bool kTiled, bool kPermuted>
__device__ inline void store_row(void* matrix, const RowIndex& i, int g, int head_dim, const float (&low)[4],
                                 const float (&high)[4]) {
  Element* to = static_cast<Element*>(matrix);
  const int half = head_dim / 2;
  if (4 * g < half) {
    store4(to + prepared_at<D, kTiled, kPermuted>(i, 4 * g), low);
    store4(to + prepared_at<D, kTiled, kPermuted>(i, half + 4 * g), high);
  }
  const float zero[4] = {};
  for (int c = head_dim + 4 * g; c < D; c += D / 2)
    store4(to + prepared_at<D, kTiled, kPermuted>(i, c), zero);
}

// Finds key_norm before prepare_forward, where that depends on it (Prepared::fits_keys).
template <typename Element, int D, bool kVector, bool kTiled>
__global__ void __launch_bounds__(kPassThreads)
    find_key_norms(const AttentionParams p, const Documents docs, const Prepared out) {
  using Lanes = RowLanes<D>;
  const RowsOfBlock<kTiled> rows(p, docs, blockIdx.x);
  const int g = threadIdx.x % Lanes::kGroup, half = p.head_dim / 2;
  float most[1] = {};
  for (int row = threadIdx.x / Lanes::kGroup; row < kKeys; row += Lanes::kAtOnce) {
    const RowIndex i = rows.at(row);
    float norm = 0;
    if (i.valid && 4 * g < half) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float k[4];
        load4<Element, kVector>(at<Element>(p.key, i) + 4 * g + h * half, k);
#pragma unroll
        for (int n = 0; n < 4; ++n) norm = fmaf(k[n], k[n], norm);
      }
    }
    most[0] = fmaxf(most[0], group_sum<Lanes::kGroup>(norm));
  }
  block_max(most);
  if (threadIdx.x == 0) keep_largest(out.key_norm + rows.head_index(), sqrtf(most[0]));
}

// Fills Prepared.
template <typename Element, int D, bool kVector, bool kTiled>
__global__ void __launch_bounds__(kPassThreads)
    prepare_forward(const AttentionParams p, const Documents docs, const Prepared out) {
  // There is nothing to wait for: this kernel is launched after all before it have ended.
  let_next_kernel_start();
  using Lanes = RowLanes<D>;
  const RowsOfBlock<kTiled> rows(p, docs, blockIdx.x);
  const int g = threadIdx.x % Lanes::kGroup, half = p.head_dim / 2;
  const float scale = p.scale * kLog2E, key_scale = key_factor<Element>(out, rows.head_index());
  const float query_scale = scale / key_scale;  // key_scale is a power of two
  const int64_t blocks = docs.blocks();
  float most_query = 0, most_key = 0, most_value = 0;
  for (int row = threadIdx.x / Lanes::kGroup; row < kKeys; row += Lanes::kAtOnce) {
    const RowIndex i = rows.at(row);
    float q[2][4] = {}, k[2][4] = {}, v[2][4] = {};
    float self = 0, query_norm = 0, key_norm = 0, value_norm = 0;
    if (i.valid && 4 * g < half) {
      const Element *query = at<Element>(p.query, i) + 4 * g, *key = at<Element>(p.key, i) + 4 * g,
                    *value = at<Element>(p.value, i) + 4 * g;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        load4<Element, kVector>(query + h * half, q[h]);
        load4<Element, kVector>(key + h * half, k[h]);
        load4<Element, kVector>(value + h * half, v[h]);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          self = fmaf(q[h][n], k[h][n], self);
          query_norm = fmaf(q[h][n], q[h][n], query_norm);
          key_norm = fmaf(k[h][n], k[h][n], key_norm);
          value_norm = fmaf(v[h][n], v[h][n], value_norm);
        }
      }
      if (p.cos != nullptr) {
        const int64_t angle = int64_t(i.position) * half + 4 * g;
        rotate(q[0], q[1], p.cos + angle, p.sin + angle, 1.f);
        rotate(k[0], k[1], p.cos + angle, p.sin + angle, 1.f);
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      q[0][n] *= query_scale;
      q[1][n] *= query_scale;
      k[0][n] *= key_scale;
      k[1][n] *= key_scale;
    }
    self = group_sum<Lanes::kGroup>(self);
    query_norm = group_sum<Lanes::kGroup>(query_norm);
    most_key = fmaxf(most_key, group_sum<Lanes::kGroup>(key_norm));
    most_value = fmaxf(most_value, group_sum<Lanes::kGroup>(value_norm));
    most_query = fmaxf(most_query, query_norm);
    if (!i.inside) continue;
    saturate<Element>(q[0]);
    saturate<Element>(q[1]);
    store_row<Element, D, kTiled, false>(out.query, i, g, p.head_dim, q[0], q[1]);
    store_row<Element, D, kTiled, true>(out.key, i, g, p.head_dim, k[0], k[1]);
    store_row<Element, D, kTiled, true>(out.value, i, g, p.head_dim, v[0], v[1]);
    if (g != 0 || !i.valid) continue;
    out.self_logit[i.row] = self * scale;
    if constexpr (!kTiled) {
      const int64_t block = docs.begin(i.document) / kRows + i.document + i.position / kRows;
      keep_largest(out.query_norm + i.head_index * blocks + block, sqrtf(query_norm) * fabsf(scale));
    }
  }
  float most[3] = {most_query, most_key, most_value};
  block_max(most);
  if (threadIdx.x != 0) return;
  const RowIndex first = rows.at(0);
  if constexpr (kTiled) keep_largest(out.query_norm + first.prepared / kRows, sqrtf(most[0]) * fabsf(scale));
  keep_largest(out.key_norm + first.head_index, sqrtf(most[1]));
  keep_largest(out.value_norm + first.head_index, sqrtf(most[2]));
}

// Clears a row's share of dK and dV. In tiles that is any D floats of it.
template <int D>
__device__ inline void clear_sums(const Accumulators& acc, int64_t row) {
  constexpr int kGroup = RowLanes<D>::kGroup;
  const float zero[4] = {};
  for (int slot = 0; slot < 2 * acc.slots; ++slot) {  // dV's slots follow dK's
#pragma unroll
    for (int column = 0; column < D; column += 4 * kGroup)
      store4(acc.key + slot * acc.matrix + row * D + column + threadIdx.x % kGroup * 4, zero);
  }
}

// Clears dK and dV, copies grad_out, and forms what each row's walks start with (src/ops/README.md section 3):
// per side the remainder times its gradient and, but in float32, <grad_out, out of the side>.
template <typename Element, int D, bool kVector, bool kTiled>
__global__ void __launch_bounds__(kPassThreads)
    prepare_backward(const AttentionParams p, const Documents docs, const BackwardInputs in,
                     const float* self_logit, const Saved saved, const Accumulators acc) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  using Lanes = RowLanes<D>;
  const RowsOfBlock<kTiled> rows(p, docs, gridDim.x - 1 - blockIdx.x);
  const int g = threadIdx.x % Lanes::kGroup, half = p.head_dim / 2, sides = p.causal ? 1 : 2;
  float most[2] = {};  // |grad_out|, |gradient of rem|
  for (int row = threadIdx.x / Lanes::kGroup; row < kKeys; row += Lanes::kAtOnce) {
    const RowIndex i = rows.at(row);
    if (i.inside) clear_sums<D>(acc, i.prepared);
    float d[2][4] = {}, left = 0, right = 0, norm = 0, self_weight_grad = 0;
    if (i.valid && 4 * g < half) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int column = h * half + 4 * g;
        float v[4] = {}, l[4] = {}, r[4] = {};
        load4<Element, kVector>(at<Element>(in.grad_out, i) + column, d[h]);
        if (kTiled || p.remainder_self) load4<Element, kVector>(at<Element>(p.value, i) + column, v);
        if constexpr (sizeof(Element) == 2) {
          load_sum<D, kTiled>(saved.left, i, column, l);
          if (!p.causal) load_sum<D, kTiled>(saved.right, i, column, r);
        }
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          norm = fmaf(d[h][n], d[h][n], norm);
          self_weight_grad = fmaf(d[h][n], v[n], self_weight_grad);
          left = fmaf(d[h][n], l[n], left);
          right = fmaf(d[h][n], r[n], right);
        }
      }
    }
    norm = group_sum<Lanes::kGroup>(norm);
    self_weight_grad = group_sum<Lanes::kGroup>(self_weight_grad);
    left = group_sum<Lanes::kGroup>(left) / kWeightScale<Element>;
    right = group_sum<Lanes::kGroup>(right) / kWeightScale<Element>;
    if (!i.inside) continue;
    store_row<Element, D, kTiled, false>(acc.grad_out, i, g, p.head_dim, d[0], d[1]);
    if (g != 0 || !i.valid) continue;
    float side[2] = {left, right}, largest = 0;
    for (int s = 0; s < sides; ++s) {
      const float d_rem = (in.grad_rem == nullptr ? 0.f : in.grad_rem[i.row * sides + s]) +
                          (p.remainder_self ? self_weight_grad : 0.f);
      side[s] += in.rem[i.row * sides + s] * d_rem;
      largest = fmaxf(largest, fabsf(d_rem));
    }
    norm = 1.01f * sqrtf(norm);
    acc.row_state[i.row] = make_float4(side[0], side[1], norm, 1.01f * largest);
    most[0] = fmaxf(most[0], norm);
    most[1] = fmaxf(most[1], largest);
    if constexpr (kTiled) {
      const SelfKeyGradient grad =
          self_key_gradient(break_self_key(self_logit[i.row], p.self_key), self_weight_grad, p.shared,
                            side[0] + side[1], self_key_remainder(p, in, i.row));
      acc.self_key[i.row] = make_float2(grad.weight, grad.logit_grad);
    }
  }
  if constexpr (kIsHalf<Element>) {
    block_max(most);
    if (threadIdx.x != 0) return;
    keep_largest(acc.grad_norm + rows.head_index(), most[0]);
    keep_largest(acc.rem_grad + rows.head_index(), most[1]);
  }
}

}  // namespace

template <typename Element, int D>
cudaError_t launch_prepare_forward(const AttentionParams& p, const Prepared& prepared, cudaStream_t stream) {
  if (const cudaError_t error = cudaMemsetAsync(prepared.query_norm, 0, prepared.norms_bytes, stream))
    return error;
  const bool vector =
      vectors_fit<Element>(p.query) && vectors_fit<Element>(p.key) && vectors_fit<Element>(p.value);
  switch_layout<Element, D>(p, vector, [&](auto fit, auto tiled) {
    if (prepared.fits_keys)
      find_key_norms<Element, D, fit(), tiled()>
          <<<row_grid(p), kPassThreads, 0, stream>>>(p, documents_of(p), prepared);
    prepare_forward<Element, D, fit(), tiled()>
        <<<row_grid(p), kPassThreads, 0, stream>>>(p, documents_of(p), prepared);
  });
  return cudaGetLastError();
}

template <typename Element, int D>
cudaError_t launch_prepare_backward(const AttentionParams& p, const BackwardInputs& in,
                                    const Prepared& prepared, const Saved& saved, const Accumulators& acc,
                                    cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  if (acc.grad_norm != nullptr) {
    error = cudaMemsetAsync(acc.grad_norm, 0, 2 * p.batch * p.heads * sizeof(uint32_t), stream);
    if (error != cudaSuccess) return error;
  }
  switch_layout<Element, D>(
      p, vectors_fit<Element>(in.grad_out) && vectors_fit<Element>(p.value), [&](auto fit, auto tiled) {
        error = launch_early(p.path, prepare_backward<Element, D, fit(), tiled()>, row_grid(p), kPassThreads,
                             0, stream, p, documents_of(p), in, prepared.self_logit, saved, acc);
      });
  return error;
}

#define RSE_INSTANTIATE(Element, D)                                                                       \
  template cudaError_t launch_prepare_forward<Element, D>(const AttentionParams&, const Prepared&,        \
                                                          cudaStream_t);                                  \
  template cudaError_t launch_prepare_backward<Element, D>(const AttentionParams&, const BackwardInputs&, \
                                                           const Prepared&, const Saved&,                 \
                                                           const Accumulators&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(Element) \
  RSE_INSTANTIATE(Element, 32) RSE_INSTANTIATE(Element, 64) RSE_INSTANTIATE(Element, 128)
RSE_INSTANTIATE_TYPE(float)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
