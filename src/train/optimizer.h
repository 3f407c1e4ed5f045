// AdamW (Loshchilov and Hutter, 2019) over parameter groups, through LibTorch's fused multi-tensor kernel,
// with global gradient clipping and steps that a non-finite loss or gradient cancels on the device, without a
// host sync.
//
// Order of calls: make_optimizer_groups(encoder) -> AdamW -> per update: backward passes, then step().
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "nn/encoder.h"
#include "run/run_config.h"

namespace rse {

// One group: parameters that share a learning rate and a weight decay.
struct OptimizerGroup {
  ParameterRole role = ParameterRole::kMatrix;
  std::vector<std::string> names;
  std::vector<torch::Tensor> parameters;

  int64_t elements() const;
  bool decayed() const { return role == ParameterRole::kMatrix; }  // by weight_decay
};

// "matrices", "biases and norms", "decay".
const char* group_name(ParameterRole role);

// The encoder's parameters by role: matrices (tables and embeddings among them), biases and norms, and the
// raw decays where `expect_decay`. A group of these three that ends up empty, or a decay where none is
// expected, is a UserError.
std::vector<OptimizerGroup> make_optimizer_groups(const torch::nn::Module& encoder, bool expect_decay);

// The learning rates of one update.
struct LearningRates {
  double base = 0;
  double decay = 0;  // of the decay group
};

class AdamW {
 public:
  // The parameters stay where they are: move the module to its device first.
  AdamW(std::vector<OptimizerGroup> groups, const AdamWOptions& options);

  // What one update measured, on the parameters' device.
  struct StepResult {
    torch::Tensor grad_norm;  // float32 scalar, before clipping
    torch::Tensor skipped;    // float32 scalar: 1 where the loss or the norm was not finite, else 0
  };

  // Clips and applies the gradients, and clears them. loss: a scalar on the same device. Where loss or
  // gradient norm is not finite, neither parameters nor state change.
  StepResult step(const LearningRates& rates, const torch::Tensor& loss);

  const std::vector<OptimizerGroup>& groups() const { return groups_; }
  // State by parameter: "exp_avg.NAME", "exp_avg_sq.NAME", and "step".
  NamedTensors state() const;
  // Copies into the state; tensors come from `path` (for messages).
  void load_state(const SafetensorsContent& content, const std::filesystem::path& path);

 private:
  struct Moments {
    std::vector<torch::Tensor> exp_avg, exp_avg_sq;
    std::vector<torch::Tensor> steps;  // the one step counter, once for each parameter
  };
  std::vector<OptimizerGroup> groups_;
  std::vector<Moments> moments_;  // a group
  AdamWOptions options_;
  torch::Tensor step_;  // float32 scalar: updates applied
};

}  // namespace rse
