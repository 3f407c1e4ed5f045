// How the kernels lay a problem into their workspace (padded head sizes, row blocks, the arrays in order),
// and the arguments that the attention kernels are launched with.
//
// A row block is kRows consecutive queries of one document; an item is a row block of one head of one batch
// row. Block b of document d, which begins at token `begin`, has number begin / kRows + d + b: no prefix sum
// is needed, at the price of some numbers that no block has.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/tile_size.h"

namespace rse::kernels {

inline int64_t num_blocks(const AttentionParams& p) { return num_blocks(p.seq, p.documents); }
inline int64_t num_items(const AttentionParams& p) { return num_blocks(p) * p.batch * p.heads; }
inline int padded_head_dim(const AttentionParams& p) { return padded_head_dim(p.head_dim, p.path); }
// Rows of the prepared matrices. The Hopper path keeps whole row blocks, in tiles (hopper/tiled_layout.h).
inline int64_t prepared_rows(const AttentionParams& p) {
  return p.batch * p.heads * (p.path == Path::kHopper ? num_blocks(p) * kRows : p.seq);
}
// Whether the attention kernel itself rotates dQ back and converts it. It can where no column is padding,
// because then both columns of a rotated pair are in one thread.
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
  template <typename Item>
  Item* take(int64_t count) {  // aligned to 256 bytes
    const int64_t at = used_;
    used_ += (count * static_cast<int64_t>(sizeof(Item)) + 255) / 256 * 256;
    return reinterpret_cast<Item*>(base_ + at);
  }
  char* take_bytes(int64_t bytes) { return take<char>(bytes); }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

// float16 only (float16_scales.cuh): the power of two that the key takes, as the query takes scale * log2(e)
// over it. It halves that number's exponent between the two, so that neither leaves the range of float16 where
// the logits are of ordinary size. With scales up to 1/3 it is at most 1/2, and no rotated key overflows.
inline float half_key_factor(const AttentionParams& p) {
  if (p.dtype != Dtype::kFloat16) return 1.f;
  const float scale = std::clamp(std::fabs(p.scale) * 1.442695f, 0x1p-24f, 0x1p24f);
  return std::exp2(std::floor(std::log2(scale) / 2 + 0.25f));
}

// What prepare_forward makes of query, key and value. "Rows" below are [batch * heads, seq], "matrices" are
// prepared_rows() x padded head_dim of the problem's dtype.
struct Prepared {
  void* query;                      // matrix: rotated, times scale * log2(e), over the head's key_factor()
  void *key, *value;                // matrices: key rotated, times the head's key_factor()
  float* self_logit;                // rows: x_ii times log2(e)
  uint32_t* query_norm;             // [items]: the largest norm of a prepared query, as the bits of a float
  uint32_t *key_norm, *value_norm;  // [batch * heads], likewise
  int64_t norms_bytes;              // of the three together
  float key_factor;                 // half_key_factor()
  bool fits_keys;                   // heads with large keys take a smaller one; key_norm is found beforehand

  Prepared(const AttentionParams& p, Arena& arena) : key_factor(half_key_factor(p)) {
    fits_keys = key_factor > 0.5f && p.dtype == Dtype::kFloat16;
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

// How far each row block looks, and in which order the items go: one head after another, so that what its
// blocks add to stays in the L2 cache; heads with the most work first, and within a head the blocks with the
// most work first. All pointers are null where reach and order are known beforehand: one document and no
// skipping.
struct Plan {
  int* reach = nullptr;        // [items]: the number of keys that a row of the block may need on one side
  int* bucket = nullptr;       // [items]: scratch of the sort
  int* block_order = nullptr;  // [items]: the blocks of each head in order
  float* work = nullptr;       // [batch * heads]: tiles that the head's blocks will visit
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

// What forward keeps for backward beside Prepared.
//
// bfloat16, float16: sums of weighted values per side, prepared_rows() x padded head_dim in float32. On the
// Hopper path they are tiled (accumulator_offset() in hopper/tiled_layout.h). The sides are kept apart, because
// one may be a million times the other.
//
// float32: where a stick is used up, from which backward starts (float32/backward.cu).
struct Saved {
  float* left = nullptr;      // over the keys before the query
  float* right = nullptr;     // over those after it; null where causal
  float2* used_up = nullptr;  // rows x sides: {stick in front of a tile, number of the tile as a float}
  Saved() = default;
  Saved(const AttentionParams& p, Arena& arena) {
    if (p.dtype == Dtype::kFloat32) {
      used_up = arena.take<float2>(p.batch * p.heads * p.seq * p.sides());
      return;
    }
    const int64_t matrix = prepared_rows(p) * padded_head_dim(p);
    left = arena.take<float>(matrix);
    right = p.causal ? nullptr : arena.take<float>(matrix);
  }
};

// The number of buffers into which dK and dV are added. Where backward is deterministic there is one per
// group of row blocks, and one thread block walks a group in order.
inline int gradient_slots(const AttentionParams& p, int multiprocessors) {
  if (!p.deterministic) return 1;
  const int64_t wanted = (2 * multiprocessors + p.batch * p.heads - 1) / (p.batch * p.heads);
  const int64_t most = wanted < 16 ? wanted : 16;
  return static_cast<int>(most < num_blocks(p) ? most : num_blocks(p));
}

// What backward works in. "Rows" and "matrices" are those of Prepared.
struct Accumulators {
  // A matrix of the problem's dtype.
  void* grad_out;
  // Per row {left side, right side, |grad_out|, largest |gradient of rem|}. Of the sides: the totals that walks
  // from near to far start with; in float32 rem times its gradient, which backward makes the totals.
  float4* row_state;
  // Per row, on the Hopper path only: the self key's weight and logit gradient.
  float2* self_key;
  // [batch * heads], float16 only: the largest |grad_out|, |gradient of rem| of a row, as the bits of floats.
  uint32_t *grad_norm, *rem_grad;
  // dQ: rows x padded head_dim; null where finishes_query().
  float* query;
  // dK and dV: [slots] float32 matrices each, tiled on the Hopper path (accumulator_offset()).
  float *key, *value;
  float* decay;    // [items]: d lambda
  int slots;       // gradient_slots()
  int64_t matrix;  // the number of elements in a matrix
  Accumulators(const AttentionParams& p, int multiprocessors, Arena& arena) {
    const int64_t rows = p.batch * p.heads * p.seq;
    matrix = prepared_rows(p) * padded_head_dim(p);
    slots = gradient_slots(p, multiprocessors);
    grad_out = arena.take_bytes(matrix * element_bytes(p.dtype));
    row_state = arena.take<float4>(rows);
    self_key = p.path == Path::kHopper ? arena.take<float2>(rows) : nullptr;
    grad_norm = p.dtype == Dtype::kFloat16 ? arena.take<uint32_t>(2 * p.batch * p.heads) : nullptr;
    rem_grad = grad_norm + (grad_norm == nullptr ? 0 : p.batch * p.heads);
    query = finishes_query(p) ? nullptr : arena.take<float>(rows * padded_head_dim(p));
    key = arena.take<float>(2 * slots * matrix);
    value = key + slots * matrix;
    decay = arena.take<float>(num_items(p));
  }
};

// The arguments of an attention kernel, beside the documents.
struct ForwardArguments {
  AttentionParams params;
  Prepared prepared;
  Plan plan;
  ForwardOutputs outputs;
  Saved saved;
  int64_t blocks;  // num_blocks()
  int window;      // window_of()

  ForwardArguments(const AttentionParams& p, const Prepared& prepared, const Plan& plan,
                   const ForwardOutputs& outputs, const Saved& saved)
      : params(p),
        prepared(prepared),
        plan(plan),
        outputs(outputs),
        saved(saved),
        blocks(num_blocks(p)),
        window(window_of(p)) {}
};

struct BackwardArguments {
  AttentionParams params;
  Prepared prepared;
  Plan plan;
  BackwardInputs inputs;
  Accumulators sums;
  BackwardOutputs outputs;
  int64_t blocks;         // num_blocks()
  int window;             // window_of()
  int ordered_slots;      // sums.slots where deterministic; 0 where row blocks come in any order
  const float2* used_up;  // Saved::used_up

  BackwardArguments(const AttentionParams& p, const Prepared& prepared, const Saved& saved, const Plan& plan,
                    const BackwardInputs& inputs, const Accumulators& sums, const BackwardOutputs& outputs)
      : params(p),
        prepared(prepared),
        plan(plan),
        inputs(inputs),
        sums(sums),
        outputs(outputs),
        blocks(num_blocks(p)),
        window(window_of(p)),
        ordered_slots(p.deterministic ? sums.slots : 0),
        used_up(saved.used_up) {}
};

}  // namespace rse::kernels
