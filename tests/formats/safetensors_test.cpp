// Tests safetensors files: round trips, and files that are damaged.
#include "formats/safetensors.h"

#include <cmath>
#include <fstream>

#include "tests/support.h"

namespace rse {
namespace {

// Writes a safetensors file with the given header text and data bytes.
void write_raw(const std::filesystem::path& path, const std::string& header, size_t data_bytes) {
  std::ofstream file(path, std::ios::binary);
  const uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file << header << std::string(data_bytes, '\0');
}

TEST(Safetensors, RoundTripKeepsBitsShapesAndMetadata) {
  const TemporaryFolder folder;
  const torch::Tensor nan = torch::tensor({std::nanf(""), -0.0f, 1e-42f});
  const NamedTensors tensors = {{"a.weight", torch::arange(12).reshape({3, 4}).t()},
                                {"b", nan},
                                {"half", torch::ones({3}, torch::kBFloat16)},
                                {"empty", torch::zeros({2, 0})},
                                {"scalar", torch::tensor(3.0f)}};
  write_safetensors(folder / "x.safetensors", tensors, {{"key", "value \"quoted\""}});
  const SafetensorsContent content = read_safetensors(folder / "x.safetensors");
  ASSERT_EQ(content.tensors.size(), tensors.size());
  EXPECT_EQ(content.metadata.at("key"), "value \"quoted\"");
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor found = expect_tensor(content, name, tensor, "x");
    const torch::Tensor expected = tensor.contiguous();
    EXPECT_EQ(std::memcmp(found.const_data_ptr(), expected.const_data_ptr(), expected.nbytes()), 0) << name;
  }
  EXPECT_THAT([&] { expect_tensor(content, "b", torch::zeros({4}), "x.safetensors"); },
              ThrowsUserError("tensor 'b' is F32 [3], expected F32 [4]"));
  EXPECT_THAT([&] { expect_tensor(content, "c", nan, "x.safetensors"); }, ThrowsUserError("'c' is missing"));
}

TEST(Safetensors, DamagedFilesAreOneClearError) {
  const TemporaryFolder folder;
  const auto path = folder / "bad.safetensors";
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const std::vector<std::tuple<std::string, size_t, std::string>> cases = {
      {"not json", 0, "expected a JSON object"},
      {"[1]", 0, "expected a JSON object"},
      {R"({"t":{"dtype":"F32"}})", 0, "expected dtype, shape and two data_offsets"},
      {entry("F13", "[2]", "[0,8]"), 8, "unknown dtype 'F13'"},
      {entry("F32", "[2]", "[0,7]"), 8, "expected 8 bytes"},
      {entry("F32", "[2]", "[8,0]"), 8, "expected 8 bytes"},
      {entry("F32", "[-2]", "[0,8]"), 8, "expected a whole number of at least 0"},
      {entry("F32", "[2.5]", "[0,8]"), 8, "expected a whole number of at least 0"},
      {entry("F32", "[4294967296,4294967296]", "[0,0]"), 0, "too large"},
      {entry("F32", "[2]", "[4,12]"), 12, "begins at 4, expected 0"},
      {entry("F32", "[2]", "[0,8]"), 4, "data section of 4 bytes, expected 8"},
      {entry("F32", "[2]", "[0,8]"), 9, "data section of 9 bytes, expected 8"},
      {R"({"__metadata__":{"a":1}})", 0, "expected a map of strings"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "written twice"},
  };
  for (const auto& [header, bytes, message] : cases) {
    write_raw(path, header, bytes);
    EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError(message)) << header;
    EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError("bad.safetensors")) << header;
  }
  std::ofstream(path, std::ios::binary) << "1234567";
  EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError("7 bytes"));
  std::ofstream(path, std::ios::binary) << std::string(8, '\xff') << "{}";
  EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError("header length 18446744073709551615"));
}

}  // namespace
}  // namespace rse
