// One side of stick-breaking attention, composed from LibTorch operators: every query's keys AFTER it,
// nearest first. The keys before it are the same computation on the reversed sequences, so only one direction
// exists.
//
// Sticks start with length 1 here; the caller multiplies by r_i^side (src/ops/README.md section 1). Work goes
// in chunks of queries (and of sequences), so that no tensor of pairs exceeds a fixed budget.
// Shapes: S sequences (batch x documents x heads) of length L; all tensors float32 or float64, contiguous.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace rse::ops {

struct SideInput {
  torch::Tensor query;  // [S, L, head_dim], rotated, times -scale: query . key = -s
  torch::Tensor key;    // [S, L, head_dim], rotated
  torch::Tensor value;  // [S, L, head_dim]
  torch::Tensor decay;  // [S]
  int64_t window = 0;   // 0: none; w > 0: only keys with j - i < w
};

struct SideOutput {
  torch::Tensor out;    // [S, L, head_dim]
  torch::Tensor stick;  // [S, L]: what is left of the stick
};

SideOutput side_forward(const SideInput& in);

struct SideGradients {
  torch::Tensor query;  // d(R q) / scale, [S, L, head_dim]
  torch::Tensor key;    // d(R k), [S, L, head_dim]
  torch::Tensor value;  // [S, L, head_dim]
  torch::Tensor decay;  // [S]
  torch::Tensor total;  // [S, L]: the sum of t over the side's keys, plus end_term
};

// grad_out: [S, L, head_dim], already times r_i^side. end_term: [S, L], rem_i^side * drem_i^side: the
// remainder counts as one more key beyond the farthest (src/ops/README.md section 3).
SideGradients side_backward(const SideInput& in, const torch::Tensor& grad_out,
                            const torch::Tensor& end_term);

}  // namespace rse::ops
