// Schemas of the operators (spec section 6) and their kernels for tensors with values (CPU, CUDA) and without
// (Meta).
#include <torch/library.h>

#include <string>

#include "ops/attention_checks.h"
#include "ops/operator_call.h"

namespace rse::ops {
namespace {

using torch::Tensor;

bool uses_cpu_kernel(const AttentionProblem& problem) {
  return problem.query.is_cpu() && problem.options.backend == Backend::kAuto;
}

// Every tensor inside a kernel has the dtype it needs.
struct NoAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard{c10::autocast_dispatch_keyset};
};

struct DeviceKernels {
  static ForwardTensors forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                const Tensor& decay, const OperatorCall& call) {
    const NoAutocast no_autocast;
    const AttentionProblem problem = make_problem({query, key, value, decay, call.cu_seqlens}, call.borders,
                                                  call.max_seqlen, call.options);
    if (query.numel() == 0) return empty_forward(problem);
    ForwardResult result = uses_cpu_kernel(problem) ? forward_cpu(problem) : forward_reference(problem);
    if (!problem.packed) return {result.out, result.rem, result.extent};
    return {result.out.squeeze(0), result.rem.squeeze(0).transpose(0, 1).contiguous(), result.extent};
  }

  static BackwardTensors backward(const BackwardInputs& saved, const Tensor& query, const Tensor& key,
                                  const Tensor& value, const Tensor& decay, const OperatorCall& call) {
    const NoAutocast no_autocast;
    const AttentionProblem problem = make_problem({query, key, value, decay, call.cu_seqlens}, call.borders,
                                                  call.max_seqlen, call.options);
    if (query.numel() == 0) {
      return {torch::empty_like(query), torch::empty_like(key), torch::empty_like(value),
              torch::zeros_like(decay)};
    }
    const auto with_batch = [&](const Tensor& x) {
      return (problem.packed ? x.unsqueeze(0) : x).contiguous();
    };
    const auto rem_with_batch = [&](const Tensor& x) {
      return (problem.packed ? x.transpose(0, 1).unsqueeze(0) : x).contiguous();
    };
    const ForwardResult result{with_batch(saved.out), rem_with_batch(saved.rem), saved.extent};
    const Tensor grad_out = with_batch(saved.grad_out);
    const Tensor grad_rem = saved.grad_rem ? rem_with_batch(*saved.grad_rem) : Tensor();
    const Gradients grad = uses_cpu_kernel(problem) ? backward_cpu(problem, result, grad_out, grad_rem)
                                                    : backward_reference(problem, result, grad_out, grad_rem);
    const auto as_input = [&](const Tensor& x) { return problem.packed ? x.squeeze(0) : x; };
    return {as_input(grad.query), as_input(grad.key), as_input(grad.value), grad.decay};
  }

 private:
  static ForwardTensors empty_forward(const AttentionProblem& problem) {
    const int64_t batch = problem.batch(), heads = problem.heads(), sides = problem.sides();
    const Tensor out = torch::empty(problem.query.sizes(), problem.query.options());
    const Tensor rem = torch::empty({batch, heads, problem.seq(), sides}, problem.decay.options());
    return {problem.packed ? out.squeeze(0) : out,
            problem.packed ? rem.squeeze(0).transpose(0, 1).contiguous() : rem,
            torch::empty(rem.sizes(), rem.options().dtype(torch::kInt32))};
  }
};

// Shapes only; sizes may be symbolic.
struct MetaKernels {
  static ForwardTensors forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                const Tensor& decay, const OperatorCall& call) {
    check_arguments({query, key, value, decay, call.cu_seqlens}, call.max_seqlen, call.options);
    const c10::SymInt sides = call.options.causal ? 1 : 2;
    const auto size = [&](int64_t dim) { return query.sym_size(dim); };
    const bool packed = call.cu_seqlens.has_value();
    const std::vector<c10::SymInt> extent_sizes =
        packed ? std::vector<c10::SymInt>{1, size(1), size(0), sides}
               : std::vector<c10::SymInt>{size(0), size(2), size(1), sides};
    const std::vector<c10::SymInt> rem_sizes =
        packed ? std::vector<c10::SymInt>{size(0), size(1), sides} : extent_sizes;
    return {torch::empty_symint(query.sym_sizes(), query.options()),
            torch::empty_symint(rem_sizes, decay.options()),
            torch::empty_symint(extent_sizes, query.options().dtype(torch::kInt32))};
  }

  static BackwardTensors backward(const BackwardInputs&, const Tensor& query, const Tensor& key,
                                  const Tensor& value, const Tensor& decay, const OperatorCall& call) {
    check_arguments({query, key, value, decay, call.cu_seqlens}, call.max_seqlen, call.options);
    const auto contiguous = [](const Tensor& x) { return torch::empty_symint(x.sym_sizes(), x.options()); };
    return {contiguous(query), contiguous(key), contiguous(value), contiguous(decay)};
  }
};

TORCH_LIBRARY(rse, library) {
  library.def(
      "attention(Tensor q, Tensor k, Tensor v, Tensor decay, *, Tensor? cu_seqlens=None, int max_seqlen=0, "
      "bool causal=False, int window=0, str mass=\"per_side\", bool self_key=True, str remainder=\"drop\", "
      "float rotary_base=10000.0, float? scale=None, float skip_below=1e-7, bool deterministic=False) "
      "-> (Tensor out, Tensor rem)");
  const std::string inputs = std::string("Tensor q, Tensor k, Tensor v, Tensor decay, ") + kCallSchema;
  const std::string forward = "attention_forward(" + inputs + ") -> (Tensor out, Tensor rem, Tensor extent)";
  const std::string backward =
      "attention_backward(Tensor grad_out, Tensor? grad_rem, Tensor out, Tensor rem, Tensor extent, " +
      inputs + ") -> (Tensor grad_q, Tensor grad_k, Tensor grad_v, Tensor grad_decay)";
  library.def(forward.c_str());
  library.def(backward.c_str());
}

TORCH_LIBRARY_IMPL(rse, CPU, library) {
  library.impl("attention", &attention_operator);
  register_lower_operators<DeviceKernels>(library);
}

TORCH_LIBRARY_IMPL(rse, CUDA, library) {
  library.impl("attention", &attention_operator);
  register_lower_operators<DeviceKernels>(library);
}

TORCH_LIBRARY_IMPL(rse, Meta, library) {
  library.impl("attention", &attention_operator);
  register_lower_operators<MetaKernels>(library);
}

}  // namespace
}  // namespace rse::ops
