// The C++ half of safetensors_peer.py. "write FILE" writes tensors that the script knows; "check FILE"
// expects the same tensors in a file that Python's safetensors package wrote.
#include <fmt/format.h>

#include <string>

#include "core/check.h"
#include "formats/safetensors.h"

namespace {

rse::NamedTensors known_tensors() {
  return {{"matrix", torch::arange(6, torch::kFloat32).reshape({2, 3}) / 4},
          {"transposed", torch::arange(6, torch::kFloat32).reshape({2, 3}).t()},
          {"bf16", torch::arange(5, torch::kFloat32).to(torch::kBFloat16)},
          {"ids", torch::tensor({-1, 1 << 30}, torch::kInt64)},
          {"empty", torch::zeros({0, 3})},
          {"scalar", torch::tensor(2.5, torch::kFloat64)}};
}

int check(const std::string& path) {
  const rse::SafetensorsContent content = rse::read_safetensors(path);
  for (const auto& [name, expected] : known_tensors()) {
    const torch::Tensor found = rse::expect_tensor(content, name, expected, path);
    if (!torch::equal(found, expected)) rse::throw_user_error("{}: tensor '{}' has other values", path, name);
  }
  return content.metadata == std::map<std::string, std::string>{{"made by", "python"}} ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return rse::run_program("safetensors_peer", [&] {
    if (argc != 3) rse::throw_user_error("usage: {} write|check FILE", argv[0]);
    if (std::string(argv[1]) == "check") return check(argv[2]);
    rse::write_safetensors(argv[2], known_tensors(), {{"made by", "rse"}});
    return 0;
  });
}
