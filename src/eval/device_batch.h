// A batch of the data layer on a device, in the encoder's terms.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "data/batch.h"
#include "nn/sequence_layout.h"

namespace rse {

struct DeviceBatch {
  torch::Tensor input_ids;         // int64 [total]
  torch::Tensor target_positions;  // int64 [targets], indices into total
  torch::Tensor target_ids;        // int64 [targets]
  SequenceLayout layout;

  int64_t tokens() const { return layout.total(); }
  int64_t targets() const { return target_ids.numel(); }
};

// Copies `batch`; to CUDA through pinned memory, without waiting for the device.
DeviceBatch to_device(const TokenBatch& batch, const torch::Device& device, int64_t attention_window = 0);

}  // namespace rse
