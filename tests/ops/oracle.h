// The float64 triple loop of src/ops/README.md section 2 and the gradient formulas of section 3, written as
// they stand there: N x N tables, no blocking, no skipping. Tests compare every backend with it; it is itself
// checked against central differences (oracle_test.cpp).
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "ops/attention.h"

namespace rse {

struct OracleInputs {
  // [batch, seq, heads, head_dim], float64, CPU; every batch row has the same documents.
  torch::Tensor query, key, value;
  torch::Tensor decay;           // [heads]
  std::vector<int64_t> borders;  // along seq
  AttentionOptions options;
};

struct OracleOutputs {
  torch::Tensor out;  // [batch, seq, heads, head_dim]
  torch::Tensor rem;  // [batch, heads, seq, sides]
};

struct OracleGradients {
  torch::Tensor query, key, value, decay;
};

// grad_out, grad_rem: shaped as the outputs.
OracleOutputs oracle_forward(const OracleInputs& inputs);
OracleGradients oracle_backward(const OracleInputs& inputs, const torch::Tensor& grad_out,
                                const torch::Tensor& grad_rem);

}  // namespace rse
