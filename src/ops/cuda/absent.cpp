// forward_cuda and backward_cuda of a build without a CUDA part.
#include "core/check.h"
#include "ops/attention_problem.h"
#include "ops/workspace.h"

namespace rse::ops {

const char* why_not_kernels(Backend, const torch::Device&, torch::ScalarType, int64_t) {
  return "this program was built without its CUDA part";
}

// These are not reached, because why_not_kernels refuses every call.
ForwardResult forward_cuda(const AttentionProblem&, bool) { RSE_ASSERT(false, "no CUDA part"); }

Gradients backward_cuda(const AttentionProblem&, const ForwardResult&, const torch::Tensor&,
                        const torch::Tensor&) {
  RSE_ASSERT(false, "no CUDA part");
}

int64_t backward_workspace_cuda(const AttentionProblem&) { RSE_ASSERT(false, "no CUDA part"); }

}  // namespace rse::ops
