#include "train/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/check.h"
#include "core/file.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

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

struct Entry {
  torch::ScalarType dtype = torch::kFloat32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the data section
};

[[noreturn]] void malformed(const fs::path& path, const std::string& name, const std::string& what) {
  throw_user_error("{}: safetensors header: tensor '{}': {}", path.string(), name, what);
}

// A whole number of at least 0 below 2^63, or an error.
uint64_t natural(const json& value, const fs::path& path, const std::string& name, const char* what) {
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() ? value.get<uint64_t>() > INT64_MAX : value.get<int64_t>() < 0)) {
    malformed(path, name, fmt::format("{} is {}, expected a whole number of at least 0", what, value.dump()));
  }
  return value.get<uint64_t>();
}

Entry parse_entry(const json& value, const fs::path& path, const std::string& name) {
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() ||
      !value.contains("shape") || !value["shape"].is_array() || !value.contains("data_offsets") ||
      !value["data_offsets"].is_array() || value["data_offsets"].size() != 2) {
    malformed(path, name, "expected dtype, shape and two data_offsets");
  }
  Entry entry;
  const auto& names = dtype_names();
  const std::string written = value["dtype"];
  const auto known =
      std::find_if(names.begin(), names.end(), [&](const auto& item) { return item.first == written; });
  if (known == names.end()) malformed(path, name, fmt::format("unknown dtype '{}'", written));
  entry.dtype = known->second;
  uint64_t bytes = c10::elementSize(entry.dtype);
  for (const json& extent : value["shape"]) {
    const uint64_t size = natural(extent, path, name, "an extent");
    if (__builtin_mul_overflow(bytes, size, &bytes) || bytes > INT64_MAX) {
      malformed(path, name, fmt::format("shape {} is too large", value["shape"].dump()));
    }
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  entry.begin = natural(value["data_offsets"][0], path, name, "data_offsets[0]");
  entry.end = natural(value["data_offsets"][1], path, name, "data_offsets[1]");
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    malformed(path, name,
              fmt::format("data_offsets [{}, {}], expected {} bytes", entry.begin, entry.end, bytes));
  }
  return entry;
}

json parse_header(const MappedFile& file) {
  const std::string name = file.path().string();
  uint64_t length = 0;
  if (file.size() < sizeof length) {
    throw_user_error("{}: {} bytes, a safetensors file has at least 8", name, file.size());
  }
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kMaxSafetensorsHeader || length > file.size() - sizeof length) {
    throw_user_error("{}: safetensors header length {}, expected at most {}", name, length,
                     std::min<uint64_t>(kMaxSafetensorsHeader, file.size() - sizeof length));
  }
  const char* begin = reinterpret_cast<const char*>(file.data()) + sizeof length;
  std::set<std::string> keys;
  std::string twice;
  const auto watch_keys = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth == 1 && event == json::parse_event_t::key && !keys.insert(parsed.get<std::string>()).second) {
      twice = parsed.get<std::string>();
    }
    return depth <= 4;  // deeper values are dropped; no valid header has them
  };
  json header = json::parse(begin, begin + length, watch_keys, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object()) {
    throw_user_error("{}: safetensors header: expected a JSON object", name);
  }
  if (!twice.empty()) malformed(file.path(), twice, "written twice");
  return header;
}

// The ranges must tile the data section: in order of begin, each starts where the one before ended.
void check_coverage(const std::map<std::string, Entry>& entries, uint64_t data_bytes, const fs::path& path) {
  std::vector<std::pair<std::string, Entry>> sorted(entries.begin(), entries.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::tie(a.second.begin, a.second.end) < std::tie(b.second.begin, b.second.end);
  });
  uint64_t expected = 0;
  for (const auto& [name, entry] : sorted) {
    if (entry.begin != expected)
      malformed(path, name, fmt::format("begins at {}, expected {}", entry.begin, expected));
    expected = entry.end;
  }
  if (expected != data_bytes) {
    throw_user_error("{}: safetensors data section of {} bytes, expected {}", path.string(), data_bytes,
                     expected);
  }
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

SafetensorsContent read_safetensors(const fs::path& path) {
  const MappedFile file(path);
  const json header = parse_header(file);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  const std::byte* data = file.data() + sizeof length + length;
  SafetensorsContent content;
  std::map<std::string, Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries.emplace(name, parse_entry(value, path, name));
      continue;
    }
    if (!value.is_object()) malformed(path, name, "expected a map of strings");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) malformed(path, name, "expected a map of strings");
      content.metadata[key] = text;
    }
  }
  check_coverage(entries, file.size() - sizeof length - length, path);
  for (const auto& [name, entry] : entries) {
    torch::Tensor tensor = torch::empty(entry.shape, entry.dtype);
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
