// Softmax attention over packed sequences, with or without a bias on its logits, through LibTorch's
// scaled_dot_product_attention. The one softmax attention of all position methods.
#pragma once

#include <torch/torch.h>

#include "nn/attention_bias.h"
#include "nn/sequence_layout.h"

namespace rse {

// query, key, value: [total, heads, head_dim], any floating dtype, unit stride in head_dim; returns the same
// shape and dtype. No weight crosses a border of `layout` or spans a distance of layout.attention_window or
// more. Sequences of equal length share a call, so there is no padding, and no memory beyond what
// scaled_dot_product_attention itself takes; with a window that cuts pairs off, see nn/windowed_attention.h.
// bias: added to the logits, null for none; what it costs: nn/biased_attention.h.
torch::Tensor softmax_attention(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& value, const SequenceLayout& layout,
                                const AttentionBiasPtr& bias = {});

}  // namespace rse
