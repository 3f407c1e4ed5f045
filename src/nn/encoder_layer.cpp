#include "nn/encoder_layer.h"

#include <memory>

#include "nn/recompute.h"

namespace rse {
namespace {

// LibTorch's LayerNorm without its bias, for which LayerNormOptions has no switch.
class UnbiasedNormImpl : public torch::nn::LayerNormImpl {
 public:
  explicit UnbiasedNormImpl(const torch::nn::LayerNormOptions& options) : LayerNormImpl(options) {
    parameters_.erase("bias");
    bias = torch::Tensor();
  }
};

torch::nn::Linear make_linear(int64_t inputs, int64_t outputs, bool bias) {
  return torch::nn::Linear(torch::nn::LinearOptions(inputs, outputs).bias(bias));
}

}  // namespace

torch::nn::LayerNorm make_norm(int64_t width, bool bias) {
  const auto options = torch::nn::LayerNormOptions({width}).eps(1e-5);
  if (bias) return torch::nn::LayerNorm(options);
  return torch::nn::LayerNorm(
      std::shared_ptr<torch::nn::LayerNormImpl>(std::make_shared<UnbiasedNormImpl>(options)));
}

EncoderLayerImpl::EncoderLayerImpl(const ModelConfig& config, int64_t index)
    : index_(index),
      heads_(config.heads),
      head_dim_(config.head_dim()),
      norm_(config.norm),
      activation_(config.activation),
      dropout_(config.dropout) {
  const int64_t width = config.width;
  // GeGLU's first half is the gate, the second the value.
  const int64_t ffn_input_width = (activation_ == Activation::kGeglu ? 2 : 1) * config.ffn_width;
  const bool bias = config.biases;
  attention_norm_ = register_module("attention_norm", make_norm(width, bias));
  query_key_value_ = register_module("query_key_value", make_linear(width, 3 * width, bias));
  attention_output_ = register_module("attention_output", make_linear(width, width, bias));
  ffn_norm_ = register_module("ffn_norm", make_norm(width, bias));
  ffn_input_ = register_module("ffn_input", make_linear(width, ffn_input_width, bias));
  ffn_output_ = register_module("ffn_output", make_linear(config.ffn_width, width, bias));
}

torch::Tensor EncoderLayerImpl::attend(const torch::Tensor& hidden, const SequenceLayout& layout,
                                       PositionMethod& position) {
  const torch::Tensor projected = query_key_value_(hidden).view({hidden.size(0), 3, heads_, head_dim_});
  const auto parts = projected.unbind(1);
  const torch::Tensor attended = position.attend(index_, parts[0], parts[1], parts[2], layout);
  return attention_output_(attended.reshape({hidden.size(0), heads_ * head_dim_}));
}

torch::Tensor EncoderLayerImpl::feed_forward(const torch::Tensor& hidden) {
  const torch::Tensor inner = ffn_input_(hidden);
  if (activation_ == Activation::kGelu) return ffn_output_(torch::gelu(inner));
  const auto halves = inner.chunk(2, -1);
  return ffn_output_(torch::gelu(halves[0]) * halves[1]);
}

torch::Tensor EncoderLayerImpl::recomputed_feed_forward(const torch::Tensor& hidden) {
  std::vector<torch::Tensor> parameters = ffn_input_->parameters();
  for (const torch::Tensor& parameter : ffn_output_->parameters()) parameters.push_back(parameter);
  const auto self = std::static_pointer_cast<EncoderLayerImpl>(shared_from_this());
  return recomputed(in_compute_dtype(hidden), parameters,
                    [self](const torch::Tensor& input) { return self->feed_forward(input); });
}

torch::Tensor EncoderLayerImpl::forward(const torch::Tensor& hidden, const SequenceLayout& layout,
                                        PositionMethod& position,
                                        const std::optional<DropoutKey>& dropout_key, bool recompute_ffn) {
  const auto ffn = [&](const torch::Tensor& input) {
    return recompute_ffn ? recomputed_feed_forward(input) : feed_forward(input);
  };
  const auto drop = [&](const torch::Tensor& branch, DropoutSite site) {
    return dropout(branch, dropout_, dropout_key, index_, site);
  };
  if (norm_ == NormPlacement::kPre) {
    const torch::Tensor mixed =
        hidden + drop(attend(attention_norm_(hidden), layout, position), DropoutSite::kAttention);
    return mixed + drop(ffn(ffn_norm_(mixed)), DropoutSite::kFfn);
  }
  const torch::Tensor mixed =
      attention_norm_(hidden + drop(attend(hidden, layout, position), DropoutSite::kAttention));
  return ffn_norm_(mixed + drop(ffn(mixed), DropoutSite::kFfn));
}

}  // namespace rse
