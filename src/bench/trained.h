// What a trained model's attention layers are given, for rse-bench attention --run: the first RSE arm, the
// first of its seeds, reading the first `batch` windows of `seq` tokens of a token file, 15 % of them masked.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "bench/attention.h"
#include "bench/cases.h"

namespace rse {

// By layer, as leaves that require gradients; out_grad is standard normal. Sets heads and head_dim of
// `options` to the model's. UserError: no such run or token file, another tokenizer, no RSE arm, too few
// documents of `seq` tokens.
std::vector<BenchInputs> trained_inputs(AttentionBenchOptions& options, int64_t seq, torch::ScalarType type,
                                        const torch::Device& device);

}  // namespace rse
