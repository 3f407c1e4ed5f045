// Element-wise passes after backward: the query's own key, rotation back, conversion; the sum of d lambda.
#include "kernels/passes.h"
#include "kernels/rows.cuh"

namespace rse::kernels {
namespace {

// Four columns of dK's or dV's sum.
template <int D, bool kTiled>
__device__ inline void load_sum(const float* sums, const RowIndex& i, int column, float (&x)[4]) {
  if constexpr (kTiled) {
    const float* from = sums + i.prepared / kKeys * (kKeys * D) + column / kPanel * (kKeys * kPanel) +
                        accumulator_offset(static_cast<int>(i.prepared % kKeys), column % kPanel);
    const float2 a = *reinterpret_cast<const float2*>(from), b = *reinterpret_cast<const float2*>(from + 4);
    x[0] = a.x, x[1] = a.y, x[2] = b.x, x[3] = b.y;
  } else {
    load4<float, true>(sums + i.row * D + column, x);
  }
}

template <typename T, int D, bool kVector, bool kTiled>
__global__ void __launch_bounds__(256)
    finish_backward(const AttentionParams p, const Documents docs, const BackwardInputs in,
                    const Prepared prepared, const Accumulators acc, const BackwardOutputs out) {
  using Lanes = RowLanes<D>;
  const RowsOfBlock<kTiled> rows(p, docs);
  const int g = threadIdx.x % Lanes::kGroup, half = p.head_dim / 2;
  for (int row = threadIdx.x / Lanes::kGroup; row < kKeys; row += Lanes::kAtOnce) {
    const RowIndex i = rows.at(row);
    const bool mine = i.valid && 4 * g < half;
    // All loads before the first use: this pass is bound by their latency.
    float d[2][4] = {}, q[2][4], k[2][4], v[2][4], dq[2][4], dk[2][4], dv[2][4], own = 0;
    float4 state{};
    float logit = 0;
    if (mine) {
      state = acc.row_state[i.row];
      logit = prepared.self_logit[i.row];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int column = h * half + 4 * g;
        load4<float, true>(acc.query + i.row * D + column, dq[h]);
        load_sum<D, kTiled>(acc.key, i, column, dk[h]);
        load_sum<D, kTiled>(acc.value, i, column, dv[h]);
        load4<T, kVector>(at<T>(in.grad_out, i) + column, d[h]);
        load4<T, kVector>(at<T>(p.query, i) + column, q[h]);
        load4<T, kVector>(at<T>(p.key, i) + column, k[h]);
        load4<T, kVector>(at<T>(p.value, i) + column, v[h]);
      }
#pragma unroll
      for (int n = 0; n < 8; ++n) own = fmaf(d[n / 4][n % 4], v[n / 4][n % 4], own);
    }
    own = group_sum<Lanes::kGroup>(own);
    if (!mine) continue;
    for (int slot = 1; slot < acc.slots; ++slot) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float a[4], b[4];
        load_sum<D, kTiled>(acc.key + slot * acc.matrix, i, h * half + 4 * g, a);
        load_sum<D, kTiled>(acc.value + slot * acc.matrix, i, h * half + 4 * g, b);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          dk[h][n] += a[n];
          dv[h][n] += b[n];
        }
      }
    }
    const OwnKey self = own_key(logit, p.self_key);
    const float t = self.beta * own;
    const float dx = t - self.beta * (t + (p.shared ? state.x + (p.causal ? 0.f : state.y) : 0.f));
    float weight = self.beta;
    if (p.remainder_self) {
      for (int s = 0; s < (p.causal ? 1 : 2); ++s) weight += in.rem[i.row * (p.causal ? 1 : 2) + s];
    }
    if (p.cos != nullptr) {
      const int64_t angle = int64_t(i.position) * half + 4 * g;
      rotate(dq[0], dq[1], p.cos + angle, p.sin + angle, -1.f);
      rotate(dk[0], dk[1], p.cos + angle, p.sin + angle, -1.f);
    }
    const int64_t to = ((i.batch * p.seq + i.token) * p.heads + i.head) * p.head_dim + 4 * g;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        // Rotation cancels in the own key's logit. The prepared query holds scale * log2(e).
        dq[h][n] = p.scale * fmaf(dx, k[h][n], dq[h][n]);
        dk[h][n] = fmaf(p.scale * dx, q[h][n], 0.693147180559945309417f * dk[h][n]);
        dv[h][n] = fmaf(weight, d[h][n], dv[h][n]);
      }
      store4(static_cast<T*>(out.query) + to + h * half, dq[h]);
      store4(static_cast<T*>(out.key) + to + h * half, dk[h]);
      store4(static_cast<T*>(out.value) + to + h * half, dv[h]);
    }
  }
}

// d lambda of a head: the row blocks' parts, always in the same order.
__global__ void sum_decay(const float* parts, int64_t batch, int heads, int64_t blocks, float* out) {
  __shared__ double sums[256];
  const int head = blockIdx.x;
  double sum = 0;
  for (int64_t n = threadIdx.x; n < batch * blocks; n += blockDim.x)
    sum += parts[(n / blocks * heads + head) * blocks + n % blocks];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[head] = static_cast<float>(sums[0]);
}

}  // namespace

template <typename T, int D>
cudaError_t launch_finish_backward(const AttentionParams& p, const BackwardInputs& in,
                                   const Prepared& prepared, const Accumulators& acc,
                                   const BackwardOutputs& out, cudaStream_t stream) {
  const bool vector = vectors_fit<T>(p.query) && vectors_fit<T>(p.key) && vectors_fit<T>(p.value) &&
                      vectors_fit<T>(in.grad_out);
  switch_layout<T, D>(p, vector, [&](auto fit, auto tiled) {
    finish_backward<T, D, fit(), tiled()>
        <<<row_grid(p), 256, 0, stream>>>(p, documents_of(p), in, prepared, acc, out);
  });
  sum_decay<<<p.heads, 256, 0, stream>>>(acc.decay, p.batch, p.heads, num_blocks(p), out.decay);
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(T, D)                                                                      \
  template cudaError_t launch_finish_backward<T, D>(const AttentionParams&, const BackwardInputs&, \
                                                    const Prepared&, const Accumulators&,          \
                                                    const BackwardOutputs&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(T) RSE_INSTANTIATE(T, 32) RSE_INSTANTIATE(T, 64) RSE_INSTANTIATE(T, 128)
RSE_INSTANTIATE_TYPE(float)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
