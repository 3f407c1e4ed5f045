// Runs the operator forward and backward on a CPU through the installed header and library.
#include <rse/ops/attention.h>

#include <cstdio>
#include <exception>

namespace {

bool works() {
  const auto random = [] { return torch::randn({1, 20, 2, 8}).requires_grad_(true); };
  const torch::Tensor query = random(), key = random(), value = random(), decay = torch::tensor({0.1f, 1.0f});
  const rse::AttentionResult result =
      rse::attention(query, key, value, decay, std::nullopt, 0, rse::AttentionOptions());
  result.out.sum().backward();
  return result.out.sizes() == query.sizes() && torch::isfinite(result.out).all().item<bool>() &&
         query.grad().defined() && torch::isfinite(query.grad()).all().item<bool>();
}

bool refuses_what_it_cannot() {
  const torch::Tensor odd = torch::randn({1, 4, 2, 7});
  try {
    rse::attention(odd, odd, odd, torch::ones({2}), std::nullopt, 0, rse::AttentionOptions());
  } catch (const std::exception& error) {
    std::printf("refused: %s\n", error.what());
    return true;
  }
  return false;
}

}  // namespace

int main() {
  std::printf("%s\n", rse::describe_backend(rse::Backend::kAuto, torch::kCPU).c_str());
  return works() && refuses_what_it_cannot() ? 0 : 1;
}
