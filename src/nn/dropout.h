// Dropout whose masks are a pure function of (seed, micro-batch, layer, site): no generator keeps state
// between calls, so a resumed run draws the same masks, and arms of a comparison share them.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>

namespace rse {

// Names the dropout streams of one forward pass.
struct DropoutKey {
  uint64_t seed = 0;
  // The global index of the micro-batch: update * (micro-batches per update) + micro-batch of the update. It
  // does not depend on how many processes share the update.
  uint64_t micro_batch = 0;
};

enum class DropoutSite : uint64_t { kEmbedding = 0, kAttention = 1, kFfn = 2 };

// input: any shape, any floating dtype. Inverted dropout: each element is kept with probability 1 - rate and
// scaled by 1 / (1 - rate); 0 <= rate < 1. Without a key, or with rate 0, returns `input`. Differentiable once
// (the mask is saved, one byte per element, and nothing else). CPU and CUDA masks of one key differ: each device
// has its own generator. layer: 0 for the embedding.
torch::Tensor dropout(const torch::Tensor& input, double rate, const std::optional<DropoutKey>& key,
                      int64_t layer, DropoutSite site);

}  // namespace rse
