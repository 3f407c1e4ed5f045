// How much memory a training step takes at its peak, from the model and the shape of a micro-batch alone.
//
// The estimate follows the code tensor by tensor: a storage that forward keeps for backward is one term, whichever
// operators share it. What is left out: biases in bfloat16, what the allocator rounds up, and the chunks in which
// attention's composed reference and windowed attention work.
//
// Order of calls: estimate_memory() -> describe_memory(). Whoever changes what a layer keeps changes its term in
// memory_estimate.cpp (or the position method's memory()), and tests/nn/memory_estimate_test.cpp counts again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/encoder.h"
#include "nn/memory_terms.h"
#include "nn/recompute.h"

namespace rse {

struct StepShape {
  BatchShape batch;     // of one micro-batch
  int64_t targets = 0;  // of it
  Recompute recompute = Recompute::kNone;
  bool accumulates = false;  // gradients of an earlier micro-batch are there
};

struct MemoryEstimate {
  std::vector<MemoryTerm> state;  // weights, gradients and AdamW's two moments
  // What forward keeps for backward, in all layers together, with the loss's own tensors.
  std::vector<MemoryTerm> kept;
  // The peak by the point at which backward stands, above weights and moments: what is still kept, gradients that
  // are there, and what the point works in.
  std::vector<MemoryTerm> points;
  double library = 0;  // workspace that libraries hold on the device once they were called

  double kept_bytes() const { return sum_of(kept); }
  double lasting_bytes() const;  // weights and moments
  double worst_point() const;    // the largest of `points`
  double peak_bytes() const { return lasting_bytes() + worst_point() + library; }
};

MemoryEstimate estimate_memory(const EncoderImpl& encoder, const StepShape& shape);

// The estimate's terms, one line each, every line begun with `indent`.
std::string describe_memory(const MemoryEstimate& estimate, const std::string& indent);

}  // namespace rse
