// bf16 autocast for a scope: matrix products in bfloat16, parameters and sums stay float32.
#pragma once

#include <torch/torch.h>

namespace rse {

// While it lives, forward passes on `device` run under bf16 autocast (enabled = true) or without (false).
// Casts of weights are cached until the outermost scope ends, so a scope spans one forward pass and never an
// optimizer step.
class Bf16Autocast {
 public:
  Bf16Autocast(const torch::Device& device, bool enabled);
  ~Bf16Autocast();
  Bf16Autocast(const Bf16Autocast&) = delete;
  Bf16Autocast& operator=(const Bf16Autocast&) = delete;

 private:
  c10::DeviceType device_;
  bool previous_enabled_;
  at::ScalarType previous_dtype_;
};

}  // namespace rse
