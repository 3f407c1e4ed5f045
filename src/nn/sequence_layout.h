// How a batch of packed sequences lies in memory, once for all layers: every token-wise tensor is
// [total, ...], sequences one after another without padding.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace rse {

struct SequenceLayout {
  // Host copy of the borders: [sequences + 1], from 0 to total.
  std::vector<int64_t> borders;
  torch::Tensor cu_seqlens;  // int32 [sequences + 1] on the device
  torch::Tensor positions;   // int64 [total] on the device: each token's position in its sequence
  int64_t max_seqlen = 0;
  // The length that all sequences share, or 0. Then [total, ...] may be viewed as [sequences, uniform_length,
  // ...].
  int64_t uniform_length = 0;
  // 0: none; w > 0: a token attends only to tokens at a distance below w.
  int64_t attention_window = 0;

  int64_t total() const { return borders.back(); }
  int64_t sequences() const { return static_cast<int64_t>(borders.size()) - 1; }
  // Whether the window cuts any pair off.
  bool windowed() const { return attention_window > 0 && attention_window < max_seqlen; }
};

// borders: from 0, never decreasing; empty sequences allowed. attention_window >= 0.
SequenceLayout make_layout(const std::vector<int32_t>& borders, const torch::Device& device,
                           int64_t attention_window = 0);

}  // namespace rse
