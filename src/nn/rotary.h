// Rotary positions on packed sequences, for softmax attention (rse::attention rotates by itself).
#pragma once

#include <torch/torch.h>

#include "nn/sequence_layout.h"

namespace rse {

// input: [total, heads, head_dim], any strides; each token rotated by its position inside its sequence
// (src/ops/README.md section 1, "Rotation"): pairs (x_d, x_{d + head_dim/2}), angle position *
// base^(-2d/head_dim). Computed in float32 (float64 for float64 inputs), returned in the dtype of `input`.
// Differentiable; nothing is saved but the tables.
torch::Tensor rotate(const torch::Tensor& input, const SequenceLayout& layout, double base);

}  // namespace rse
