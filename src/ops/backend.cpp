#include "ops/backend.h"

#include <fmt/format.h>

#include <string>

#include "core/check.h"
#include "ops/attention_problem.h"

namespace rse {
namespace {

bool runs(Backend backend, const torch::Device& device, torch::ScalarType dtype) {
  return ops::why_not_kernels(backend, device, dtype, /*head_dim=*/64) == nullptr;
}

}  // namespace

std::string describe_backend(Backend backend, const torch::Device& device) {
  switch (backend) {
    case Backend::kPortable:
      return "portable CUDA kernels (mma.sync; float32)";
    case Backend::kHopper:
      return "Hopper CUDA kernels (wgmma)";
    case Backend::kReference:
      return "reference (composed LibTorch operators)";
    case Backend::kAuto:
      break;
  }
  if (device.is_cpu()) return fmt::format("cpu kernel ({})", ops::cpu_instruction_set());
  if (!runs(Backend::kPortable, device, torch::kFloat32)) {
    return describe_backend(Backend::kReference, device);
  }
  const Backend fastest =
      runs(Backend::kHopper, device, torch::kBFloat16) ? Backend::kHopper : Backend::kPortable;
  return fmt::format("{} for bfloat16 and float16, {} for float32", describe_backend(fastest, device),
                     describe_backend(Backend::kPortable, device));
}

}  // namespace rse

namespace rse::ops {

kernels::Path path_of(Backend backend) {
  switch (backend) {
    case Backend::kPortable:
      return kernels::Path::kPortable;
    case Backend::kHopper:
      return kernels::Path::kHopper;
    case Backend::kAuto:
    case Backend::kReference:
      break;
  }
  RSE_ASSERT(false, "backend {} has no CUDA kernels", static_cast<int>(backend));
}

Backend resolve_backend(Backend backend, const torch::Tensor& query,
                        const std::optional<torch::Tensor>& cu_seqlens) {
  if (backend != Backend::kAuto || !query.is_cuda()) return backend;
  const int64_t head_dim = query.dim() > 0 ? query.sym_size(-1).guard_int(__FILE__, __LINE__) : 0;
  constexpr int64_t kLeastMeanLength = kernels::kRows / 4;
  const bool many_short = cu_seqlens && cu_seqlens->dim() == 1 && query.dim() == 3 &&
                          (cu_seqlens->sym_size(0) - 1) * kLeastMeanLength > query.sym_size(0);
  for (const Backend kernels : {Backend::kHopper, Backend::kPortable}) {
    if (kernels == Backend::kHopper && many_short) continue;
    if (why_not_kernels(kernels, query.device(), query.scalar_type(), head_dim) == nullptr) return kernels;
  }
  return Backend::kReference;
}

c10::SymInt saved_size(const torch::Tensor& query, const c10::SymInt& documents, bool packed,
                       const AttentionOptions& options, bool save) {
  if (!save || (options.backend != Backend::kPortable && options.backend != Backend::kHopper)) return 0;
  const auto size = [&](int64_t dim) { return query.sym_size(dim); };
  const c10::SymInt batch = packed ? c10::SymInt(1) : size(0);
  return kernels::saved_floats<c10::SymInt>(
      batch, size(packed ? 0 : 1), size(packed ? 1 : 2), documents, size(-1).guard_int(__FILE__, __LINE__),
      static_cast<int64_t>(query.element_size()), options.causal, path_of(options.backend));
}

torch::Tensor empty_saved(const AttentionProblem& problem, bool save) {
  const c10::SymInt documents(static_cast<int64_t>(problem.borders.size()) - 1);
  return torch::empty_symint({saved_size(problem.query, documents, /*packed=*/false, problem.options, save)},
                             problem.query.options().dtype(torch::kFloat32));
}

}  // namespace rse::ops
