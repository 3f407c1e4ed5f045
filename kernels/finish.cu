// Element-wise passes after backward: they add the self key's gradients (portable and float32 paths), rotate
// back and convert; and they sum d lambda.
#include "kernels/passes.h"
#include "kernels/rows.cuh"
#include "kernels/self_key.cuh"

namespace rse::kernels {
namespace {

// What a lane holds of a row's dQ, dK and dV as they were summed (RowLanes).
struct RowSums {
  float query[2][4] = {}, key[2][4] = {}, value[2][4] = {};
};

template <int D, bool kTiled>
__device__ void load_sums(const Accumulators& acc, const RowIndex& i, int low, int half, RowSums& to) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int column = low + h * half;
    if (acc.query != nullptr) load4<float, true>(acc.query + i.row * D + column, to.query[h]);
    load_sum<D, kTiled>(acc.key, i, column, to.key[h]);
    load_sum<D, kTiled>(acc.value, i, column, to.value[h]);
  }
}

// Adds what the other slots hold.
template <int D, bool kTiled>
__device__ void add_slots(const Accumulators& acc, const RowIndex& i, int low, int half, RowSums& to) {
  for (int slot = 1; slot < acc.slots; ++slot) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float key[4], value[4];
      load_sum<D, kTiled>(acc.key + slot * acc.matrix, i, low + h * half, key);
      load_sum<D, kTiled>(acc.value + slot * acc.matrix, i, low + h * half, value);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        to.key[h][n] += key[n];
        to.value[h][n] += value[n];
      }
    }
  }
}

// What the sums of a head are multiplied with: the powers of two of float16 come off, and scale and log2(e).
struct SumFactors {
  float query, key, value;
};
template <typename Element>
__device__ inline SumFactors sum_factors(const AttentionParams& p, const Prepared& prepared,
                                         const Accumulators& acc, int head_index) {
  const float logit_grad = 1.f / logit_grad_scale<Element>(prepared, acc, head_index);
  const float factor = key_factor<Element>(prepared, head_index);
  return {p.scale * (logit_grad / factor), logit_grad * factor / kLog2E, 1.f / kWeightScale<Element>};
}
__device__ inline void scale_sums(const SumFactors& by, RowSums& sums) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      sums.query[h][n] *= by.query;
      sums.key[h][n] *= by.key;
      sums.value[h][n] *= by.value;
    }
  }
}

// Rotates back, converts and stores.
template <typename Element>
__device__ void store_sums(const AttentionParams& p, const RowIndex& i, int low, bool with_query,
                           RowSums& sums, const BackwardOutputs& out) {
  const int half = p.head_dim / 2;
  if (p.cos != nullptr) {
    const int64_t angle = int64_t(i.position) * half + low;
    rotate(sums.query[0], sums.query[1], p.cos + angle, p.sin + angle, -1.f);
    rotate(sums.key[0], sums.key[1], p.cos + angle, p.sin + angle, -1.f);
  }
  const int64_t to = ((i.batch * p.seq + i.token) * p.heads + i.head) * p.head_dim + low;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (with_query) store4(static_cast<Element*>(out.query) + to + h * half, sums.query[h]);
    store4(static_cast<Element*>(out.key) + to + h * half, sums.key[h]);
    store4(static_cast<Element*>(out.value) + to + h * half, sums.value[h]);
  }
}

// Sums d lambda of a head over its row blocks, always in the same order. One thread block does it.
__device__ void sum_decay(const AttentionParams& p, const float* parts, int64_t blocks, int head,
                          float* out) {
  __shared__ double sums[kPassThreads];
  double sum = 0;
  for (int64_t n = threadIdx.x; n < p.batch * blocks; n += blockDim.x)
    sum += parts[(n / blocks * p.heads + head) * blocks + n % blocks];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kPassThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[head] = static_cast<float>(sums[0]);
}

// The thread blocks after those of the rows sum d lambda, one per head. Returns whether this was one of them.
__device__ inline bool sums_decay(const AttentionParams& p, const Documents& docs, const Accumulators& acc,
                                  const BackwardOutputs& out) {
  if (blockIdx.x + p.heads < gridDim.x) return false;
  sum_decay(p, acc.decay, docs.blocks(), blockIdx.x + p.heads - gridDim.x, out.decay);
  return true;
}

// The pass of the Hopper path, whose attention kernel has added the self key's gradients.
template <typename Element, int D>
__global__ void __launch_bounds__(kPassThreads)
    finish_tiled(const AttentionParams p, const Documents docs, const Prepared prepared,
                 const Accumulators acc, const BackwardOutputs out) {
  wait_for_previous_kernel();
  if (sums_decay(p, docs, acc, out)) return;
  using Lanes = RowLanes<D>;
  const RowsOfBlock<true> rows(p, docs, gridDim.x - p.heads - 1 - blockIdx.x);
  const SumFactors factors = sum_factors<Element>(p, prepared, acc, rows.head_index());
  const int low = threadIdx.x % Lanes::kGroup * 4, half = p.head_dim / 2;
  for (int row = threadIdx.x / Lanes::kGroup; row < kKeys; row += Lanes::kAtOnce) {
    const RowIndex i = rows.at(row);
    if (!i.valid || low >= half) continue;
    RowSums sums;
    load_sums<D, true>(acc, i, low, half, sums);
    add_slots<D, true>(acc, i, low, half, sums);
    scale_sums(factors, sums);
    store_sums<Element>(p, i, low, acc.query != nullptr, sums, out);
  }
}

template <typename Element, int D, bool kVector>
__global__ void __launch_bounds__(kPassThreads)
    finish_backward(const AttentionParams p, const Documents docs, const BackwardInputs in,
                    const Prepared prepared, const Accumulators acc, const BackwardOutputs out) {
  if (sums_decay(p, docs, acc, out)) return;
  using Lanes = RowLanes<D>;
  const RowsOfBlock<false> rows(p, docs, gridDim.x - p.heads - 1 - blockIdx.x);
  const SumFactors factors = sum_factors<Element>(p, prepared, acc, rows.head_index());
  const int low = threadIdx.x % Lanes::kGroup * 4, half = p.head_dim / 2;
  for (int row = threadIdx.x / Lanes::kGroup; row < kKeys; row += Lanes::kAtOnce) {
    const RowIndex i = rows.at(row);
    const bool mine = i.valid && low < half;
    // All loads go before the first use, because this pass is bound by their latency.
    RowSums sums;
    float d[2][4] = {}, q[2][4] = {}, k[2][4] = {}, v[2][4] = {}, weight_grad = 0;
    float4 state{};
    float logit = 0;
    if (mine) {
      state = acc.row_state[i.row];
      logit = prepared.self_logit[i.row];
      load_sums<D, false>(acc, i, low, half, sums);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int column = h * half + low;
        load4<Element, kVector>(at<Element>(in.grad_out, i) + column, d[h]);
        load4<Element, kVector>(at<Element>(p.query, i) + column, q[h]);
        load4<Element, kVector>(at<Element>(p.key, i) + column, k[h]);
        load4<Element, kVector>(at<Element>(p.value, i) + column, v[h]);
      }
#pragma unroll
      for (int n = 0; n < 8; ++n) weight_grad = fmaf(d[n / 4][n % 4], v[n / 4][n % 4], weight_grad);
      if (p.cos != nullptr) {  // the sums are still rotated
        const int64_t angle = int64_t(i.position) * half + low;
        rotate(q[0], q[1], p.cos + angle, p.sin + angle, 1.f);
        rotate(k[0], k[1], p.cos + angle, p.sin + angle, 1.f);
      }
    }
    weight_grad = group_sum<Lanes::kGroup>(weight_grad);
    if (!mine) continue;
    add_slots<D, false>(acc, i, low, half, sums);
    scale_sums(factors, sums);
    const SelfKeyGradient self = self_key_gradient(break_self_key(logit, p.self_key), weight_grad, p.shared,
                                                   state.x + state.y, self_key_remainder(p, in, i.row));
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        sums.query[h][n] = fmaf(p.scale * self.logit_grad, k[h][n], sums.query[h][n]);
        sums.key[h][n] = fmaf(p.scale * self.logit_grad, q[h][n], sums.key[h][n]);
        sums.value[h][n] = fmaf(self.weight, d[h][n], sums.value[h][n]);
      }
    }
    store_sums<Element>(p, i, low, /*with_query=*/true, sums, out);
  }
}

}  // namespace

template <typename Element, int D>
cudaError_t launch_finish_backward(const AttentionParams& p, const BackwardInputs& in,
                                   const Prepared& prepared, const Accumulators& acc,
                                   const BackwardOutputs& out, cudaStream_t stream) {
  const bool tiled = p.path == Path::kHopper;
  if constexpr (sizeof(Element) == 2 && D >= 64) {
    if (tiled)
      return launch_early(p.path, finish_tiled<Element, D>, row_grid(p) + p.heads, kPassThreads, 0, stream, p,
                          documents_of(p), prepared, acc, out);
  }
  const bool vector = vectors_fit<Element>(p.query) && vectors_fit<Element>(p.key) &&
                      vectors_fit<Element>(p.value) && vectors_fit<Element>(in.grad_out);
  if (!tiled) {
    const auto kernel = vector ? finish_backward<Element, D, true> : finish_backward<Element, D, false>;
    kernel<<<row_grid(p) + p.heads, kPassThreads, 0, stream>>>(p, documents_of(p), in, prepared, acc, out);
  }
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(Element, D)                                                                      \
  template cudaError_t launch_finish_backward<Element, D>(const AttentionParams&, const BackwardInputs&, \
                                                          const Prepared&, const Accumulators&,          \
                                                          const BackwardOutputs&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(Element) \
  RSE_INSTANTIATE(Element, 32) RSE_INSTANTIATE(Element, 64) RSE_INSTANTIATE(Element, 128)
RSE_INSTANTIATE_TYPE(float)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
