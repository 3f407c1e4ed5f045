// Takes the tensors of an encoder or an optimizer from safetensors files.
//
// Order of calls: read_safetensors() -> expect_tensors() -> set_tensors(). Invariant: everything is checked
// before anything changes.
#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <vector>

#include "formats/safetensors.h"
#include "nn/encoder.h"

namespace rse {

// The encoder's parameters and buffers by name. They share the encoder's memory.
NamedTensors weights_of(const EncoderImpl& encoder);

// What `content` holds for `like`, in its order, on the CPU. UserError naming `path` where a tensor is
// missing, has another shape or dtype, or is one too many.
std::vector<torch::Tensor> expect_tensors(const SafetensorsContent& content, const NamedTensors& like,
                                          const std::filesystem::path& path);

// Copies values[i] to tensors[i], on any device.
void set_tensors(const NamedTensors& tensors, const std::vector<torch::Tensor>& values);

}  // namespace rse
