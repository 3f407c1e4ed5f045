// Which backend computes a call, and what forward keeps for that backend's backward.
//
// Order of calls: resolve_backend() where tensors still tell their device (autograd, kernels) ->
// saved_sizes() where shapes are all there is (Meta).
#pragma once

#include <torch/torch.h>

#include <vector>

#include "ops/attention.h"

namespace rse::ops {

// kAuto for a CUDA query: kPortable where the kernels take its dtype and head_dim on its device, else
// kReference. Anything else comes back as it is; kAuto of a CPU query is the SIMD kernel.
Backend resolve_backend(Backend backend, const torch::Tensor& query);

// Shape of attention_forward's `saved` (float32) for a resolved backend and a query as the caller gave it.
std::vector<c10::SymInt> saved_sizes(const torch::Tensor& query, bool packed, const AttentionOptions& options,
                                     bool save);

}  // namespace rse::ops
