#include "ops/backend.h"

#include <fmt/format.h>

#include <string>

#include "ops/attention_problem.h"

namespace rse {

std::string describe_backend(Backend backend, const torch::Device& device) {
  if (backend == Backend::kPortable) return "portable CUDA kernels (mma.sync)";
  if (backend == Backend::kAuto && device.is_cpu()) {
    return fmt::format("cpu kernel ({})", ops::cpu_instruction_set());
  }
  if (backend == Backend::kAuto && ops::why_not_portable(device, torch::kBFloat16, 64) == nullptr) {
    return "portable CUDA kernels (mma.sync) for bfloat16 and float16, else reference";
  }
  return "reference (composed LibTorch operators)";
}

}  // namespace rse

namespace rse::ops {

Backend resolve_backend(Backend backend, const torch::Tensor& query) {
  if (backend != Backend::kAuto || !query.is_cuda()) return backend;
  const int64_t head_dim = query.dim() > 0 ? query.sym_size(-1).guard_int(__FILE__, __LINE__) : 0;
  return why_not_portable(query.device(), query.scalar_type(), head_dim) == nullptr ? Backend::kPortable
                                                                                    : Backend::kReference;
}

std::vector<c10::SymInt> saved_sizes(const torch::Tensor& query, bool packed, const AttentionOptions& options,
                                     bool save) {
  if (!save || options.backend != Backend::kPortable) return {0};
  const auto size = [&](int64_t dim) { return query.sym_size(dim); };
  const int64_t head_dim = size(-1).guard_int(__FILE__, __LINE__);
  const int64_t padded = head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : 128;  // kernels::padded_head_dim
  const c10::SymInt sides = options.causal ? 1 : 2;
  if (packed) return {sides, 1, size(1), size(0), padded};
  return {sides, size(0), size(2), size(1), padded};
}

torch::Tensor empty_saved(const AttentionProblem& problem, bool save) {
  return torch::empty_symint(saved_sizes(problem.query, /*packed=*/false, problem.options, save),
                             problem.query.options().dtype(torch::kFloat32));
}

}  // namespace rse::ops
