// The float64 triple loop of src/ops/README.md section 2 and the gradient formulas of section 3, written as
// they stand there: N x N tables, without blocking or skipping. Tests compare every backend with it.
// oracle_test.cpp compares it with central differences.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "ops/attention.h"

namespace rse {

struct OracleInputs {
  // [batch, seq_len, heads, head_dim], float64, on the CPU; every batch row has the same documents.
  torch::Tensor query, key, value;
  torch::Tensor decay;           // [heads]
  std::vector<int64_t> borders;  // along seq_len
  AttentionOptions options;
  // Forms the products and sums of a row one from another, nearest or farthest key first: O(N^2) for long
  // sequences, where the triple loop would take most of a test's time. The result is the same.
  bool running = false;
};

struct OracleOutputs {
  torch::Tensor out;  // [batch, seq_len, heads, head_dim]
  torch::Tensor rem;  // [batch, heads, seq_len, sides]
};

struct OracleGradients {
  torch::Tensor query, key, value, decay;
};

// grad_out and grad_rem have the shapes of the outputs.
OracleOutputs oracle_forward(const OracleInputs& inputs);
OracleGradients oracle_backward(const OracleInputs& inputs, const torch::Tensor& grad_out,
                                const torch::Tensor& grad_rem);

}  // namespace rse
