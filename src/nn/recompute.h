// Activation checkpointing (train.recompute; Chen et al. 2016): backward computes a segment of the model again
// instead of keeping what lies inside it. It saves memory for about a third more arithmetic.
//
// Invariant: results are those without recomputation, on the CPU to the bit. Both runs of a segment see the same
// parameters, the same autocast state and gradients enabled, by which LibTorch chooses its kernels; a segment
// draws nothing but what dropout() keys, so both draw the same. A parameter gets one gradient per segment, from
// the graph around it, in the order in which it would get it otherwise.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

#include "core/enum_names.h"

namespace rse {

// What backward computes again: nothing; each feed-forward network from its input; each encoder layer from its
// input.
enum class Recompute { kNone, kFfn, kLayer };
const EnumNames<Recompute>& recompute_names();  // none, ffn, layer

// One tensor to another. It owns what it uses, for backward calls it after the forward pass has returned.
using Segment = std::function<torch::Tensor(const torch::Tensor& input)>;

// Returns segment(input), of which only `input` is kept. parameters: every tensor beside `input` that the segment
// uses and that may need a gradient; those that it does not use get none. Differentiable once. Where gradients
// are disabled it calls the segment and nothing else.
torch::Tensor recomputed(const torch::Tensor& input, const std::vector<torch::Tensor>& parameters,
                         Segment segment);

// `input` in the dtype in which autocast multiplies matrices, `input` itself without autocast: a segment that
// begins with such a product may keep this narrower tensor, with the same results.
torch::Tensor in_compute_dtype(const torch::Tensor& input);

}  // namespace rse
