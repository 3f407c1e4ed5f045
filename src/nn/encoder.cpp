#include "nn/encoder.h"

#include "core/check.h"
#include "nn/initialization.h"

namespace rse {

EncoderImpl::EncoderImpl(const ModelConfig& config) : config_(config) {
  RSE_ASSERT(config.vocab_size > 0, "the vocabulary's size is set before the encoder is made");
  embedding_ = register_module("embedding", torch::nn::Embedding(config.vocab_size, config.width));
  position_ = register_module("position", make_position_method(config));
  if (config.embedding_norm)
    embedding_norm_ = register_module("embedding_norm", make_norm(config.width, config.biases));
  layers_ = register_module("layers", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.layers; ++i) layers_->push_back(EncoderLayer(config, i));
  if (config.norm == NormPlacement::kPre)
    final_norm_ = register_module("final_norm", make_norm(config.width, config.biases));
  head_.emplace(*this, config, embedding_);
  const std::optional<LengthLimit> limit = config.position.active().limit();
  if (limit && limit->rule.empty()) longest_ = limit->positions;
}

torch::Tensor EncoderImpl::hidden_states(const torch::Tensor& input_ids, const SequenceLayout& layout,
                                         const torch::Tensor& at,
                                         const std::optional<DropoutKey>& dropout_key) {
  RSE_ASSERT(input_ids.dim() == 1 && input_ids.size(0) == layout.total(), "{} input ids for a layout of {}",
             input_ids.numel(), layout.total());
  if (longest_ > 0 && layout.max_seqlen > longest_) {
    const std::optional<LengthLimit> limit = config_.position.active().limit();
    throw_user_error("{}: '{}': expected at least {}, the longest sequence; or set {} to {}", limit->key,
                     longest_, layout.max_seqlen, limit->beyond_key, limit->rule_names());
  }
  torch::Tensor hidden = embed(input_ids, layout, dropout_key);
  for (const auto& layer : *layers_) {
    hidden = run_layer(std::dynamic_pointer_cast<EncoderLayerImpl>(layer), hidden, layout, dropout_key);
  }
  hidden = hidden.index_select(0, at);
  return final_norm_ ? final_norm_(hidden) : hidden;
}

torch::Tensor EncoderImpl::forward(const torch::Tensor& input_ids, const SequenceLayout& layout,
                                   const torch::Tensor& target_positions,
                                   const std::optional<DropoutKey>& dropout_key) {
  return head_->logits(hidden_states(input_ids, layout, target_positions, dropout_key));
}

torch::Tensor EncoderImpl::embed(const torch::Tensor& input_ids, const SequenceLayout& layout,
                                 const std::optional<DropoutKey>& dropout_key) {
  torch::Tensor hidden = position_->embed(embedding_(input_ids), layout);
  if (embedding_norm_) hidden = embedding_norm_(hidden);
  return dropout(hidden, config_.dropout, dropout_key, 0, DropoutSite::kEmbedding);
}

torch::Tensor EncoderImpl::run_layer(const std::shared_ptr<EncoderLayerImpl>& layer,
                                     const torch::Tensor& hidden, const SequenceLayout& layout,
                                     const std::optional<DropoutKey>& dropout_key) {
  if (recompute_ != Recompute::kLayer) {
    return layer->forward(hidden, layout, *position_, dropout_key, recompute_ == Recompute::kFfn);
  }
  std::vector<torch::Tensor> parameters = layer->parameters();
  for (const torch::Tensor& parameter : position_->parameters()) parameters.push_back(parameter);
  return recomputed(hidden, parameters,
                    [layer, layout, position = position_, dropout_key](const torch::Tensor& input) {
                      return layer->forward(input, layout, *position, dropout_key);
                    });
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
