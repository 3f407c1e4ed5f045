// Rotary positions on packed sequences, for softmax attention (rse::attention rotates by itself).
#pragma once

#include <torch/torch.h>

#include "nn/sequence_layout.h"

namespace rse {

// input: [total, heads, head_dim], any strides; each token is rotated by its position inside its sequence
// (Su et al. 2021): pairs (x_d, x_{d + head_dim/2}), angle position * base^(-2d/head_dim). Computed in
// float32 (float64 for float64 inputs), returned in the dtype of `input`. Differentiable; nothing is saved
// but the tables.
torch::Tensor rotate(const torch::Tensor& input, const SequenceLayout& layout, double base);

// Bytes of the float32 tables of cos and sin for sequences of `length`.
int64_t rotary_table_bytes(int64_t length, int64_t head_dim);

}  // namespace rse
