#include "nn/position/rse.h"

#include <cmath>

#include "core/check.h"

namespace rse {
namespace {

std::vector<int64_t> raw_decay_shape(const ModelConfig& config) {
  switch (config.position.rse.decay.scope) {
    case DecayScope::kPerHead:
      return {config.layers, config.heads};
    case DecayScope::kPerLayer:
      return {config.layers};
    case DecayScope::kGlobal:
      return {1};
  }
  RSE_ASSERT(false, "a decay scope without a shape");
}

}  // namespace

double inverse_softplus(double decay) { return decay + std::log(-std::expm1(-decay)); }

RsePosition::RsePosition(const ModelConfig& config)
    : layers_(config.layers),
      heads_(config.heads),
      head_dim_(config.head_dim()),
      decay_(config.position.rse.decay) {
  options_.mass = config.position.rse.mass;
  options_.self_key = config.position.rse.self_key;
  options_.remainder = config.position.rse.remainder;
  options_.skip_below = config.position.rse.skip_below;
  options_.rotary_base = config.position.rotary_base;
  options_.deterministic = config.attention.deterministic;
  options_.backend = config.attention.backend;
  raw_decay_ = register_parameter("raw_decay", torch::zeros(raw_decay_shape(config), torch::kFloat32));
}

torch::Tensor RsePosition::layer_decay(int64_t layer) const {
  const torch::Tensor raw = decay_.scope == DecayScope::kGlobal ? raw_decay_ : raw_decay_[layer];
  return torch::softplus(raw).expand({heads_}).contiguous();
}

torch::Tensor RsePosition::attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& key,
                                  const torch::Tensor& value, const SequenceLayout& layout) {
  torch::Tensor decay = layer_decay(layer);
  if (query.scalar_type() == torch::kFloat64) decay = decay.to(torch::kFloat64);
  AttentionOptions options = options_;
  if (layout.windowed()) options.window = layout.attention_window;
  if (layout.uniform_length == 0) {
    if (observer_) observer_(layer, query, key, value, decay);
    return attention(query, key, value, decay, layout.cu_seqlens, layout.max_seqlen, options, layout.borders)
        .out;
  }
  const std::vector<int64_t> shape = {layout.sequences(), layout.uniform_length, heads_, head_dim_};
  const torch::Tensor q = query.view(shape), k = key.view(shape), v = value.view(shape);
  if (observer_) observer_(layer, q, k, v, decay);
  return attention(q, k, v, decay, std::nullopt, 0, options).out.reshape(query.sizes());
}

void RsePosition::initialize(uint64_t /*seed*/) {
  torch::NoGradGuard no_grad;
  if (decay_.init == DecayInit::kUniform) {
    raw_decay_.fill_(inverse_softplus(decay_.value));
    return;
  }
  // Head h starts at 2^(-8 (h + 1) / heads), the slopes of ALiBi (Press et al. 2022, section 3).
  torch::Tensor slopes = torch::empty({heads_}, torch::kFloat32);
  for (int64_t h = 0; h < heads_; ++h) {
    const double exponent = -8.0 * static_cast<double>(h + 1) / static_cast<double>(heads_);
    slopes[h] = inverse_softplus(std::exp2(exponent));
  }
  raw_decay_.copy_(slopes.expand_as(raw_decay_));
}

torch::Tensor RsePosition::decays() const {
  torch::NoGradGuard no_grad;
  const torch::Tensor decay = torch::softplus(raw_decay_).to(torch::kCPU, torch::kFloat32);
  return (decay_.scope == DecayScope::kPerLayer ? decay.unsqueeze(1) : decay)
      .expand({layers_, heads_})
      .contiguous();
}

double RsePosition::attention_flops(int64_t length) const {
  // Two products, as in softmax attention; every pair counted, skipped or not.
  return 4.0 * static_cast<double>(length) * static_cast<double>(length) *
         static_cast<double>(heads_ * head_dim_);
}

int64_t RsePosition::table_bytes(int64_t length) const {
  if (options_.rotary_base == 0.0) return 0;
  return 2 * length * (head_dim_ / 2) * static_cast<int64_t>(sizeof(float));  // cos and sin
}

std::string RsePosition::describe(const torch::Device& device) const {
  return "RSE, " + describe_backend(options_.backend, device);
}

}  // namespace rse
