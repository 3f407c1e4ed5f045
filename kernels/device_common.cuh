// What all attention kernels share on the device: which document a token or a row block belongs to,
// conversions, and the instructions of the portable path (compute capability 8.0: cp.async, ldmatrix,
// mma.sync).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/layout.h"

namespace rse::kernels {

constexpr float kLog2E = 1.44269504088896340736f;  // logits and lambda are kept in units of log2

struct Documents {
  const int* cu_seqlens;  // null: one document
  int documents, seq;
  __device__ int begin(int d) const { return cu_seqlens == nullptr ? 0 : cu_seqlens[d]; }
  __device__ int blocks() const { return static_cast<int>(num_blocks<int64_t>(seq, documents)); }
  __device__ int end(int d) const { return cu_seqlens == nullptr ? seq : cu_seqlens[d + 1]; }
};

inline Documents documents_of(const AttentionParams& p) {
  return {p.cu_seqlens, static_cast<int>(p.documents), static_cast<int>(p.seq)};
}

struct RowBlock {
  int begin, length, row;  // document's first token and length; the block's first row in it
};

// The largest document d with first(d) <= at; first never decreases.
template <typename First>
__device__ inline int last_not_after(int documents, int at, First first) {
  int low = 0, high = documents - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (first(middle) <= at) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

__device__ inline RowBlock row_block(const Documents& docs, int block) {
  const int d = last_not_after(docs.documents, block, [&](int i) { return docs.begin(i) / kRows + i; });
  const int begin = docs.begin(d);
  return {begin, docs.end(d) - begin, (block - begin / kRows - d) * kRows};
}

// {block, head} of the item that goes `index`-th.
__device__ inline int2 item_at(const Plan& plan, unsigned index, int64_t blocks, bool causal) {
  const unsigned per_head = static_cast<unsigned>(blocks), at = index % per_head, head = index / per_head;
  if (plan.head_order == nullptr) return make_int2(causal ? per_head - 1 - at : at, head);
  const int chosen = plan.head_order[head];
  return make_int2(plan.block_order[chosen * blocks + at], chosen);
}

// Keys that a row of the item may need on one side. window: INT32_MAX for none.
__device__ inline int reach_of(const Plan& plan, int64_t item, int window) {
  return plan.reach == nullptr ? window - 1 : plan.reach[item];
}

// The document of a token; empty documents hold none.
__device__ inline int document_of(const Documents& docs, int token) {
  return last_not_after(docs.documents, token, [&](int i) { return docs.begin(i); });
}

template <typename T>
__device__ inline float to_float(T x) {
  return static_cast<float>(x);
}
template <typename T>
__device__ inline T from_float(float x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16(x);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half(x);
  } else {
    return x;
  }
}

template <typename T>
__device__ inline uint32_t pack(float a, float b) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    const __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&v);
  } else {
    const __half2 v = __floats2half2_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&v);
  }
}
// Cut where T is __half to what that holds: infinity times 0 would be NaN. NaN stays.
template <typename T>
__device__ inline float finite(float x) {
  constexpr float kMost = 65504.f;
  if constexpr (!std::is_same_v<T, __half>) return x;
  return x > kMost ? kMost : x < -kMost ? -kMost : x;
}
template <typename T>
__device__ inline uint32_t pack_finite(float a, float b) {
  return pack<T>(finite<T>(a), finite<T>(b));
}

// Programmatic dependent launch (9.0 and newer, else nothing): what the kernels before wrote may be read
// after wait_for_before(); let_next_start() lets the next launch occupy what is free.
__device__ inline void wait_for_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float rcp_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ inline void cp_async16(uint32_t to, const void* from, bool valid) {  // not valid: zeros
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ inline void cp_async_wait_all() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

// lambda in units of log2; cut where its multiples would leave float32 (nothing is left of a weight long
// before). NaN stays.
__device__ inline float decay_per_token(float decay) { return (decay > 1e30f ? 1e30f : decay) * kLog2E; }

// The query's own key: beta_ii and what it leaves. Logits are cut at 2^60: neither overflows.
struct OwnKey {
  float beta, left;
};
__device__ inline OwnKey own_key(float logit, bool self_key) {
  const float e = self_key ? exp2f(fminf(logit, 60.f)) : 0.f;
  const float left = 1.f / (1.f + e);
  return {e * left, left};
}
__device__ inline float stick_start(const OwnKey& own, bool shared, bool causal) {
  return !shared ? 1.f : causal ? own.left : 0.5f * own.left;
}

// What backward knows of a row before its first key; all 0 beyond the document's last row.
struct RowStart {
  float stick = 0, left_total = 0, right_total = 0;  // T of each side: spec section 3
  float bound = 0;                                   // the most that |T| may be for a stick of 1
};
// p: the kernel's arguments; self_logit, state: of a row that there is.
template <typename Arguments>
__device__ inline RowStart row_start(const Arguments& p, float self_logit, const float4& state,
                                     float value_norm) {
  return {stick_start(own_key(self_logit, p.self_key), p.shared, p.causal), state.x, state.y,
          fmaxf(state.z * value_norm, state.w)};
}

// The own key's weight and the gradient of its logit. own: <grad_out, value>; total: T of both sides;
// remainder: what goes to the own key.
struct OwnGradient {
  float weight, dx;
};
__device__ inline OwnGradient own_gradient(const OwnKey& key, float own, bool shared, float total,
                                           float remainder) {
  const float t = key.beta * own;
  return {key.beta + remainder, t - key.beta * (t + (shared ? total : 0.f))};
}

}  // namespace rse::kernels
