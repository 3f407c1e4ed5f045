// safetensors files: u64 header length (little endian), JSON header, raw tensor bytes. Python's safetensors
// package reads what is written here, and the reader takes what that package writes.
//
// Invariants: the tensors' byte ranges fill the data section without gaps or overlaps; a file that breaks
// this, or whose header is damaged, is one UserError naming the file, the tensor, the value and what was
// expected.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"

namespace rse {

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

// Writes the tensors (any device and strides; names unique) and string metadata; synced and renamed into
// place.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

struct SafetensorsContent {
  std::map<std::string, torch::Tensor> tensors;  // contiguous, on the CPU, owning their memory
  std::map<std::string, std::string> metadata;
};

SafetensorsContent read_safetensors(const std::filesystem::path& path);
SafetensorsContent read_safetensors(const MappedFile& file);

// The tensor `name` of `content` with the shape and dtype of `like`; UserError naming `path` otherwise.
torch::Tensor expect_tensor(const SafetensorsContent& content, const std::string& name,
                            const torch::Tensor& like, const std::filesystem::path& path);

}  // namespace rse
