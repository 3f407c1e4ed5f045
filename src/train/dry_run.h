// What a run would cost, shown without training: parameters by group, memory, tokens and FLOP a step, disk;
// then one micro-batch forward and backward through each arm. Writes nothing.
#pragma once

#include <torch/torch.h>

#include <string>

#include "data/token_file.h"
#include "run/run_config.h"

namespace rse {

// config: with resolve_vocabulary() applied. Returns the report.
std::string dry_run(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
                    const torch::Device& device);

}  // namespace rse
