// How much memory one call of rse::attention takes on a device, without running it.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "ops/attention.h"

namespace rse {

// Bytes. The inputs, the output and the gradients are not counted.
struct AttentionBytes {
  int64_t remainders = 0;  // rem and extent, kept for backward
  int64_t saved = 0;       // what else forward keeps for backward
  int64_t workspace = 0;   // of backward, which takes more than forward
};

// For documents of these lengths, the same length or packed (cu_seqlens) as attention() is called, with query, key
// and value of `dtype`. Of the composed reference the workspace is not known and given as 0.
[[gnu::visibility("default")]] AttentionBytes attention_bytes(const std::vector<int64_t>& lengths,
                                                              int64_t heads, int64_t head_dim,
                                                              torch::ScalarType dtype,
                                                              const torch::Device& device,
                                                              const AttentionOptions& options);

}  // namespace rse
