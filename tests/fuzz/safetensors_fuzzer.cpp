// Fuzzes safetensors headers: the tensors of an accepted file lie side by side inside the file.
//
// The input is a byte of flags, followed by the file. With flag 1 the header's length is made to fit the file
// first.
#include <cstring>

#include "formats/safetensors_header.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rse;
  if (size == 0) return 0;
  std::string file(reinterpret_cast<const char*>(data) + 1, size - 1);
  uint64_t length = 0;
  if ((data[0] & 1) != 0 && file.size() >= sizeof length) {
    std::memcpy(&length, file.data(), sizeof length);
    length %= file.size() - sizeof length + 1;
    std::memcpy(file.data(), &length, sizeof length);
  }
  accepted([&] {
    const auto* bytes = reinterpret_cast<const std::byte*>(file.data());
    const SafetensorsHeader header = parse_safetensors_header(bytes, file.size(), "fuzz.safetensors");
    uint64_t total = 0;
    for (const auto& [name, entry] : header.tensors) {
      uint64_t expected = safetensors_dtypes().at(entry.dtype);
      for (const int64_t extent : entry.shape) {
        FUZZ_EXPECT(extent >= 0);
        expected *= static_cast<uint64_t>(extent);
      }
      FUZZ_EXPECT(entry.end - entry.begin == expected && entry.end <= file.size() - header.data_begin);
      total += expected;
    }
    FUZZ_EXPECT(total == file.size() - header.data_begin);
  });
  return 0;
}
