// Schemas of the operators (src/ops/README.md section 6) and their kernels for tensors with values (CPU,
// CUDA) and without (Meta).
#include <torch/library.h>

#include <string>

#include "core/check.h"
#include "ops/attention_checks.h"
#include "ops/backend.h"
#include "ops/operator_call.h"

namespace rse::ops {
namespace {

using torch::Tensor;

ForwardResult run_forward(const AttentionProblem& problem, bool save) {
  switch (problem.options.backend) {
    case Backend::kAuto:
      return forward_cpu(problem);
    case Backend::kReference:
      return forward_reference(problem);
    case Backend::kPortable:
    case Backend::kHopper:
      return forward_cuda(problem, save);
  }
  RSE_ASSERT(false, "backend {}", static_cast<int>(problem.options.backend));
}

Gradients run_backward(const AttentionProblem& problem, const ForwardResult& saved, const Tensor& grad_out,
                       const Tensor& grad_rem) {
  switch (problem.options.backend) {
    case Backend::kAuto:
      return backward_cpu(problem, saved, grad_out, grad_rem);
    case Backend::kReference:
      return backward_reference(problem, saved, grad_out, grad_rem);
    case Backend::kPortable:
    case Backend::kHopper:
      return backward_cuda(problem, saved, grad_out, grad_rem);
  }
  RSE_ASSERT(false, "backend {}", static_cast<int>(problem.options.backend));
}

// The checked problem, its backend resolved: kAuto is the CPU kernel.
AttentionProblem resolved_problem(const Tensor& query, const Tensor& key, const Tensor& value,
                                  const Tensor& decay, const OperatorCall& call) {
  AttentionProblem problem =
      make_problem({query, key, value, decay, call.cu_seqlens}, call.borders, call.max_seqlen, call.options);
  problem.options.backend = resolve_backend(call.options.backend, query, call.cu_seqlens);
  const Backend backend = problem.options.backend;
  if (backend == Backend::kPortable || backend == Backend::kHopper) {
    if (const char* why = why_not_kernels(backend, query.device(), query.scalar_type(), problem.head_dim())) {
      throw_user_error("attention: backend is '{}', but {}; query is {} on {}", to_string(backend), why,
                       torch::toString(query.scalar_type()), query.device().str());
    }
  } else {
    problem.decay = problem.decay.clamp_max(kMostDecay);  // the CUDA kernels do it themselves
  }
  return problem;
}

// Every tensor inside a kernel has the dtype it needs.
struct NoAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard{c10::autocast_dispatch_keyset};
};

struct DeviceKernels {
  static ForwardTensors forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                const Tensor& decay, const OperatorCall& call, bool save) {
    const NoAutocast no_autocast;
    const AttentionProblem problem = resolved_problem(query, key, value, decay, call);
    ForwardResult result = query.numel() == 0 ? empty_forward(problem) : run_forward(problem, save);
    if (!result.saved.defined()) result.saved = empty_saved(problem, save);
    if (problem.packed) {
      result.out = result.out.squeeze(0);
      result.rem = result.rem.squeeze(0).transpose(0, 1).contiguous();
    }
    return {result.out, result.rem, result.extent, result.saved};
  }

  static BackwardTensors backward(const BackwardInputs& saved, const Tensor& query, const Tensor& key,
                                  const Tensor& value, const Tensor& decay, const OperatorCall& call) {
    const NoAutocast no_autocast;
    const AttentionProblem problem = resolved_problem(query, key, value, decay, call);
    check_backward_arguments(saved, {query, key, value, decay, call.cu_seqlens}, call.options);
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
    const ForwardResult result{with_batch(saved.out), rem_with_batch(saved.rem), saved.extent.contiguous(),
                               saved.saved.contiguous()};
    if (saved.extent.is_cpu()) check_extent(saved.extent, problem);
    const Tensor grad_out = with_batch(saved.grad_out);
    const Tensor grad_rem = saved.grad_rem ? rem_with_batch(*saved.grad_rem) : Tensor();
    const Gradients grad = run_backward(problem, result, grad_out, grad_rem);
    const auto as_input = [&](const Tensor& x) { return problem.packed ? x.squeeze(0) : x; };
    return {as_input(grad.query), as_input(grad.key), as_input(grad.value), grad.decay};
  }

 private:
  static ForwardResult empty_forward(const AttentionProblem& problem) {
    const Tensor rem = torch::empty({problem.batch(), problem.heads(), problem.seq(), problem.sides()},
                                    problem.decay.options());
    return {torch::empty(problem.query.sizes(), problem.query.options()),
            rem,
            torch::empty(rem.sizes(), rem.options().dtype(torch::kInt32)),
            {}};
  }
};

// For shapes alone; sizes may be symbolic. The device is not known: a backend that is still kAuto here is
// taken for one that keeps nothing, because autograd has resolved every call that keeps something.
struct MetaKernels {
  static ForwardTensors forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                const Tensor& decay, const OperatorCall& call, bool save) {
    check_arguments({query, key, value, decay, call.cu_seqlens}, call.max_seqlen, call.options);
    const c10::SymInt sides = call.options.causal ? 1 : 2;
    const auto size = [&](int64_t dim) { return query.sym_size(dim); };
    const bool packed = call.cu_seqlens.has_value();
    const c10::SymInt documents = packed ? call.cu_seqlens->sym_size(0) - 1 : c10::SymInt(1);
    const std::vector<c10::SymInt> extent_sizes =
        packed ? std::vector<c10::SymInt>{1, size(1), size(0), sides}
               : std::vector<c10::SymInt>{size(0), size(2), size(1), sides};
    const std::vector<c10::SymInt> rem_sizes =
        packed ? std::vector<c10::SymInt>{size(0), size(1), sides} : extent_sizes;
    return {torch::empty_symint(query.sym_sizes(), query.options()),
            torch::empty_symint(rem_sizes, decay.options()),
            torch::empty_symint(extent_sizes, query.options().dtype(torch::kInt32)),
            torch::empty_symint({saved_size(query, documents, packed, call.options, save)},
                                query.options().dtype(torch::kFloat32))};
  }

  static BackwardTensors backward(const BackwardInputs& saved, const Tensor& query, const Tensor& key,
                                  const Tensor& value, const Tensor& decay, const OperatorCall& call) {
    check_arguments({query, key, value, decay, call.cu_seqlens}, call.max_seqlen, call.options);
    check_backward_arguments(saved, {query, key, value, decay, call.cu_seqlens}, call.options);
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
  const std::string forward =
      "attention_forward(" + inputs + ", bool save) -> (Tensor out, Tensor rem, Tensor extent, Tensor saved)";
  const std::string backward =
      "attention_backward(Tensor grad_out, Tensor? grad_rem, Tensor out, Tensor rem, Tensor extent, Tensor "
      "saved, " +
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
