// A BERT-style encoder: token ids become hidden states. It owns the parameters of its masked-language-model
// head, too, so that a model is one module to train, to save and to evaluate.
//
// Order of calls: Encoder(config) -> initialize_parameters(encoder, seed) -> to(device) -> forward or
// hidden_states. Until initialize_parameters() the values are LibTorch's random defaults.
// Invariants: nothing outside the position method knows about positions; parameter names are the same for
// every position method, whose own begin with "position."; names and order of parameters are part of the
// format of checkpoints; no random state is kept, so train() and eval() mode are alike; nothing here waits
// for the device.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "nn/dropout.h"
#include "nn/encoder_layer.h"
#include "nn/mlm_head.h"
#include "nn/model_config.h"
#include "nn/position/position_method.h"
#include "nn/recompute.h"
#include "nn/sequence_layout.h"

namespace rse {

class EncoderImpl : public torch::nn::Module {
 public:
  // config.vocab_size > 0.
  explicit EncoderImpl(const ModelConfig& config);

  // input_ids: int64 [total]; at: int64 [tokens], indices into total. Returns the hidden states of those
  // tokens after the last norm, [tokens, width] in the dtype of the residual stream or of that norm.
  // dropout_key: absent, no dropout. Throws UserError where a sequence is longer than the position method can
  // take.
  torch::Tensor hidden_states(const torch::Tensor& input_ids, const SequenceLayout& layout,
                              const torch::Tensor& at,
                              const std::optional<DropoutKey>& dropout_key = std::nullopt);

  // The head on the hidden states of the targets: logits [targets, vocab_size] in the compute dtype.
  torch::Tensor forward(const torch::Tensor& input_ids, const SequenceLayout& layout,
                        const torch::Tensor& target_positions,
                        const std::optional<DropoutKey>& dropout_key = std::nullopt);

  // What backward computes again from now on; at first nothing.
  void set_recompute(Recompute recompute) { recompute_ = recompute; }

  const ModelConfig& config() const { return config_; }
  PositionMethod& position() { return *position_; }
  const PositionMethod& position() const { return *position_; }

 private:
  torch::Tensor embed(const torch::Tensor& input_ids, const SequenceLayout& layout,
                      const std::optional<DropoutKey>& dropout_key);
  torch::Tensor run_layer(const std::shared_ptr<EncoderLayerImpl>& layer, const torch::Tensor& hidden,
                          const SequenceLayout& layout, const std::optional<DropoutKey>& dropout_key);

  ModelConfig config_;
  Recompute recompute_ = Recompute::kNone;
  int64_t longest_ = 0;  // sequence that the position method takes; 0: any
  std::shared_ptr<PositionMethod> position_;
  torch::nn::Embedding embedding_{nullptr};
  // Null where the configuration has none.
  torch::nn::LayerNorm embedding_norm_{nullptr}, final_norm_{nullptr};
  torch::nn::ModuleList layers_{nullptr};
  std::optional<MaskedLmHead> head_;
};
TORCH_MODULE(Encoder);

// Sets every parameter from (seed, parameter name) alone: arms that share a name and shape start bit-equal.
// Matrices and embeddings: normal(0, init_std); biases 0; norm weights 1; tables and decays as the position
// method defines.
void initialize_parameters(EncoderImpl& encoder, uint64_t seed);

// A parameter's part in optimizer groups and reports. name: dotted, as named_parameters() gives it.
enum class ParameterRole { kMatrix, kBiasOrNorm, kDecay };
ParameterRole parameter_role(const std::string& name, const torch::Tensor& parameter);

}  // namespace rse
