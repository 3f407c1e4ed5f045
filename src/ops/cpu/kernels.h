// The Torch-free interface between the CPU driver (attention_cpu.cpp) and the SIMD kernels, which are
// compiled once per instruction set from one templated source (kernels_impl.h).
//
// Vocabulary: a `block` is kBlock consecutive queries of one document and one head, a `tile` kBlock
// consecutive keys; both count from the document's start, so block b meets its own keys in tile b. A `stick`
// is what is left of one side's weight (src/ops/README.md section 1). SIMD lanes are the queries of a block,
// so a stick is broken by a plain loop over keys, nearest first, without work across lanes.
//
// Invariants: rows are packed with a stride that is a multiple of the vector width, zero beyond head_dim, and
// 64-byte aligned. `query` holds rotated queries times scale * log2(e), so that e^x is 2^score, and `decay`
// is lambda * log2(e). Memory: O(len) a head, nothing is len x len.
#pragma once

#include <cstdint>

namespace rse::ops::cpu {

inline constexpr int64_t kBlock = 64;

struct StickRules {
  bool causal;
  bool shared;  // mass = shared
  bool self_key;
  bool remainder_self;  // remainder = self
  int64_t window;       // 0: none
  double skip_below;    // 0: every pair is computed
  int64_t sides() const { return causal ? 1 : 2; }
};

// One document of one (batch, head).
template <typename T>
struct HeadView {
  const T* query;
  const T* key;
  const T* value;  // each [len, stride]
  int64_t len;
  int64_t head_dim;
  int64_t stride;
  T decay;
  // Per tile: the largest key norm in it and in all tiles before (after) it; read only if skip_below > 0.
  const T* key_norm_before;
  const T* key_norm_after;
};

// Row 0 of each output is the document's first query.
template <typename T>
struct ForwardOutput {
  T* out;  // [len, out_stride]
  int64_t out_stride;
  T* rem;           // [len, sides]
  int32_t* extent;  // [len, sides]: keys walked on the side
};

template <typename T>
struct BackwardInput {
  const T* out_grad;      // [len, stride]
  const T* rem_grad;      // [len, sides], or null for zero
  const int32_t* extent;  // [len, sides], from forward
};

template <typename T>
struct BackwardOutput {
  T* query_grad;  // [len, stride], written; may be the memory of HeadView::query. Lacks the factor `scale`
  T* key_grad;    // [len, stride], added to. Has the factor log2(e) of `query`
  T* value_grad;  // [len, stride], added to
  double* decay_grad;  // added to
};

template <typename T>
struct Kernels {
  // Elements of T per SIMD vector: row strides are multiples of it.
  int64_t lanes;
  // Scratch in elements of T, 64-byte aligned, for blocks that walk at most `tiles` tiles.
  int64_t (*forward_scratch)(int64_t head_dim);
  int64_t (*backward_scratch)(int64_t head_dim, int64_t tiles);
  // result = row turned by the angles behind cos and sin (null: not turned), sign = -1 backwards; times
  // factor.
  void (*turn_row)(const T* row, const T* cos, const T* sin, int64_t head_dim, T sign, T factor, T* result);
  void (*key_norms)(const T* key, int64_t len, int64_t head_dim, int64_t stride, T* before, T* after);
  void (*forward_block)(const HeadView<T>&, const StickRules&, const ForwardOutput<T>&, int64_t block,
                        T* scratch);
  void (*backward_block)(const HeadView<T>&, const StickRules&, const BackwardInput<T>&,
                         const BackwardOutput<T>&, int64_t block, T* scratch);
};

struct KernelSet {
  template <typename T>
  const Kernels<T>& of() const {
    if constexpr (sizeof(T) == 4) {
      return f32;
    } else {
      return f64;
    }
  }

  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;
};

extern const KernelSet kGenericKernels;
#if defined(__x86_64__)
extern const KernelSet kAvx2Kernels;
extern const KernelSet kAvx512Kernels;
#endif

// The best set that this processor can run, unless RSE_CPU_KERNEL names another (dispatch.cpp).
const KernelSet& kernel_set();

// Tiles that a block may have to visit: bounds the scratch of backward.
inline int64_t max_tiles(int64_t longest_document, int64_t window) {
  const int64_t all = (longest_document + kBlock - 1) / kBlock;
  if (window == 0) return all;
  const int64_t near = 2 * ((window + kBlock - 2) / kBlock + 1) + 1;
  return near < all ? near : all;
}

}  // namespace rse::ops::cpu
