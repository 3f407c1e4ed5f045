#include "formats/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "core/check.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

[[noreturn]] void malformed(const fs::path& path, const std::string& name, const std::string& what) {
  throw_user_error("{}: safetensors header: tensor '{}': {}", path.string(), name, what);
}

// The value as a whole number of at least 0 and below 2^63, or an error.
uint64_t natural(const json& value, const fs::path& path, const std::string& name, const char* what) {
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() ? value.get<uint64_t>() > INT64_MAX : value.get<int64_t>() < 0)) {
    malformed(path, name, fmt::format("{} is {}, expected a whole number of at least 0", what, value.dump()));
  }
  return value.get<uint64_t>();
}

SafetensorsEntry parse_entry(const json& value, const fs::path& path, const std::string& name) {
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() ||
      !value.contains("shape") || !value["shape"].is_array() || !value.contains("data_offsets") ||
      !value["data_offsets"].is_array() || value["data_offsets"].size() != 2) {
    malformed(path, name, "expected dtype, shape and two data_offsets");
  }
  SafetensorsEntry entry;
  entry.dtype = value["dtype"];
  const auto known = safetensors_dtypes().find(entry.dtype);
  if (known == safetensors_dtypes().end()) {
    malformed(path, name, fmt::format("unknown dtype '{}'", entry.dtype));
  }
  uint64_t bytes = known->second, extent_product = known->second;
  for (const json& extent : value["shape"]) {
    const uint64_t size = natural(extent, path, name, "an extent");
    if (__builtin_mul_overflow(extent_product, std::max<uint64_t>(1, size), &extent_product) ||
        extent_product > INT64_MAX) {
      malformed(path, name, fmt::format("shape {} is too large", value["shape"].dump()));
    }
    bytes *= size;
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

json parse_json(const char* begin, uint64_t length, const fs::path& path) {
  std::set<std::string> keys;
  std::string twice;
  const auto watch_keys = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth == 1 && event == json::parse_event_t::key && !keys.insert(parsed.get<std::string>()).second) {
      twice = parsed.get<std::string>();
    }
    return depth <= 4;  // deeper values are dropped, because no valid header has them
  };
  json header = json::parse(begin, begin + length, watch_keys, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object()) {
    throw_user_error("{}: safetensors header: expected a JSON object", path.string());
  }
  if (!twice.empty()) malformed(path, twice, "written twice");
  return header;
}

// The ranges fill the data section: in order of their begins, each starts where the one before it ends.
void check_coverage(const std::map<std::string, SafetensorsEntry>& entries, uint64_t data_bytes,
                    const fs::path& path) {
  std::vector<std::pair<std::string, SafetensorsEntry>> sorted(entries.begin(), entries.end());
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

const std::map<std::string, uint64_t>& safetensors_dtypes() {
  static const std::map<std::string, uint64_t> kBytes = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2},
                                                         {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
                                                         {"U8", 1},  {"BOOL", 1}};
  return kBytes;
}

SafetensorsHeader parse_safetensors_header(const std::byte* file, uint64_t size, const fs::path& path) {
  uint64_t length = 0;
  if (size < sizeof length) {
    throw_user_error("{}: {} bytes, a safetensors file has at least 8", path.string(), size);
  }
  std::memcpy(&length, file, sizeof length);
  if (length > kMaxSafetensorsHeader || length > size - sizeof length) {
    throw_user_error("{}: safetensors header length {}, expected at most {}", path.string(), length,
                     std::min<uint64_t>(kMaxSafetensorsHeader, size - sizeof length));
  }
  const json parsed = parse_json(reinterpret_cast<const char*>(file) + sizeof length, length, path);
  SafetensorsHeader header;
  header.data_begin = sizeof length + length;
  for (const auto& [name, value] : parsed.items()) {
    if (name != "__metadata__") {
      header.tensors.emplace(name, parse_entry(value, path, name));
      continue;
    }
    if (!value.is_object()) malformed(path, name, "expected a map of strings");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) malformed(path, name, "expected a map of strings");
      header.metadata[key] = text;
    }
  }
  check_coverage(header.tensors, size - header.data_begin, path);
  return header;
}

}  // namespace rse
