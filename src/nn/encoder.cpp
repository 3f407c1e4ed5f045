#include "nn/encoder.h"

#include "core/check.h"
#include "nn/initialization.h"

namespace rse {

EncoderImpl::EncoderImpl(const ModelConfig& config) : config_(config) {
  RSE_ASSERT(config.vocab_size > 0, "the vocabulary's size is set before the encoder is made");
  embedding_ = register_module("embedding", torch::nn::Embedding(config.vocab_size, config.width));
  position_ = register_module("position", make_position_method(config));
  if (config.embedding_norm) embedding_norm_ = register_module("embedding_norm", make_norm(config.width));
  layers_ = register_module("layers", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.layers; ++i) layers_->push_back(EncoderLayer(config, i));
  if (config.norm == NormPlacement::kPre)
    final_norm_ = register_module("final_norm", make_norm(config.width));
  if (config.head == HeadKind::kTransform) {
    head_dense_ = register_module("head_dense", torch::nn::Linear(config.width, config.width));
    head_norm_ = register_module("head_norm", make_norm(config.width));
  }
  head_bias_ = register_parameter("head_bias", torch::zeros({config.vocab_size}));
}

torch::Tensor EncoderImpl::forward(const torch::Tensor& input_ids, const SequenceLayout& layout,
                                   const torch::Tensor& target_positions,
                                   const std::optional<DropoutKey>& dropout_key) {
  RSE_ASSERT(input_ids.dim() == 1 && input_ids.size(0) == layout.total(), "{} input ids for a layout of {}",
             input_ids.numel(), layout.total());
  const int64_t limit = position_->max_positions();
  if (limit > 0 && layout.max_seqlen > limit) {
    throw_user_error(
        "model.position.learned.max_positions: '{}': expected at least {}, the longest sequence; or set "
        "model.position.learned.beyond to clamp, tile or interpolate",
        limit, layout.max_seqlen);
  }
  torch::Tensor hidden = embed(input_ids, layout, dropout_key);
  for (const auto& layer : *layers_) {
    hidden = layer->as<EncoderLayerImpl>()->forward(hidden, layout, *position_, dropout_key);
  }
  return predict(hidden.index_select(0, target_positions));
}

torch::Tensor EncoderImpl::embed(const torch::Tensor& input_ids, const SequenceLayout& layout,
                                 const std::optional<DropoutKey>& dropout_key) {
  torch::Tensor hidden = position_->embed(embedding_(input_ids), layout);
  if (embedding_norm_) hidden = embedding_norm_(hidden);
  return dropout(hidden, config_.dropout, dropout_key, 0, DropoutSite::kEmbedding);
}

// hidden: [targets, width]. The transposed embedding and a bias; HeadKind::kTransform (Devlin et al. 2019)
// puts a dense layer, GELU and norm before them.
torch::Tensor EncoderImpl::predict(const torch::Tensor& hidden) {
  torch::Tensor features = final_norm_ ? final_norm_(hidden) : hidden;
  if (head_dense_) features = head_norm_(torch::gelu(head_dense_(features)));
  return torch::linear(features, embedding_->weight, head_bias_);
}

void initialize_parameters(EncoderImpl& encoder, uint64_t seed) {
  torch::NoGradGuard no_grad;
  for (auto& item : encoder.named_parameters()) {
    const std::string& name = item.key();
    if (name.starts_with("position.")) continue;
    torch::Tensor& parameter = item.value();
    if (parameter.dim() >= 2) {
      fill_normal(parameter, parameter_key(seed, name), encoder.config().init_std);
    } else {
      parameter.fill_(name.ends_with("norm.weight") ? 1.0 : 0.0);
    }
  }
  encoder.position().initialize(seed);
}

ParameterRole parameter_role(const std::string& name, const torch::Tensor& parameter) {
  if (name.ends_with("raw_decay")) return ParameterRole::kDecay;
  return parameter.dim() >= 2 ? ParameterRole::kMatrix : ParameterRole::kBiasOrNorm;
}

}  // namespace rse
