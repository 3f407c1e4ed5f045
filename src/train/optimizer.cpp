#include "train/optimizer.h"

#include <ATen/record_function.h>

#include <limits>

#include "core/check.h"
#include "nn/step_ranges.h"
#include "run/weights.h"
#include "train/update_clipping.h"

namespace rse {
namespace {

// The gradients of the group. Each parameter has one, because all take part in every forward pass.
std::vector<torch::Tensor> gradients(const OptimizerGroup& group) {
  std::vector<torch::Tensor> all;
  for (size_t i = 0; i < group.parameters.size(); ++i) {
    RSE_ASSERT(group.parameters[i].grad().defined(), "parameter '{}' got no gradient", group.names[i]);
    all.push_back(group.parameters[i].grad());
  }
  return all;
}

}  // namespace

int64_t OptimizerGroup::elements() const {
  int64_t sum = 0;
  for (const torch::Tensor& parameter : parameters) sum += parameter.numel();
  return sum;
}

const char* group_name(ParameterRole role) {
  switch (role) {
    case ParameterRole::kMatrix:
      return "matrices";
    case ParameterRole::kBiasOrNorm:
      return "biases and norms";
    case ParameterRole::kDecay:
      return "decay";
  }
  return "";
}

std::vector<OptimizerGroup> make_optimizer_groups(const torch::nn::Module& encoder, bool expect_decay) {
  std::vector<OptimizerGroup> groups;
  for (const ParameterRole role :
       {ParameterRole::kMatrix, ParameterRole::kBiasOrNorm, ParameterRole::kDecay}) {
    OptimizerGroup group;
    group.role = role;
    for (const auto& item : encoder.named_parameters()) {
      if (parameter_role(item.key(), item.value()) != role) continue;
      group.names.push_back(item.key());
      group.parameters.push_back(item.value());
    }
    const bool expected = role != ParameterRole::kDecay || expect_decay;
    if (expected && group.names.empty()) {
      throw_user_error("parameter group '{}': no parameter of the model belongs to it", group_name(role));
    }
    if (!expected && !group.names.empty()) {
      throw_user_error("parameter group '{}': '{}' belongs to it, but the position method has no decay",
                       group_name(role), group.names.front());
    }
    if (expected) groups.push_back(std::move(group));
  }
  return groups;
}

AdamW::AdamW(std::vector<OptimizerGroup> groups, const AdamWOptions& options)
    : groups_(std::move(groups)), options_(options) {
  RSE_ASSERT(!groups_.empty() && !groups_.front().parameters.empty(), "an optimizer without parameters");
  const torch::Device device = groups_.front().parameters.front().device();
  step_ = torch::zeros({}, torch::dtype(torch::kFloat32).device(device));
  for (const OptimizerGroup& group : groups_) {
    Moments moments;
    for (const torch::Tensor& parameter : group.parameters) {
      moments.exp_avg.push_back(torch::zeros_like(parameter));
      moments.exp_avg_sq.push_back(torch::zeros_like(parameter));
      moments.steps.push_back(step_);
    }
    moments_.push_back(std::move(moments));
  }
}

AdamW::StepResult AdamW::step(const LearningRates& rates, const torch::Tensor& loss) {
  RECORD_USER_SCOPE(kOptimizerRange);
  const torch::NoGradGuard no_grad;
  std::vector<std::vector<torch::Tensor>> grads;
  std::vector<torch::Tensor> norms;
  for (const OptimizerGroup& group : groups_) {
    grads.push_back(gradients(group));
    for (torch::Tensor& norm : at::_foreach_norm(grads.back())) norms.push_back(std::move(norm));
  }
  StepResult result;
  result.grad_norm = torch::linalg_vector_norm(torch::stack(norms));
  result.skipped =
      torch::isfinite(result.grad_norm).logical_and(torch::isfinite(loss)).logical_not().to(torch::kFloat32);
  if (options_.clip_norm > 0) {
    const torch::Tensor coefficient = (options_.clip_norm / (result.grad_norm + 1e-6)).clamp_max(1.0);
    for (auto& group_grads : grads) at::_foreach_mul_(group_grads, coefficient);
  }
  step_.add_(1.0 - result.skipped);
  for (size_t i = 0; i < groups_.size(); ++i) {
    apply(i, grads[i], groups_[i].role == ParameterRole::kDecay ? rates.decay : rates.base, result.skipped);
    for (const torch::Tensor& parameter : groups_[i].parameters) parameter.mutable_grad().reset();
  }
  return result;
}

void AdamW::apply(size_t i, const std::vector<torch::Tensor>& grads, double rate,
                  const torch::Tensor& skipped) {
  const OptimizerGroup& group = groups_[i];
  const double weight_decay = group.decayed() ? options_.weight_decay : 0.0;
  Moments& moments = moments_[i];
  const auto update = [&](at::TensorList parameters, at::TensorList gradients, at::TensorList exp_avg,
                          at::TensorList exp_avg_sq, at::TensorList steps, const auto& learning_rate) {
    at::_fused_adamw_(parameters, gradients, exp_avg, exp_avg_sq, /*max_exp_avg_sqs=*/{}, steps,
                      learning_rate, options_.beta1, options_.beta2, weight_decay, options_.eps,
                      /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{}, skipped);
  };
  if (options_.kind == OptimizerKind::kAdamW) {
    update(group.parameters, grads, moments.exp_avg, moments.exp_avg_sq, moments.steps, rate);
    return;
  }
  const std::vector<torch::Tensor> rates =
      clipped_rates(grads, moments.exp_avg_sq, step_, rate, options_.beta2, options_.eps);
  for (size_t j = 0; j < grads.size(); ++j) {  // the kernel takes one rate per call
    update(group.parameters[j], grads[j], moments.exp_avg[j], moments.exp_avg_sq[j], step_, rates[j]);
  }
}

NamedTensors AdamW::state() const {
  NamedTensors state = {{"step", step_}};
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (size_t j = 0; j < groups_[i].names.size(); ++j) {
      state.emplace_back("exp_avg." + groups_[i].names[j], moments_[i].exp_avg[j]);
      state.emplace_back("exp_avg_sq." + groups_[i].names[j], moments_[i].exp_avg_sq[j]);
    }
  }
  return state;
}

void AdamW::load_state(const SafetensorsContent& content, const std::filesystem::path& path) {
  const NamedTensors mine = state();
  set_tensors(mine, expect_tensors(content, mine, path));
}

}  // namespace rse
