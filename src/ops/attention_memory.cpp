#include "ops/attention_memory.h"

#include <algorithm>
#include <optional>

#include "core/check.h"
#include "ops/attention_checks.h"
#include "ops/backend.h"
#include "ops/workspace.h"

namespace rse {
namespace {

using ops::AttentionProblem;
using torch::Tensor;

// A problem whose query, key and value have the right shape and no memory of their own.
AttentionProblem problem_of(const std::vector<int64_t>& lengths, int64_t heads, int64_t head_dim,
                            const torch::TensorOptions& tensors, const AttentionOptions& options) {
  std::vector<int64_t> borders = {0};
  for (const int64_t length : lengths) borders.push_back(borders.back() + length);
  const bool uniform =
      std::all_of(lengths.begin(), lengths.end(), [&](int64_t n) { return n == lengths[0]; });
  const Tensor row = torch::zeros({head_dim}, tensors);
  const Tensor decay = torch::zeros({heads}, tensors.dtype(torch::kFloat32));
  std::optional<Tensor> cu_seqlens;
  if (!uniform) cu_seqlens = torch::tensor(borders, torch::kInt32).to(tensors.device());
  const Tensor query = uniform
                           ? row.expand({static_cast<int64_t>(lengths.size()), lengths[0], heads, head_dim})
                           : row.expand({borders.back(), heads, head_dim});
  if (uniform) borders.clear();
  AttentionProblem problem = ops::make_problem({query, query, query, decay, cu_seqlens}, borders, 0, options);
  problem.options.backend = ops::resolve_backend(options.backend, query, cu_seqlens);
  return problem;
}

int64_t workspace_of(const AttentionProblem& problem) {
  switch (problem.options.backend) {
    case Backend::kAuto:
      return ops::backward_workspace_cpu(problem);
    case Backend::kPortable:
    case Backend::kHopper:
      return ops::backward_workspace_cuda(problem);
    case Backend::kReference:
      return 0;
  }
  RSE_ASSERT(false, "backend {}", static_cast<int>(problem.options.backend));
}

}  // namespace

AttentionBytes attention_bytes(const std::vector<int64_t>& lengths, int64_t heads, int64_t head_dim,
                               torch::ScalarType dtype, const torch::Device& device,
                               const AttentionOptions& options) {
  if (std::all_of(lengths.begin(), lengths.end(), [](int64_t length) { return length == 0; })) return {};
  const AttentionProblem problem =
      problem_of(lengths, heads, head_dim, torch::TensorOptions().dtype(dtype).device(device), options);
  const c10::SymInt documents(static_cast<int64_t>(problem.borders.size()) - 1);
  AttentionBytes bytes;
  bytes.remainders = (4 + 4) * problem.batch() * problem.seq() * problem.heads() * problem.sides();
  bytes.saved =
      4 * ops::saved_size(problem.query, documents, /*packed=*/false, problem.options, /*save=*/true)
              .expect_int();
  bytes.workspace = workspace_of(problem);
  return bytes;
}

}  // namespace rse
