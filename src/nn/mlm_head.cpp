#include "nn/mlm_head.h"

#include <ATen/record_function.h>

#include "nn/encoder_layer.h"
#include "nn/step_ranges.h"

namespace rse {

MaskedLmHead::MaskedLmHead(torch::nn::Module& model, const ModelConfig& config,
                           torch::nn::Embedding embedding)
    : embedding_(std::move(embedding)) {
  if (config.head == HeadKind::kTransform) {
    const auto dense = torch::nn::LinearOptions(config.width, config.width).bias(config.biases);
    dense_ = model.register_module("head_dense", torch::nn::Linear(dense));
    norm_ = model.register_module("head_norm", make_norm(config.width, config.biases));
  }
  bias_ = model.register_parameter("head_bias", torch::zeros({config.vocab_size}));
}

torch::Tensor MaskedLmHead::logits(const torch::Tensor& hidden) {
  RECORD_USER_SCOPE(kHeadRange);
  const torch::Tensor features = dense_ ? norm_(torch::gelu(dense_(hidden))) : hidden;
  return torch::linear(features, embedding_->weight, bias_);
}

}  // namespace rse
