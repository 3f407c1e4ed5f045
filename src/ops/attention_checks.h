// Argument checks of the operator. UserError: one line naming the argument, its value and what was expected.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/attention_problem.h"
#include "ops/operator_call.h"

namespace rse::ops {

// The largest numbers that are computed with. A larger scale is refused: logits of ordinary inputs would
// leave float32. A larger decay counts as kMostDecay: no weight is left of any distance long before.
inline constexpr double kMostScale = 1e30;
inline constexpr double kMostDecay = 1e30;
// Of batch rows, tokens in a batch row, and heads, each: a row block less than int32 holds.
inline constexpr int64_t kMostTokens = (int64_t{1} << 31) - 1 - 128;

// The tensors of a call as the caller gave them.
struct AttentionInputs {
  const torch::Tensor& query;
  const torch::Tensor& key;
  const torch::Tensor& value;
  const torch::Tensor& decay;
  const std::optional<torch::Tensor>& cu_seqlens;
};

// That every tensor is one; an undefined tensor is None in Python. Nothing else may be asked of a tensor before.
void check_tensors_given(const AttentionInputs& inputs);

// Checks everything that shapes, dtypes, devices and options tell. It reads no tensor's values, so it serves
// meta and fake tensors with symbolic sizes too.
void check_arguments(const AttentionInputs& inputs, int64_t max_seqlen, const AttentionOptions& options);

// Shapes, dtypes and devices of what attention_backward takes besides; check_arguments() has passed. The
// number of elements of `saved` depends on the backend, which checks it.
void check_backward_arguments(const BackwardInputs& saved, const AttentionInputs& inputs,
                              const AttentionOptions& options);

// extent: as forward returned it, on the CPU. Its values are how far backward walks, so none may lead beyond
// the document or the window. On CUDA they are not looked at.
void check_extent(const torch::Tensor& extent, const AttentionProblem& problem);

// check_arguments, then the values: cu_seqlens' (of the host copy `borders` where it is given, else read
// back, which on CUDA waits for the stream), sizes that int32 must hold, and on the CPU decay's range. On CUDA decay's values are not
// looked at: that would wait for the stream in every layer.
AttentionProblem make_problem(const AttentionInputs& inputs, const std::vector<int64_t>& borders,
                              int64_t max_seqlen, const AttentionOptions& options);

}  // namespace rse::ops
