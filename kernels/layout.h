// How the kernels lay a problem into their workspace: padded head sizes, row blocks, and the arrays in order.
//
// Row blocks: kRows consecutive queries of one document. Block b of document d (from token begin) has number
// begin / kRows + d + b: known without a prefix sum, at the price of some empty numbers.
#pragma once

#include <cstdint>

#include "kernels/attention.h"

namespace rse::kernels {

constexpr int kKeys = 64;  // keys a tile

inline int64_t num_blocks(const AttentionParams& p) { return num_blocks(p.seq, p.documents); }
inline int64_t num_items(const AttentionParams& p) { return num_blocks(p) * p.batch * p.heads; }
inline int padded_head_dim(const AttentionParams& p) { return padded_head_dim(p.head_dim, p.path); }
// Rows of the prepared matrices: the Hopper path keeps whole row blocks, in tiles (hopper_tile.cuh).
inline int64_t prepared_rows(const AttentionParams& p) {
  return p.batch * p.heads * (p.path == Path::kHopper ? num_blocks(p) * kRows : p.seq);
}
// Whether the attention kernel itself rotates dQ back and converts it: pairs of columns meet in a thread.
inline bool finishes_query(const AttentionParams& p) {
  return p.path == Path::kHopper && padded_head_dim(p) == p.head_dim;
}
RSE_HOST_DEVICE inline int window_of(const AttentionParams& p) {  // INT32_MAX: none
  return p.window > 0 && p.window < INT32_MAX ? static_cast<int>(p.window) : INT32_MAX;
}
inline int element_bytes(Dtype dtype) { return dtype == Dtype::kFloat32 ? 4 : 2; }

// A bump allocator over the caller's workspace; with a null base it only counts.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  template <typename T>
  T* take(int64_t count) {
    const int64_t at = used_;
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
    return reinterpret_cast<T*>(base_ + at);
  }
  char* take_bytes(int64_t bytes) { return take<char>(bytes); }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

// Rows: [batch * heads, seq]; matrices: prepared_rows x padded head_dim.
struct Prepared {
  void *query, *key, *value;                     // dtype; query and key rotated, query times scale * log2(e)
  float* self_logit;                             // rows: x_ii times log2(e)
  uint32_t *query_norm, *key_norm, *value_norm;  // largest norms as bits: [items], [batch * heads] twice
  int64_t norms_bytes;

  Prepared(const AttentionParams& p, Arena& arena) {
    const int64_t matrix = prepared_rows(p) * padded_head_dim(p) * element_bytes(p.dtype);
    query = arena.take_bytes(matrix);
    key = arena.take_bytes(matrix);
    value = arena.take_bytes(matrix);
    self_logit = arena.take<float>(p.batch * p.heads * p.seq);
    norms_bytes = (num_items(p) + 2 * p.batch * p.heads) * 4;
    query_norm = arena.take<uint32_t>(norms_bytes / 4);
    key_norm = query_norm + num_items(p);
    value_norm = key_norm + p.batch * p.heads;
  }
};

// How far each row block looks, and which goes first: a head after another, so that what its blocks add to
// stays in the L2 cache; within a head the most work first; heads of most work first. All null where it is
// known beforehand: one document, no skipping.
struct Plan {
  int* reach = nullptr;        // [items]: keys a row of the block may need on one side
  int* bucket = nullptr;       // [items]: scratch of the sort
  int* block_order = nullptr;  // [items]: the blocks of each head
  float* work = nullptr;       // [batch * heads]: tiles
  int* head_order = nullptr;   // [batch * heads]
  Plan(const AttentionParams& p, Arena& arena) {
    if (p.cu_seqlens == nullptr && p.skip_below <= 0) return;
    reach = arena.take<int>(num_items(p));
    bucket = arena.take<int>(num_items(p));
    block_order = arena.take<int>(num_items(p));
    work = arena.take<float>(p.batch * p.heads);
    head_order = arena.take<int>(p.batch * p.heads);
  }
};

// What forward keeps for backward beside Prepared: the value sums of the keys before a query, and of both
// sides, prepared_rows() x padded head_dim in float32, tiled on the Hopper path (accumulator_offset).
struct Saved {
  float *left = nullptr, *both = nullptr;
  Saved() = default;
  Saved(const AttentionParams& p, Arena& arena) {
    const int64_t matrix = prepared_rows(p) * padded_head_dim(p);
    left = p.causal ? nullptr : arena.take<float>(matrix);
    both = arena.take<float>(matrix);
  }
};

// Buffers into which dK and dV are added. Deterministic: one for each of `slots` groups of row blocks, each
// walked in order by one thread block.
inline int gradient_slots(const AttentionParams& p, int multiprocessors) {
  if (!p.deterministic) return 1;
  const int64_t wanted = (2 * multiprocessors + p.batch * p.heads - 1) / (p.batch * p.heads);
  const int64_t most = wanted < 16 ? wanted : 16;
  return static_cast<int>(most < num_blocks(p) ? most : num_blocks(p));
}

struct Accumulators {
  void* grad_out;     // matrix of dtype
  float4* row_state;  // rows: {T left, T right, |grad_out|, largest |d rem|}
  float2* remainder;  // rows, float32: rem d rem of the left, the right
  uint32_t* own;      // rows, Hopper path: the own key's weight and dx, a pair of dtype
  // Rows x padded head_dim (null where finishes_query()), and matrices; key and value [slots], tiled on the
  // Hopper path (accumulator_offset).
  float *query, *key, *value;
  float* decay;  // [items]
  int slots;
  int64_t matrix;
  Accumulators(const AttentionParams& p, int multiprocessors, Arena& arena) {
    const int64_t rows = p.batch * p.heads * p.seq;
    matrix = prepared_rows(p) * padded_head_dim(p);
    slots = gradient_slots(p, multiprocessors);
    grad_out = arena.take_bytes(matrix * element_bytes(p.dtype));
    row_state = arena.take<float4>(rows);
    remainder = p.dtype == Dtype::kFloat32 ? arena.take<float2>(rows) : nullptr;
    own = p.path == Path::kHopper ? arena.take<uint32_t>(rows) : nullptr;
    query = finishes_query(p) ? nullptr : arena.take<float>(rows * padded_head_dim(p));
    key = arena.take<float>(2 * slots * matrix);
    value = key + slots * matrix;
    decay = arena.take<float>(num_items(p));
  }
};

}  // namespace rse::kernels
