#include "nn/position/decay.h"

#include <cmath>

#include "core/check.h"

namespace rse {
namespace {

std::vector<int64_t> raw_shape(DecayScope scope, int64_t layers, int64_t heads) {
  switch (scope) {
    case DecayScope::kPerHead:
      return {layers, heads};
    case DecayScope::kPerLayer:
      return {layers};
    case DecayScope::kGlobal:
      return {1};
  }
  RSE_ASSERT(false, "a decay scope without a shape");
}

}  // namespace

double inverse_softplus(double decay) { return decay + std::log(-std::expm1(-decay)); }

void DecayConfig::bind(ConfigBinder& b) {
  b.choice("scope", scope,
           {{"per_head", DecayScope::kPerHead},
            {"per_layer", DecayScope::kPerLayer},
            {"global", DecayScope::kGlobal}});
  b.choice("init", init, {{"uniform", DecayInit::kUniform}, {"geometric", DecayInit::kGeometric}});
  b.field("value", value, Range<double>{0.0, 100.0, true, false});
  if (b.reading() && init == DecayInit::kGeometric && scope != DecayScope::kPerHead) {
    throw_user_error("{}: {}: 'geometric': expected 'uniform' unless scope is 'per_head' (one slope a head)",
                     b.where("init"), b.path("init"));
  }
}

int64_t DecayConfig::parameters(int64_t layers, int64_t heads) const {
  return c10::multiply_integers(raw_shape(scope, layers, heads));
}

LearnedDecay::LearnedDecay(torch::nn::Module& owner, const DecayConfig& config, int64_t layers, int64_t heads)
    : config_(config),
      layers_(layers),
      heads_(heads),
      raw_(owner.register_parameter("raw_decay",
                                    torch::zeros(raw_shape(config.scope, layers, heads), torch::kFloat32))) {}

void LearnedDecay::initialize() {
  torch::NoGradGuard no_grad;
  if (config_.init == DecayInit::kUniform) {
    raw_.fill_(inverse_softplus(config_.value));
    return;
  }
  torch::Tensor slopes = torch::empty({heads_}, torch::kFloat32);
  for (int64_t h = 0; h < heads_; ++h) {
    const double exponent = -8.0 * static_cast<double>(h + 1) / static_cast<double>(heads_);
    slopes[h] = inverse_softplus(std::exp2(exponent));
  }
  raw_.copy_(slopes.expand_as(raw_));
}

torch::Tensor LearnedDecay::of_layer(int64_t layer) const {
  const torch::Tensor raw = config_.scope == DecayScope::kGlobal ? raw_ : raw_[layer];
  return torch::softplus(raw).expand({heads_}).contiguous();
}

torch::Tensor LearnedDecay::values() const {
  torch::NoGradGuard no_grad;
  const torch::Tensor decay = torch::softplus(raw_).to(torch::kCPU, torch::kFloat32);
  return (config_.scope == DecayScope::kPerLayer ? decay.unsqueeze(1) : decay)
      .expand({layers_, heads_})
      .contiguous();
}

}  // namespace rse
