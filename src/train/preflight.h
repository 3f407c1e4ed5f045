// What can be known to fail before a run starts, whose settings are legal one by one.
#pragma once

#include <torch/torch.h>

#include "data/token_file.h"
#include "run/run_config.h"

namespace rse {

// A lower bound, in bytes, of what a run needs: for settings that no machine of this size can run.
struct MemoryNeed {
  double state = 0;  // weights and AdamW's two moments of every replica, gradients of one; float32
  double activations =
      0;               // of one micro-batch: what backward keeps of each layer's attention and feed-forward
  double batches = 0;  // token ids of the updates that wait in host memory
};
MemoryNeed least_memory(const RunConfig& config);

// Memory that this process may use, in bytes: the machine's, or its control group's limit.
int64_t host_memory_bytes();

// UserError where least_memory() is beyond the device's memory, and where validation has no target at all;
// warns where most updates will have none. After resolve_vocabulary().
void check_before_start(const RunConfig& config, const TokenFile& valid_file, const torch::Device& device);

}  // namespace rse
