// How much memory the backward pass of each backend works in, beside inputs, saved tensors and gradients.
#pragma once

#include <cstdint>

#include "ops/attention_problem.h"

namespace rse::ops {

// Bytes for a problem that the backend takes; only shapes, dtypes and the device of its tensors are looked at.
int64_t backward_workspace_cpu(const AttentionProblem& problem);
int64_t backward_workspace_cuda(const AttentionProblem& problem);

}  // namespace rse::ops
