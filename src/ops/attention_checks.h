// Argument checks of the operator. UserError: one line naming the argument, its value and what was expected.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/attention_problem.h"

namespace rse::ops {

// The tensors of a call as the caller gave them.
struct AttentionInputs {
  const torch::Tensor& query;
  const torch::Tensor& key;
  const torch::Tensor& value;
  const torch::Tensor& decay;
  const std::optional<torch::Tensor>& cu_seqlens;
};

// Checks everything that shapes, dtypes, devices and options tell. It reads no tensor's values, so it serves
// meta and fake tensors with symbolic sizes too.
void check_arguments(const AttentionInputs& inputs, int64_t max_seqlen, const AttentionOptions& options);

// check_arguments, then the values: cu_seqlens' (of the host copy `borders` where it is given, else read
// back, which on CUDA waits for the stream), and on the CPU decay's range. On CUDA decay's values are not
// looked at: that would wait for the stream in every layer.
AttentionProblem make_problem(const AttentionInputs& inputs, const std::vector<int64_t>& borders,
                              int64_t max_seqlen, const AttentionOptions& options);

}  // namespace rse::ops
