// Models whose context is known, for tests of what an evaluation measures.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <functional>

#include "eval/target_nll.h"

namespace rse {

// Adds `vote(distance)` to the logit of every token that the target may see: every other token of its
// sequence inside the attention window. distance is the place of the token seen relative to the target,
// positive after it. Votes are added in order of position, so that equal contexts give equal bits.
inline Evaluator voting_model(int64_t vocabulary, std::function<float(int64_t)> vote, int64_t farthest) {
  return [=](const torch::Tensor& input_ids, const SequenceLayout& layout, const torch::Tensor& targets) {
    torch::Tensor logits = torch::zeros({targets.numel(), vocabulary});
    const int64_t* ids = input_ids.const_data_ptr<int64_t>();
    const int64_t* target = targets.const_data_ptr<int64_t>();
    float* row = logits.data_ptr<float>();
    const int64_t reach =
        layout.attention_window > 0 ? std::min(farthest, layout.attention_window - 1) : farthest;
    size_t sequence = 0;
    for (int64_t i = 0; i < targets.numel(); ++i, row += vocabulary) {
      while (layout.borders[sequence + 1] <= target[i]) ++sequence;
      const int64_t first = std::max(layout.borders[sequence], target[i] - reach);
      const int64_t last = std::min(layout.borders[sequence + 1] - 1, target[i] + reach);
      for (int64_t j = first; j <= last; ++j) {
        if (j != target[i]) row[ids[j]] += vote(j - target[i]);
      }
    }
    return logits;
  };
}

// This model sees `reach` tokens on either side, and near tokens count more.
inline Evaluator near_model(int64_t vocabulary, int64_t reach) {
  return voting_model(
      vocabulary, [](int64_t d) { return 1.0f / static_cast<float>(1 + std::abs(d)); }, reach);
}

// This model knows one thing: the token `distance` before the target may stand here again.
inline Evaluator far_model(int64_t vocabulary, int64_t distance) {
  return voting_model(
      vocabulary, [=](int64_t d) { return d == -distance ? 3.0f : 0.0f; }, distance);
}

}  // namespace rse
