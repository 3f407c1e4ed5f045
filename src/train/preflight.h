// Checks that need more than one setting, made before a run starts, so that it does not fail hours later.
//
// Order of calls: resolve_vocabulary() -> check_before_start().
#pragma once

#include <torch/torch.h>

#include "data/token_file.h"
#include "run/run_config.h"

namespace rse {

// A lower bound, in bytes, of what a run needs: for settings that no machine of this size can run.
struct MemoryNeed {
  // Weights and AdamW's two moments of every replica, and the gradients of one, in float32.
  double state = 0;
  // What backward keeps of each layer's attention and feed-forward, for one micro-batch.
  double activations = 0;
  double batches = 0;  // token ids of the updates that wait in host memory
};
MemoryNeed least_memory(const RunConfig& config);

// The bytes of memory that this process may use: the machine's, or the limit of its control group.
int64_t host_memory_bytes();

// UserError where least_memory() is beyond the device's memory, and where validation has no target at all.
// Warns where many updates will have none.
void check_before_start(const RunConfig& config, const TokenFile& valid_file, const torch::Device& device);

}  // namespace rse
