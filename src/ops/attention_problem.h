// A checked attention call in the one shape that every backend takes, and the backends' entry points.
//
// Invariants: options.window is at most seq.
// Order of calls: make_problem() (all argument checks) -> forward_* -> (autograd) -> backward_*.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "ops/attention.h"

// Marks what the layers above call beside attention.h; librse_ops.so exports it (exports.map).
#define RSE_OPS_EXPORT [[gnu::visibility("default")]]

namespace rse::ops {

struct AttentionProblem {
  // [batch, seq, heads, head_dim], strided, unit stride in head_dim. Packed documents: batch is 1.
  torch::Tensor query, key, value;
  torch::Tensor decay;  // [heads], float32 or float64, contiguous
  // Borders of the documents along seq, the same in every batch row: {0, seq} without cu_seqlens. Host
  // memory.
  std::vector<int64_t> borders;
  bool packed = false;       // the caller gave cu_seqlens: outputs lose the batch axis
  torch::Tensor cu_seqlens;  // where packed: the same borders, int32, on the tensors' device, contiguous
  double scale = 0;
  AttentionOptions options;

  int64_t batch() const { return query.size(0); }
  int64_t seq() const { return query.size(1); }
  int64_t heads() const { return query.size(2); }
  int64_t head_dim() const { return query.size(3); }
  int64_t sides() const { return options.causal ? 1 : 2; }
  int64_t longest_document() const {
    int64_t longest = 0;
    for (size_t n = 0; n + 1 < borders.size(); ++n) longest = std::max(longest, borders[n + 1] - borders[n]);
    return longest;
  }
};

struct ForwardResult {
  torch::Tensor out;  // [batch, seq, heads, head_dim], dtype of query
  torch::Tensor rem;  // [batch, heads, seq, sides], float32 or float64
  // int32 [batch, heads, seq, sides]: how many keys of the side the row walked before the rest was skipped.
  // Rows of one block share the farthest key. Backward walks the same.
  torch::Tensor extent;
  torch::Tensor saved;  // what else backward_cuda needs, float32 (backend.h); undefined for the others
};

struct Gradients {
  torch::Tensor query, key, value;  // shape and dtype of the inputs, contiguous
  torch::Tensor decay;              // [heads]
};

// The SIMD kernels for the CPU, parallel over blocks of queries. CPU tensors only. The results are the same
// bits for any number of threads.
ForwardResult forward_cpu(const AttentionProblem& problem);
// saved: what forward_cpu returned (out and rem contiguous). grad_out as out, contiguous; grad_rem as rem,
// contiguous, or undefined for zero.
Gradients backward_cpu(const AttentionProblem& problem, const ForwardResult& saved,
                       const torch::Tensor& grad_out, const torch::Tensor& grad_rem);
// "avx512", "avx2" or "generic": the instruction set in use.
const char* cpu_instruction_set();

// Composed from LibTorch operators in chunks of queries, on any device, with the same arguments. It computes
// in float32, or in float64 for float64 inputs, never in TF32, and rounding is its only approximation: every
// pair inside the window is computed whatever skip_below says (src/ops/README.md section 5 allows skipping
// and does not require it). It uses no atomics, so that it is always deterministic.
ForwardResult forward_reference(const AttentionProblem& problem);
Gradients backward_reference(const AttentionProblem& problem, const ForwardResult& saved,
                             const torch::Tensor& grad_out, const torch::Tensor& grad_rem);

// The CUDA kernels of problem.options.backend (kPortable or kHopper), launched on the current stream. Strides
// may be any with unit stride in head_dim. save: backward will follow. UserError where the kernels do not
// take the problem.
ForwardResult forward_cuda(const AttentionProblem& problem, bool save);
// saved: what forward_cuda returned with save, all contiguous. Deterministic where the options ask for it.
Gradients backward_cuda(const AttentionProblem& problem, const ForwardResult& saved,
                        const torch::Tensor& grad_out, const torch::Tensor& grad_rem);
// Null where forward_cuda takes such inputs with `backend` (kPortable or kHopper); otherwise a sentence that
// says what it takes.
RSE_OPS_EXPORT const char* why_not_kernels(Backend backend, const torch::Device& device,
                                           torch::ScalarType dtype, int64_t head_dim);
// ForwardResult::saved for problem.options.backend, with undefined values.
torch::Tensor empty_saved(const AttentionProblem& problem, bool save);

// cos and sin of position * base^(-2d/head_dim), each [positions, head_dim / 2], computed in float64 and
// rounded to `dtype`. They are cached per (base, head_dim, dtype, device) and grow to the longest sequence
// seen.
// The angle is that of src/ops/README.md section 1.
RSE_OPS_EXPORT std::pair<torch::Tensor, torch::Tensor> rotary_tables(int64_t positions, int64_t head_dim,
                                                                     double base, torch::ScalarType dtype,
                                                                     const torch::Device& device);

// x [batch, seq, heads, head_dim] rotated ("rotate half" pairs d, d + head_dim/2) by each position inside its
// document; inverse = true rotates back (the gradient). Computed in float32, or float64 for float64, and
// returned in `x`'s dtype. Differentiable.
RSE_OPS_EXPORT torch::Tensor apply_rotary(const torch::Tensor& x, const std::vector<int64_t>& borders,
                                          double base, bool inverse = false);

}  // namespace rse::ops
