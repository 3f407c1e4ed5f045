// How the operators differentiate: attention_forward through attention_backward, whose own gradient is
// refused.
#include <torch/library.h>

#include "core/check.h"
#include "ops/attention_checks.h"
#include "ops/backend.h"
#include "ops/operator_call.h"

namespace rse::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Keeps a call's options in an autograd node.
struct SavedCall : torch::CustomClassHolder {
  SavedCall(std::vector<int64_t> borders, int64_t max_seqlen, const AttentionOptions& options)
      : borders(std::move(borders)), max_seqlen(max_seqlen), options(options) {}
  std::vector<int64_t> borders;
  int64_t max_seqlen;
  AttentionOptions options;
};

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& query, const Tensor& key,
                               const Tensor& value, const Tensor& decay, const OperatorCall& call,
                               bool save) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto [out, rem, extent, saved] = call_attention_forward(query, key, value, decay, call, save);
    ctx->set_materialize_grads(false);  // most callers leave rem's gradient undefined
    ctx->mark_non_differentiable({extent, saved});
    ctx->save_for_backward(
        {query, key, value, decay, call.cu_seqlens.value_or(Tensor()), out, rem, extent, saved});
    ctx->saved_data["call"] = c10::IValue::make_capsule(
        c10::make_intrusive<SavedCall>(call.borders, call.max_seqlen, call.options));
    return {out, rem, extent, saved};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &query = saved[0], &key = saved[1], &value = saved[2], &decay = saved[3];
    const Tensor &cu_seqlens = saved[4], &out = saved[5], &rem = saved[6], &extent = saved[7];
    const auto capsule = ctx->saved_data["call"].toCapsule();
    const auto& saved_call = static_cast<const SavedCall&>(*capsule);
    const OperatorCall call(cu_seqlens.defined() ? std::optional<Tensor>(cu_seqlens) : std::nullopt,
                            saved_call.borders, saved_call.max_seqlen, saved_call.options);
    const Tensor grad_out = grad[0].defined() ? grad[0] : torch::zeros_like(out);
    const std::optional<Tensor> grad_rem = grad[1].defined() ? std::optional<Tensor>(grad[1]) : std::nullopt;
    auto [grad_query, grad_key, grad_value, grad_decay] = call_attention_backward(
        {grad_out, grad_rem, out, rem, extent, saved[8]}, query, key, value, decay, call);
    return {grad_query, grad_key, grad_value, grad_decay, Tensor(), Tensor()};
  }
};

// attention_backward as a function of what the gradients depend on; its own backward is an error.
class BackwardOnce : public torch::autograd::Function<BackwardOnce> {
 public:
  static variable_list forward(AutogradContext*, const Tensor& grad_out,
                               const std::optional<Tensor>& grad_rem, const Tensor& query, const Tensor& key,
                               const Tensor& value, const Tensor& decay, const BackwardInputs& saved,
                               const OperatorCall& call) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto [grad_query, grad_key, grad_value, grad_decay] =
        call_attention_backward({grad_out, grad_rem, saved.out, saved.rem, saved.extent, saved.saved}, query,
                                key, value, decay, call);
    return {grad_query, grad_key, grad_value, grad_decay};
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    throw_user_error(
        "attention: a second-order gradient was asked for; the operator is differentiable once only "
        "(backward with create_graph, then through the gradient)");
  }
};

struct AutogradKernels {
  // Below this level the device may not be known (Meta) and no tensor requires a gradient, so both the
  // backend and `save` are settled here.
  static ForwardTensors forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                const Tensor& decay, const OperatorCall& call, bool save) {
    check_tensors_given({query, key, value, decay, call.cu_seqlens});  // Function::apply names no argument
    OperatorCall resolved = call;
    resolved.options.backend = resolve_backend(call.options.backend, query, call.cu_seqlens);
    const bool wanted = torch::GradMode::is_enabled() && (query.requires_grad() || key.requires_grad() ||
                                                          value.requires_grad() || decay.requires_grad());
    const variable_list result = AttentionFunction::apply(query, key, value, decay, resolved, save || wanted);
    return {result[0], result[1], result[2], result[3]};
  }

  static BackwardTensors backward(const BackwardInputs& saved, const Tensor& query, const Tensor& key,
                                  const Tensor& value, const Tensor& decay, const OperatorCall& call) {
    const AttentionInputs inputs{query, key, value, decay, call.cu_seqlens};
    check_arguments(inputs, call.max_seqlen, call.options);
    check_backward_arguments(saved, inputs, call.options);
    const variable_list grad =
        BackwardOnce::apply(saved.grad_out, saved.grad_rem, query, key, value, decay, saved, call);
    return {grad[0], grad[1], grad[2], grad[3]};
  }
};

TORCH_LIBRARY_IMPL(rse, Autograd, library) {
  library.impl("attention", &attention_operator);
  register_lower_operators<AutogradKernels>(library);
}

}  // namespace
}  // namespace rse::ops
