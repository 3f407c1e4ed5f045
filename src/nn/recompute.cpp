#include "nn/recompute.h"

#include <ATen/autocast_mode.h>

#include "core/check.h"

namespace rse {
namespace {

using torch::Tensor;
using torch::autograd::variable_list;

struct AutocastState {
  c10::DeviceType device;
  bool enabled;
  at::ScalarType dtype;
  explicit AutocastState(c10::DeviceType type)
      : device(type),
        enabled(at::autocast::is_autocast_enabled(type)),
        dtype(at::autocast::get_autocast_dtype(type)) {}
};

// While it lives, a segment runs under `state`. Nothing is taken from or put into the cache of cast weights: a
// cast belongs to the graph in which it was made, and the graph of a segment is another one than that around it.
class SegmentAutocast {
 public:
  explicit SegmentAutocast(const AutocastState& state)
      : previous_(state.device), previous_cache_(at::autocast::is_autocast_cache_enabled()) {
    set(state);
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~SegmentAutocast() {
    at::autocast::set_autocast_cache_enabled(previous_cache_);
    set(previous_);
  }
  SegmentAutocast(const SegmentAutocast&) = delete;
  SegmentAutocast& operator=(const SegmentAutocast&) = delete;

 private:
  static void set(const AutocastState& state) {
    at::autocast::set_autocast_enabled(state.device, state.enabled);
    at::autocast::set_autocast_dtype(state.device, state.dtype);
  }
  AutocastState previous_;
  bool previous_cache_;
};

// What an autograd node keeps beside the input. The parameters are leaves, which the model owns anyway.
struct SegmentCall : torch::CustomClassHolder {
  SegmentCall(Segment segment, std::vector<Tensor> parameters, const AutocastState& autocast)
      : segment(std::move(segment)), parameters(std::move(parameters)), autocast(autocast) {}
  Segment segment;
  std::vector<Tensor> parameters;
  AutocastState autocast;

  Tensor run(const Tensor& leaf) const {
    const torch::AutoGradMode enabled(true);
    const SegmentAutocast same_autocast(autocast);
    return segment(leaf);
  }
};

class RecomputedSegment : public torch::autograd::Function<RecomputedSegment> {
 public:
  // The parameters are arguments so that the graph leads their gradients to them.
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& input,
                        at::TensorList /*parameters*/, const c10::intrusive_ptr<SegmentCall>& call) {
    context->save_for_backward({input});
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    // It runs with gradients, as backward will run it: scaled_dot_product_attention with a mask takes another
    // kernel where none is wanted. The graph is dropped here.
    return call->run(input.detach().requires_grad_()).detach();
  }

  static variable_list backward(torch::autograd::AutogradContext* context, const variable_list& gradients) {
    RSE_ASSERT(!torch::GradMode::is_enabled(), "a recomputed segment is differentiable once");
    const auto capsule = context->saved_data["call"].toCapsule();
    const auto& call = static_cast<const SegmentCall&>(*capsule);
    variable_list leaves = {context->get_saved_variables()[0].detach().requires_grad_()};
    leaves.insert(leaves.end(), call.parameters.begin(), call.parameters.end());
    variable_list result =
        torch::autograd::grad({call.run(leaves[0])}, leaves, {gradients[0]}, /*retain_graph=*/std::nullopt,
                              /*create_graph=*/false, /*allow_unused=*/true);
    result.emplace_back();  // of the call
    return result;
  }
};

}  // namespace

const EnumNames<Recompute>& recompute_names() {
  static const EnumNames<Recompute> kNames = {
      {"none", Recompute::kNone}, {"ffn", Recompute::kFfn}, {"layer", Recompute::kLayer}};
  return kNames;
}

Tensor recomputed(const Tensor& input, const std::vector<Tensor>& parameters, Segment segment) {
  if (!torch::GradMode::is_enabled()) return segment(input);
  std::vector<Tensor> trained;
  for (const Tensor& parameter : parameters) {
    if (parameter.requires_grad()) trained.push_back(parameter);
  }
  return RecomputedSegment::apply(
      input, at::TensorList(trained),
      c10::make_intrusive<SegmentCall>(std::move(segment), trained, AutocastState(input.device().type())));
}

Tensor in_compute_dtype(const Tensor& input) {
  const c10::DeviceType device = input.device().type();
  return at::autocast::is_autocast_enabled(device) ? input.to(at::autocast::get_autocast_dtype(device))
                                                   : input;
}

}  // namespace rse
