// One encoder layer: attention and a feed-forward network, each on a residual branch, with the norm before
// the branch (pre) or after the sum (post).
//
//   pre:   x += drop(attention(norm(x)));   x += drop(ffn(norm(x)))
//   post:  x = norm(x + drop(attention(x)));   x = norm(x + drop(ffn(x)))
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>

#include "nn/dropout.h"
#include "nn/model_config.h"
#include "nn/position/position_method.h"
#include "nn/sequence_layout.h"

namespace rse {

class EncoderLayerImpl : public torch::nn::Module {
 public:
  // index: of the layer, from 0; names its dropout streams and its place in the position method.
  EncoderLayerImpl(const ModelConfig& config, int64_t index);

  // hidden: [total, width]; returns the same shape. recompute_ffn: backward computes the feed-forward network again
  // (nn/recompute.h).
  torch::Tensor forward(const torch::Tensor& hidden, const SequenceLayout& layout, PositionMethod& position,
                        const std::optional<DropoutKey>& dropout_key, bool recompute_ffn = false);

 private:
  torch::Tensor attend(const torch::Tensor& hidden, const SequenceLayout& layout, PositionMethod& position);
  torch::Tensor feed_forward(const torch::Tensor& hidden);
  torch::Tensor recomputed_feed_forward(const torch::Tensor& hidden);

  int64_t index_, heads_, head_dim_;
  NormPlacement norm_;
  Activation activation_;
  double dropout_;
  torch::nn::Linear query_key_value_{nullptr}, attention_output_{nullptr}, ffn_input_{nullptr},
      ffn_output_{nullptr};
  torch::nn::LayerNorm attention_norm_{nullptr}, ffn_norm_{nullptr};
};
TORCH_MODULE(EncoderLayer);

// A layer norm over the last dimension of `width` elements, eps 1e-5. Without bias, its `bias` is an undefined
// tensor and no parameter. (A clone() of it would get one again.)
torch::nn::LayerNorm make_norm(int64_t width, bool bias);

}  // namespace rse
