// Writes and reads safetensors files: the length of the header (u64, little-endian), a JSON header, and the
// tensors' bytes. Python's safetensors package reads what is written here, and what it writes is read here.
//
// Invariant: the byte ranges of the tensors fill the data section without gaps or overlaps. A file that
// breaks this, or whose header is damaged, is a UserError that names the file, the tensor, the value and what
// was expected.
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

// Writes tensors of any device and strides, whose names are unique, and metadata. The file is synced and then
// renamed into place.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

struct SafetensorsContent {
  std::map<std::string, torch::Tensor> tensors;  // contiguous, on the CPU, owning their memory
  std::map<std::string, std::string> metadata;
};

SafetensorsContent read_safetensors(const std::filesystem::path& path);
SafetensorsContent read_safetensors(const MappedFile& file);

// The tensor `name` of `content`. UserError naming `path` unless it is there with the shape and dtype of
// `like`.
torch::Tensor expect_tensor(const SafetensorsContent& content, const std::string& name,
                            const torch::Tensor& like, const std::filesystem::path& path);

}  // namespace rse
