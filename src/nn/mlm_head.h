// The head of masked-language modelling: hidden states at the targets become logits over the vocabulary,
// through the transposed token embedding and a bias; HeadKind::kTransform (Devlin et al. 2019) puts a dense
// layer, GELU and norm before them.
//
// Without biases (ModelConfig::biases) dense layer and norm have none, but the decoder keeps its own, as in
// ModernBERT (Warner et al. 2024, section 2.1.1), where it is to make up for the weights that are tied.
#pragma once

#include <torch/torch.h>

#include "nn/model_config.h"

namespace rse {

class MaskedLmHead {
 public:
  // Registers its parameters with `model`, which owns them: head_bias, head_dense.* and head_norm.*.
  // embedding: the model's, whose weight is the decoder, too.
  MaskedLmHead(torch::nn::Module& model, const ModelConfig& config, torch::nn::Embedding embedding);

  // hidden: [targets, width]. Returns [targets, vocab_size] in the compute dtype.
  torch::Tensor logits(const torch::Tensor& hidden);

 private:
  torch::nn::Embedding embedding_;
  torch::nn::Linear dense_{nullptr};  // null without the transform
  torch::nn::LayerNorm norm_{nullptr};
  torch::Tensor bias_;  // [vocab_size]
};

}  // namespace rse
