// Softmax attention with a bias on its logits, over sequences of one length. Memory is linear in the length
// where one sequence is more than one call takes.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "nn/attention_bias.h"

namespace rse {

// query, key, value: [sequences, length, heads, head_dim], any floating dtype; returns the same shape. The
// logits <q_i, k_j> / sqrt(head_dim) + bias_ij go through LibTorch's scaled_dot_product_attention with the
// bias, rounded to the dtype of `query`, as its mask. Differentiable once, in the bias's parameter too.
//
// One call computes at most `pairs` pairs of query and key over all its heads and sequences (0: a number that
// suits the device), and never fewer than 64 queries of one sequence. Where that is less than a sequence, the
// backward pass computes each block of queries again instead of keeping its mask: no more than one call's
// mask and its gradient is in memory at a time.
torch::Tensor biased_attention(const torch::Tensor& query, const torch::Tensor& key,
                               const torch::Tensor& value, const AttentionBiasPtr& bias, int64_t pairs = 0);

// How biased_attention() cuts its work into calls; pairs as there.
struct BiasedCalls {
  bool whole = true;       // a call takes whole sequences, and backward keeps its mask
  int64_t block_rows = 0;  // queries of one sequence per call where not
  int64_t sequences = 1;   // per call
};
BiasedCalls biased_calls(int64_t sequences, int64_t length, int64_t heads, bool cuda, int64_t pairs = 0);

}  // namespace rse
