#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "formats/safetensors_header.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The dtypes of safetensors_dtypes() as LibTorch names them.
const std::vector<std::pair<std::string, torch::ScalarType>>& dtype_names() {
  static const std::vector<std::pair<std::string, torch::ScalarType>> kNames = {
      {"F64", torch::kFloat64},   {"F32", torch::kFloat32}, {"F16", torch::kFloat16},
      {"BF16", torch::kBFloat16}, {"I64", torch::kInt64},   {"I32", torch::kInt32},
      {"I16", torch::kInt16},     {"I8", torch::kInt8},     {"U8", torch::kUInt8},
      {"BOOL", torch::kBool}};
  return kNames;
}

std::string dtype_name(torch::ScalarType type) {
  for (const auto& [name, known] : dtype_names()) {
    if (known == type) return name;
  }
  RSE_ASSERT(false, "safetensors has no name for dtype {}", c10::toString(type));
  return "";
}

torch::ScalarType scalar_type(const std::string& dtype) {
  const auto& names = dtype_names();
  const auto found =
      std::find_if(names.begin(), names.end(), [&](const auto& item) { return item.first == dtype; });
  RSE_ASSERT(found != names.end(), "LibTorch has no dtype for {}", dtype);
  return found->second;
}

}  // namespace

void write_safetensors(const fs::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    RSE_ASSERT(!header.contains(name), "tensor name '{}' is not unique", name);
    const uint64_t bytes = tensor.numel() * tensor.element_size();
    header[name] = {{"dtype", dtype_name(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data section starts on a multiple of 8
  AtomicFile file(path);
  const uint64_t length = text.size();
  file.write(&length, sizeof length);
  file.write(text.data(), text.size());
  for (const auto& item : tensors) {
    const torch::Tensor tensor = item.second.detach().to(torch::kCPU).contiguous();
    file.write(tensor.const_data_ptr(), tensor.numel() * tensor.element_size());
  }
  file.commit();
}

SafetensorsContent read_safetensors(const fs::path& path) { return read_safetensors(MappedFile(path)); }

SafetensorsContent read_safetensors(const MappedFile& file) {
  SafetensorsHeader header = parse_safetensors_header(file.data(), file.size(), file.path());
  const std::byte* data = file.data() + header.data_begin;
  SafetensorsContent content;
  content.metadata = std::move(header.metadata);
  for (const auto& [name, entry] : header.tensors) {
    torch::Tensor tensor = torch::empty(entry.shape, scalar_type(entry.dtype));
    if (entry.end > entry.begin) std::memcpy(tensor.data_ptr(), data + entry.begin, entry.end - entry.begin);
    content.tensors.emplace(name, std::move(tensor));
  }
  return content;
}

torch::Tensor expect_tensor(const SafetensorsContent& content, const std::string& name,
                            const torch::Tensor& like, const fs::path& path) {
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end()) throw_user_error("{}: tensor '{}' is missing", path.string(), name);
  const torch::Tensor& tensor = found->second;
  if (tensor.sizes() != like.sizes() || tensor.scalar_type() != like.scalar_type()) {
    throw_user_error("{}: tensor '{}' is {} [{}], expected {} [{}]", path.string(), name,
                     dtype_name(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "),
                     dtype_name(like.scalar_type()), fmt::join(like.sizes(), ", "));
  }
  return tensor;
}

}  // namespace rse
