// Reads the header of a safetensors file and checks it against the file's size, without LibTorch.
//
// Invariants of what it returns: the bytes of every tensor are those of its shape and dtype, the ranges fill
// the data section without gaps or overlaps, and no shape overflows int64 even where its zeros are taken as
// ones. Anything else is a UserError that names the file, the tensor, the value and what was expected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace rse {

// The format's own limit on the bytes of a header.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsEntry {
  std::string dtype;  // a key of safetensors_dtypes()
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the data section
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // where the data section starts in the file
};

// Bytes per element of every dtype that is read: "F32" -> 4.
const std::map<std::string, uint64_t>& safetensors_dtypes();

// file: the bytes of the whole file; path: its name in messages.
SafetensorsHeader parse_safetensors_header(const std::byte* file, uint64_t size,
                                           const std::filesystem::path& path);

}  // namespace rse
