// The inputs of a trained model's attention layers, for rse-bench attention --run: of the first RSE arm's
// first seed, reading the first `batch` windows of `seq` tokens of a token file with 15 % of the tokens
// masked.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "bench/attention.h"
#include "bench/cases.h"

namespace rse {

// One element per layer: leaves that require gradients, and a standard normal out_grad. Sets heads and
// head_dim of `options` to the model's. UserError: there is no such run or token file, the tokenizer is
// another, no arm is RSE, or too few documents have `seq` tokens.
std::vector<BenchInputs> trained_inputs(AttentionBenchOptions& options, int64_t seq, torch::ScalarType type,
                                        const torch::Device& device);

}  // namespace rse
