// Shows what a run would cost without training: parameters by group, memory, tokens and FLOP per step, and
// disk. Then it takes one micro-batch forward and backward through each arm. It writes nothing.
#pragma once

#include <torch/torch.h>

#include <string>

#include "data/token_file.h"
#include "run/run_config.h"

namespace rse {

// Returns the report. resolve_vocabulary() has been applied to `config`.
std::string dry_run(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
                    const torch::Device& device);

}  // namespace rse
