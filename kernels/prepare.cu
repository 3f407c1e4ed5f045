// Element-wise passes around the attention kernels: rotation, padding and norms before them; the query's own
// key, rotation back and conversion after them. All bound by memory.
#include "kernels/device_common.cuh"
#include "kernels/passes.h"

namespace rse::kernels {
namespace {

// A row is shared by kGroup lanes; lane g holds columns 4g..4g+3 and half + 4g..half + 4g + 3 (half =
// head_dim / 2).
template <typename T, int D>
struct RowLanes {
  static constexpr int kGroup = D / 8, kRowsPerBlock = 256 / kGroup;
};

template <typename T, bool kVector>
__device__ inline void load4(const T* from, float (&x)[4]) {
  if constexpr (kVector && sizeof(T) == 2) {
    const uint2 raw = *reinterpret_cast<const uint2*>(from);
    const T* values = reinterpret_cast<const T*>(&raw);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = to_float(values[i]);
  } else if constexpr (kVector) {
    const float4 raw = *reinterpret_cast<const float4*>(from);
    x[0] = raw.x, x[1] = raw.y, x[2] = raw.z, x[3] = raw.w;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = to_float(from[i]);
  }
}

template <typename T>
__device__ inline void store4(T* to, const float (&x)[4]) {  // aligned to 4 elements
  if constexpr (sizeof(T) == 2) {
    T values[4] = {from_float<T>(x[0]), from_float<T>(x[1]), from_float<T>(x[2]), from_float<T>(x[3])};
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(values);
  } else {
    *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
  }
}

template <int kGroup>
__device__ inline float group_sum(float x) {
#pragma unroll
  for (int mask = kGroup / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(~0u, x, mask);
  return x;
}

struct RowIndex {
  int64_t batch, head_index, row;  // row in [batch * heads, seq]
  int head, token;
};

__device__ inline RowIndex row_index(int64_t linear, int heads, int64_t seq) {
  // Heads run fastest, then tokens: neighbours in memory are neighbours in a block.
  const int head = static_cast<int>(linear % heads);
  const int64_t rest = linear / heads, token = rest % seq, batch = rest / seq;
  return {batch, batch * heads + head, (batch * heads + head) * seq + token, head, static_cast<int>(token)};
}

template <typename T>
__device__ inline const T* at(const Strided& x, const RowIndex& i) {
  return static_cast<const T*>(x.data) + i.batch * x.batch + i.token * x.token + i.head * x.head;
}

// (x[i], y[i]) are pairs (d, d + half); sign -1 rotates back.
__device__ inline void rotate(float (&x)[4], float (&y)[4], const float* cos, const float* sin, float sign) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float c = cos[i], s = sign * sin[i], a = x[i], b = y[i];
    x[i] = a * c - b * s;
    y[i] = a * s + b * c;
  }
}

// Rotation and scale may take a finite number out of float16's range, and infinity times 0 is NaN.
template <typename T>
__device__ inline void saturate(float (&x)[4]) {
  if constexpr (std::is_same_v<T, __half>) {
    constexpr float kMost = 65504.f;
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = x[i] > kMost ? kMost : x[i] < -kMost ? -kMost : x[i];
  }
}

template <typename T, int D>
__device__ inline void store_row(T* row, int g, int head_dim, const float (&low)[4], const float (&high)[4]) {
  const int half = head_dim / 2;
  if (4 * g < half) {
    store4(row + 4 * g, low);
    store4(row + half + 4 * g, high);
  }
  const float zero[4] = {};
  for (int c = head_dim + 4 * g; c < D; c += D / 2) store4(row + c, zero);
}

template <typename T, int D, bool kVector>
__global__ void __launch_bounds__(256)
    prepare_forward(const AttentionParams p, const Documents docs, const Prepared out) {
  using Lanes = RowLanes<T, D>;
  const int64_t linear = int64_t(blockIdx.x) * Lanes::kRowsPerBlock + threadIdx.x / Lanes::kGroup;
  const bool valid = linear < p.batch * p.heads * p.seq;
  const int g = threadIdx.x % Lanes::kGroup, half = p.head_dim / 2;
  const bool mine = valid && 4 * g < half;
  const RowIndex i = row_index(valid ? linear : 0, p.heads, p.seq);
  float q[2][4] = {}, k[2][4] = {}, v[2][4] = {};
  int document = 0, position = 0;
  if (valid) {
    document = document_of(docs, i.token);
    position = i.token - docs.begin(document);
  }
  float self = 0, query_norm = 0, key_norm = 0, value_norm = 0;
  if (mine) {
    const T *query = at<T>(p.query, i) + 4 * g, *key = at<T>(p.key, i) + 4 * g,
            *value = at<T>(p.value, i) + 4 * g;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      load4<T, kVector>(query + h * half, q[h]);
      load4<T, kVector>(key + h * half, k[h]);
      load4<T, kVector>(value + h * half, v[h]);
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
      const int64_t angle = int64_t(position) * half + 4 * g;
      rotate(q[0], q[1], p.cos + angle, p.sin + angle, 1.f);
      rotate(k[0], k[1], p.cos + angle, p.sin + angle, 1.f);
    }
  }
  const float scale = p.scale * 1.44269504088896340736f;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    q[0][n] *= scale;
    q[1][n] *= scale;
  }
  self = group_sum<Lanes::kGroup>(self);
  query_norm = group_sum<Lanes::kGroup>(query_norm);
  key_norm = group_sum<Lanes::kGroup>(key_norm);
  value_norm = group_sum<Lanes::kGroup>(value_norm);
  if (!valid) return;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    saturate<T>(q[h]);
    saturate<T>(k[h]);
  }
  store_row<T, D>(static_cast<T*>(out.query) + i.row * D, g, p.head_dim, q[0], q[1]);
  store_row<T, D>(static_cast<T*>(out.key) + i.row * D, g, p.head_dim, k[0], k[1]);
  store_row<T, D>(static_cast<T*>(out.value) + i.row * D, g, p.head_dim, v[0], v[1]);
  if (g != 0) return;
  out.self_logit[i.row] = self * scale;
  // Norms are positive: their bits are ordered as they are. 1.01 covers rounding, that of bf16 copies
  // included.
  const auto most = [](uint32_t* to, float x) { atomicMax(to, __float_as_uint(1.01f * x)); };
  const int64_t block = docs.begin(document) / kRows + document + position / kRows;
  const int64_t blocks = docs.seq / kRows + docs.documents;
  most(out.query_norm + i.head_index * blocks + block, sqrtf(query_norm) * fabsf(scale));
  most(out.key_norm + i.head_index, sqrtf(key_norm));
  most(out.value_norm + i.head_index, sqrtf(value_norm));
}

// Copies grad_out, and what each row's T starts with: per side <grad_out, o_side> + rem drem (spec section
// 3).
template <typename T, int D, bool kVector>
__global__ void __launch_bounds__(256)
    prepare_backward(const AttentionParams p, const BackwardInputs in, const Prepared prepared,
                     const Saved saved, const Accumulators acc) {
  using Lanes = RowLanes<T, D>;
  const int64_t linear = int64_t(blockIdx.x) * Lanes::kRowsPerBlock + threadIdx.x / Lanes::kGroup;
  const bool valid = linear < p.batch * p.heads * p.seq;
  const int g = threadIdx.x % Lanes::kGroup, half = p.head_dim / 2;
  const RowIndex i = row_index(valid ? linear : 0, p.heads, p.seq);
  float d[2][4] = {}, both = 0, left = 0, norm = 0, own = 0;
  if (valid && 4 * g < half) {
    const T *grad = at<T>(in.grad_out, i) + 4 * g, *value = at<T>(p.value, i) + 4 * g;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float v[4], o[4], l[4] = {};
      load4<T, kVector>(grad + h * half, d[h]);
      load4<T, kVector>(value + h * half, v);
      load4<float, true>(saved.both + i.row * D + h * half + 4 * g, o);
      if (!p.causal) load4<float, true>(saved.left + i.row * D + h * half + 4 * g, l);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        norm = fmaf(d[h][n], d[h][n], norm);
        own = fmaf(d[h][n], v[n], own);
        both = fmaf(d[h][n], p.causal ? 0.f : o[n] - l[n], both);
        left = fmaf(d[h][n], p.causal ? o[n] : l[n], left);
      }
    }
  }
  norm = group_sum<Lanes::kGroup>(norm);
  own = group_sum<Lanes::kGroup>(own);
  float side[2] = {group_sum<Lanes::kGroup>(left), group_sum<Lanes::kGroup>(both)};
  if (!valid) return;
  store_row<T, D>(static_cast<T*>(acc.grad_out) + i.row * D, g, p.head_dim, d[0], d[1]);
  if (g != 0) return;
  const int sides = p.causal ? 1 : 2;
  float largest = 0;
  for (int s = 0; s < sides; ++s) {
    const float d_rem =
        (in.grad_rem == nullptr ? 0.f : in.grad_rem[i.row * sides + s]) + (p.remainder_self ? own : 0.f);
    side[s] = fmaf(in.rem[i.row * sides + s], d_rem, side[s]);
    largest = fmaxf(largest, fabsf(d_rem));
  }
  acc.row_state[i.row] = make_float4(side[0], side[1], 1.01f * sqrtf(norm), 1.01f * largest);
}

template <typename T, int D, bool kVector>
__global__ void __launch_bounds__(256)
    finish_backward(const AttentionParams p, const Documents docs, const BackwardInputs in,
                    const Prepared prepared, const Accumulators acc, const BackwardOutputs out) {
  using Lanes = RowLanes<T, D>;
  const int64_t linear = int64_t(blockIdx.x) * Lanes::kRowsPerBlock + threadIdx.x / Lanes::kGroup;
  const bool valid = linear < p.batch * p.heads * p.seq;
  const int g = threadIdx.x % Lanes::kGroup, half = p.head_dim / 2;
  const bool mine = valid && 4 * g < half;
  const RowIndex i = row_index(valid ? linear : 0, p.heads, p.seq);
  float d[2][4] = {}, q[2][4], k[2][4], v[2][4], own = 0;
  if (mine) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      load4<T, kVector>(at<T>(in.grad_out, i) + 4 * g + h * half, d[h]);
      load4<T, kVector>(at<T>(p.query, i) + 4 * g + h * half, q[h]);
      load4<T, kVector>(at<T>(p.key, i) + 4 * g + h * half, k[h]);
      load4<T, kVector>(at<T>(p.value, i) + 4 * g + h * half, v[h]);
#pragma unroll
      for (int n = 0; n < 4; ++n) own = fmaf(d[h][n], v[h][n], own);
    }
  }
  own = group_sum<Lanes::kGroup>(own);
  if (!mine) return;
  const OwnKey self = own_key(prepared.self_logit[i.row], p.self_key);
  const float4 state = acc.row_state[i.row];
  const float t = self.beta * own;
  const float dx = t - self.beta * (t + (p.shared ? state.x + (p.causal ? 0.f : state.y) : 0.f));
  float weight = self.beta;
  if (p.remainder_self) {
    for (int s = 0; s < (p.causal ? 1 : 2); ++s) weight += in.rem[i.row * (p.causal ? 1 : 2) + s];
  }
  float dq[2][4], dk[2][4] = {}, dv[2][4] = {};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t from = i.row * D + h * half + 4 * g;
    load4<float, true>(acc.query + from, dq[h]);
    for (int slot = 0; slot < acc.slots; ++slot) {
      float a[4], b[4];
      load4<float, true>(acc.key + slot * acc.matrix + from, a);
      load4<float, true>(acc.value + slot * acc.matrix + from, b);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        dk[h][n] += a[n];
        dv[h][n] += b[n];
      }
    }
  }
  if (p.cos != nullptr) {
    const int position = i.token - docs.begin(document_of(docs, i.token));
    const int64_t angle = int64_t(position) * half + 4 * g;
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

template <typename T>
bool vectors_fit(const Strided& x) {
  return reinterpret_cast<uintptr_t>(x.data) % (4 * sizeof(T)) == 0 && x.batch % 4 == 0 && x.token % 4 == 0 &&
         x.head % 4 == 0;
}

template <typename T, int D>
unsigned row_grid(const AttentionParams& p) {
  constexpr int kRowsPerBlock = RowLanes<T, D>::kRowsPerBlock;
  return static_cast<unsigned>((p.batch * p.heads * p.seq + kRowsPerBlock - 1) / kRowsPerBlock);
}

}  // namespace

template <typename T, int D>
cudaError_t launch_prepare_forward(const AttentionParams& p, const Prepared& prepared, cudaStream_t stream) {
  const Documents docs = documents_of(p);
  if (const cudaError_t error = cudaMemsetAsync(prepared.query_norm, 0, prepared.norms_bytes, stream))
    return error;
  if (vectors_fit<T>(p.query) && vectors_fit<T>(p.key) && vectors_fit<T>(p.value)) {
    prepare_forward<T, D, true><<<row_grid<T, D>(p), 256, 0, stream>>>(p, docs, prepared);
  } else {
    prepare_forward<T, D, false><<<row_grid<T, D>(p), 256, 0, stream>>>(p, docs, prepared);
  }
  return cudaGetLastError();
}

template <typename T, int D>
cudaError_t launch_prepare_backward(const AttentionParams& p, const BackwardInputs& in,
                                    const Prepared& prepared, const Saved& saved, const Accumulators& acc,
                                    cudaStream_t stream) {
  if (const cudaError_t error = cudaMemsetAsync(acc.key, 0, 2 * acc.slots * acc.matrix * 4, stream))
    return error;
  if (vectors_fit<T>(in.grad_out) && vectors_fit<T>(p.value)) {
    prepare_backward<T, D, true><<<row_grid<T, D>(p), 256, 0, stream>>>(p, in, prepared, saved, acc);
  } else {
    prepare_backward<T, D, false><<<row_grid<T, D>(p), 256, 0, stream>>>(p, in, prepared, saved, acc);
  }
  return cudaGetLastError();
}

template <typename T, int D>
cudaError_t launch_finish_backward(const AttentionParams& p, const BackwardInputs& in,
                                   const Prepared& prepared, const Accumulators& acc,
                                   const BackwardOutputs& out, cudaStream_t stream) {
  const Documents docs = documents_of(p);
  if (vectors_fit<T>(p.query) && vectors_fit<T>(p.key) && vectors_fit<T>(p.value) &&
      vectors_fit<T>(in.grad_out)) {
    finish_backward<T, D, true><<<row_grid<T, D>(p), 256, 0, stream>>>(p, docs, in, prepared, acc, out);
  } else {
    finish_backward<T, D, false><<<row_grid<T, D>(p), 256, 0, stream>>>(p, docs, in, prepared, acc, out);
  }
  sum_decay<<<p.heads, 256, 0, stream>>>(acc.decay, p.batch, p.heads, num_blocks(p), out.decay);
  return cudaGetLastError();
}

#define RSE_INSTANTIATE(T, D)                                                                               \
  template cudaError_t launch_prepare_forward<T, D>(const AttentionParams&, const Prepared&, cudaStream_t); \
  template cudaError_t launch_prepare_backward<T, D>(const AttentionParams&, const BackwardInputs&,         \
                                                     const Prepared&, const Saved&, const Accumulators&,    \
                                                     cudaStream_t);                                         \
  template cudaError_t launch_finish_backward<T, D>(const AttentionParams&, const BackwardInputs&,          \
                                                    const Prepared&, const Accumulators&,                   \
                                                    const BackwardOutputs&, cudaStream_t);
#define RSE_INSTANTIATE_TYPE(T) RSE_INSTANTIATE(T, 32) RSE_INSTANTIATE(T, 64) RSE_INSTANTIATE(T, 128)
RSE_INSTANTIATE_TYPE(__nv_bfloat16)
RSE_INSTANTIATE_TYPE(__half)

}  // namespace rse::kernels
