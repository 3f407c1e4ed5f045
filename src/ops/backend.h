// Which backend computes a call, and what forward keeps for that backend's backward.
//
// Order of calls: resolve_backend() where tensors still tell their device (autograd, kernels) ->
// saved_size() where shapes are all there is (Meta).
#pragma once

#include <torch/torch.h>

#include <optional>

#include "kernels/saved_size.h"
#include "ops/attention.h"

namespace rse::ops {

// The CUDA kernels that `backend` names; an assertion fails for a backend that names none.
kernels::Path path_of(Backend backend);

// kAuto for a CUDA query: the first of kHopper and kPortable that takes its dtype and head_dim on its device,
// else kReference; kHopper, which pads every document to a multiple of 128 rows, only for documents of 32
// tokens or more on average. Anything else comes back as it is; kAuto of a CPU query is the SIMD kernel.
Backend resolve_backend(Backend backend, const torch::Tensor& query,
                        const std::optional<torch::Tensor>& cu_seqlens);

// Elements of attention_forward's `saved` (float32) for a resolved backend and a query as the caller gave it;
// documents: 1 where not packed.
c10::SymInt saved_size(const torch::Tensor& query, const c10::SymInt& documents, bool packed,
                       const AttentionOptions& options, bool save);

}  // namespace rse::ops
