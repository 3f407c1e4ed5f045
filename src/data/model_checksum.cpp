#include "data/model_checksum.h"

#include <cstdint>
#include <cstring>

#include "core/check.h"
#include "core/hash.h"

namespace rse {
namespace {

// Protocol buffer key of field 1,000,000 (ModelProto's extensions begin at 200), a fixed64: the number
// 1,000,000 << 3 | 1, seven bits a byte, lowest first.
constexpr std::string_view kKey = "\x81\xA4\xE8\x03";
constexpr size_t kBytes = kKey.size() + sizeof(uint64_t);

}  // namespace

std::string with_checksum(std::string model) {
  const uint64_t checksum = xxh64(model.data(), model.size());
  model += kKey;
  model.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
  return model;
}

bool verify_checksum(std::string_view model, const std::string& name) {
  if (model.size() < kBytes || model.substr(model.size() - kBytes, kKey.size()) != kKey) return false;
  uint64_t expected = 0;
  std::memcpy(&expected, model.data() + model.size() - sizeof expected, sizeof expected);
  const uint64_t found = xxh64(model.data(), model.size() - kBytes);
  if (found != expected) {
    throw_user_error("{}: damaged tokenizer: checksum {}, expected {}; make it again with rse-data", name,
                     hex64(found), hex64(expected));
  }
  return true;
}

}  // namespace rse
