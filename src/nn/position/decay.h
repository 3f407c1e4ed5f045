// Learned decays: one rate lambda = softplus(raw) per head, layer or model, which lowers an attention logit
// by lambda times the distance of query and key. Shared by the methods `rse` and `rope_decay`.
//
// Order of calls: DecayConfig -> LearnedDecay, made with the method that owns the parameter -> initialize()
// -> of_layer() in every forward pass. Invariant: the raw parameter is named "raw_decay", which gives it its
// own optimizer group (parameter_role() in nn/encoder.h), and is float32 whatever the compute dtype.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "core/config_binder.h"

namespace rse {

enum class DecayScope { kPerHead, kPerLayer, kGlobal };
enum class DecayInit { kUniform, kGeometric };

struct DecayConfig {
  DecayScope scope = DecayScope::kPerHead;
  DecayInit init = DecayInit::kUniform;  // kGeometric: a slope per head, so with kPerHead only
  double value = 0.01;                   // of kUniform
  bool operator==(const DecayConfig&) const = default;
  void bind(ConfigBinder& b);

  // Raw decays of a model of so many layers and heads.
  int64_t parameters(int64_t layers, int64_t heads) const;
};

class LearnedDecay {
 public:
  // Registers the parameter with `owner`: per_head [layers, heads], per_layer [layers], global [1].
  LearnedDecay(torch::nn::Module& owner, const DecayConfig& config, int64_t layers, int64_t heads);

  // kUniform: `value` everywhere. kGeometric: head h at 2^(-8 (h + 1) / heads), the slopes of ALiBi (Press et
  // al. 2022, section 3).
  void initialize();

  // lambda of one layer's heads, [heads] in the parameter's dtype; differentiable.
  torch::Tensor of_layer(int64_t layer) const;

  // lambda of all, [layers, heads] float32 on the CPU. Waits for the device.
  torch::Tensor values() const;

 private:
  DecayConfig config_;
  int64_t layers_, heads_;
  torch::Tensor raw_;
};

// The raw value whose softplus is `decay` (> 0).
double inverse_softplus(double decay);

}  // namespace rse
