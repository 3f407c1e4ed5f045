// What is added to the logits of softmax attention before the softmax: a function of the positions of query
// and key and of at most one parameter. A decay, the slopes of ALiBi or the buckets of T5 are one object
// each.
#pragma once

#include <torch/custom_class.h>
#include <torch/torch.h>

namespace rse {

// Derives from LibTorch's counted holder, so that a backward pass can keep it alive.
class AttentionBias : public torch::CustomClassHolder {
 public:
  // What is learned of the bias, or what it is computed from by learned parameters: softmax_attention() gives
  // it its gradient. Undefined where nothing is learned.
  virtual torch::Tensor parameter() const = 0;

  // parameter: parameter(), or another tensor that stands for it; undefined where nothing is learned.
  // query_positions [..., queries] and key_positions [..., keys]: int64, positions inside the sequence, on
  // the query's device; a key that attention does not see may have any. Returns [..., heads, queries,
  // keys], float32 or wider; differentiable in `parameter`.
  virtual torch::Tensor block(const torch::Tensor& parameter, const torch::Tensor& query_positions,
                              const torch::Tensor& key_positions) const = 0;
};

using AttentionBiasPtr = c10::intrusive_ptr<AttentionBias>;

}  // namespace rse
