// AdamW (Loshchilov and Hutter, 2019) over parameter groups, through LibTorch's fused multi-tensor kernel,
// with clipping of the norm of all gradients together; or StableAdamW, which divides each tensor's learning rate
// (update_clipping.h) and is AdamW otherwise, with the same state.
//
// Invariant: a loss or gradient that is not finite cancels the step on the device, without the host waiting
// for it. Order of calls: make_optimizer_groups(encoder) -> AdamW -> for each update the backward passes,
// then step().
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "nn/encoder.h"
#include "run/run_config.h"

namespace rse {

// Parameters that share a learning rate and a weight decay.
struct OptimizerGroup {
  ParameterRole role = ParameterRole::kMatrix;
  std::vector<std::string> names;
  std::vector<torch::Tensor> parameters;

  int64_t elements() const;
  // Whether weight_decay applies to the group.
  bool decayed() const { return role == ParameterRole::kMatrix; }
};

// "matrices", "biases and norms", "decay".
const char* group_name(ParameterRole role);

// The encoder's parameters by role: matrices (tables and embeddings among them), biases and norms, and with
// expect_decay the raw decays. UserError where one of these groups is empty, or where the encoder has a decay
// that is not expected.
std::vector<OptimizerGroup> make_optimizer_groups(const torch::nn::Module& encoder, bool expect_decay);

// The learning rates of one update.
struct LearningRates {
  double base = 0;
  double decay = 0;  // of the decay group
};

class AdamW {
 public:
  // The optimizer keeps the parameters as they are, so the module is on its device already.
  AdamW(std::vector<OptimizerGroup> groups, const AdamWOptions& options);

  // The measurements of one update, on the parameters' device.
  struct StepResult {
    torch::Tensor grad_norm;  // float32 scalar, before clipping
    torch::Tensor skipped;    // float32 scalar: 1 where the loss or the norm was not finite, else 0
  };

  // Clips, applies and clears the gradients. loss: a scalar on the same device. Where the loss or the norm of
  // the gradients is not finite, neither parameters nor state change.
  StepResult step(const LearningRates& rates, const torch::Tensor& loss);

  const std::vector<OptimizerGroup>& groups() const { return groups_; }
  // The state by name: "exp_avg.NAME" and "exp_avg_sq.NAME" for each parameter, and "step".
  NamedTensors state() const;
  // Copies `content` into the state. path: the file that it was read from, for messages.
  void load_state(const SafetensorsContent& content, const std::filesystem::path& path);

 private:
  // Updates group i with gradients that are clipped by their norm, unless skipped is 1.
  void apply(size_t i, const std::vector<torch::Tensor>& grads, double rate, const torch::Tensor& skipped);

  struct Moments {
    std::vector<torch::Tensor> exp_avg, exp_avg_sq;
    std::vector<torch::Tensor> steps;  // step_, once for each parameter
  };
  std::vector<OptimizerGroup> groups_;
  std::vector<Moments> moments_;  // one for each group
  AdamWOptions options_;
  torch::Tensor step_;  // float32 scalar: updates applied
};

}  // namespace rse
