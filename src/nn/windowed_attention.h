// Softmax attention in which a token attends only to tokens at a distance below the layout's window.
#pragma once

#include <torch/torch.h>

#include "nn/attention_bias.h"
#include "nn/sequence_layout.h"

namespace rse {

// query, key, value and the result as in softmax_attention(); layout.windowed(). Exact: blocks of queries
// against all keys that any of them can reach, through scaled_dot_product_attention with a band as its mask.
// Blocks of all sequences, whatever their lengths, share calls. Time and memory grow with total *
// attention_window, and with the number of heads where there is a bias: backward keeps every block's mask
// then. Differentiable; nothing waits for the device.
torch::Tensor windowed_attention(const torch::Tensor& query, const torch::Tensor& key,
                                 const torch::Tensor& value, const SequenceLayout& layout,
                                 const AttentionBiasPtr& bias = {});

}  // namespace rse
