// What device code of all passes and paths shares: the documents and row blocks of a problem, the order in
// which row blocks are taken, conversions between element types, and small wrappers of instructions (exp2,
// reciprocal, cp.async, programmatic dependent launch).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/layout.h"

namespace rse::kernels {

constexpr float kLog2E = 1.44269504088896340736f;  // the kernels keep logits and lambda in units of log2

// The documents of a problem, as every kernel gets them.
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
  int begin, length;  // the document's first token, and its number of tokens
  int row;            // the block's first row in the document; at or past `length` for an empty number
};

// The largest document d with first(d) <= at. first() never decreases.
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

// The row block with this number (layout.h says how they are numbered).
__device__ inline RowBlock row_block(const Documents& docs, int block) {
  const int d = last_not_after(docs.documents, block, [&](int i) { return docs.begin(i) / kRows + i; });
  const int begin = docs.begin(d);
  return {begin, docs.end(d) - begin, (block - begin / kRows - d) * kRows};
}

// {block, head} of the item (a row block of a head) that goes `index`-th.
__device__ inline int2 item_at(const Plan& plan, unsigned index, int64_t blocks, bool causal) {
  const unsigned per_head = static_cast<unsigned>(blocks), at = index % per_head, head = index / per_head;
  if (plan.head_order == nullptr) return make_int2(causal ? per_head - 1 - at : at, head);
  const int chosen = plan.head_order[head];
  return make_int2(plan.block_order[chosen * blocks + at], chosen);
}

// The number of keys that a row of the item may need on one side. window: INT32_MAX for no window.
__device__ inline int reach_of(const Plan& plan, int64_t item, int window) {
  return plan.reach == nullptr ? window - 1 : plan.reach[item];
}

// The document of a token. Empty documents hold no token.
__device__ inline int document_of(const Documents& docs, int token) {
  return last_not_after(docs.documents, token, [&](int i) { return docs.begin(i); });
}

template <typename Element>
__device__ inline float to_float(Element x) {
  return static_cast<float>(x);
}
template <typename Element>
__device__ inline Element from_float(float x) {
  if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    return __float2bfloat16(x);
  } else if constexpr (std::is_same_v<Element, __half>) {
    return __float2half(x);
  } else {
    return x;
  }
}

// Two 16-bit numbers in a register, `a` in the low half.
template <typename Element>
__device__ inline uint32_t pack(float a, float b) {
  if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    const __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&v);
  } else {
    const __half2 v = __floats2half2_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&v);
  }
}
template <typename Element>
__device__ inline float2 unpack(uint32_t pair) {
  if constexpr (std::is_same_v<Element, __nv_bfloat16>) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
  } else {
    return __half22float2(*reinterpret_cast<const __half2*>(&pair));
  }
}
// Saturates to the largest finite float16 where Element is __half. NaN stays NaN.
template <typename Element>
__device__ inline float finite(float x) {
  constexpr float kMost = 65504.f;
  if constexpr (!std::is_same_v<Element, __half>) return x;
  return x > kMost ? kMost : x < -kMost ? -kMost : x;
}

// Programmatic dependent launch (compute capability 9.0 and newer; nothing on older devices). What the
// kernels before wrote may be read after wait_for_previous_kernel(). let_next_kernel_start() lets the next
// launch occupy what is free.
__device__ inline void wait_for_previous_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void let_next_kernel_start() {
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
// Copies 16 bytes to shared memory; writes zeros where not `valid`.
__device__ inline void cp_async16(uint32_t to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ inline void cp_async_wait_all() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

// lambda in units of log2. It is clamped where its multiples would leave float32: nothing is left of a weight
// long before that. NaN stays NaN.
__device__ inline float decay_per_token(float decay) { return (decay > 1e30f ? 1e30f : decay) * kLog2E; }

}  // namespace rse::kernels
