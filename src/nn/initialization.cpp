#include "nn/initialization.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/random.h"
#include "ops/parallel.h"

namespace rse {
namespace {

constexpr int64_t kNormalsPerCall = 4;  // of one random_bits()
constexpr int64_t kGrain = 1 << 12;     // random_bits() calls per thread at least

// Box & Muller 1958: two independent normals from two uniforms; the first uniform is in (0, 1].
void box_muller(uint32_t bits0, uint32_t bits1, double* normals) {
  const double radius = std::sqrt(-2.0 * std::log(uniform01(bits0) + 0x1p-32));
  const double angle = 2.0 * std::numbers::pi * uniform01(bits1);
  normals[0] = radius * std::cos(angle);
  normals[1] = radius * std::sin(angle);
}

}  // namespace

uint64_t parameter_key(uint64_t seed, std::string_view name) {
  return mix_key(mix_key(seed, "parameter"), name);
}

void fill_normal(const torch::Tensor& tensor, uint64_t key, double std) {
  torch::NoGradGuard no_grad;
  torch::Tensor host = torch::empty(tensor.sizes(), torch::kFloat32);
  float* values = host.data_ptr<float>();
  const int64_t count = host.numel();
  parallel_for(0, (count + kNormalsPerCall - 1) / kNormalsPerCall, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t call = begin; call < end; ++call) {
      const auto bits = random_bits(key, static_cast<uint64_t>(call));
      double normals[kNormalsPerCall];
      box_muller(bits[0], bits[1], normals);
      box_muller(bits[2], bits[3], normals + 2);
      const int64_t first = call * kNormalsPerCall;
      const int64_t here = std::min(kNormalsPerCall, count - first);
      for (int64_t i = 0; i < here; ++i) values[first + i] = static_cast<float>(std * normals[i]);
    }
  });
  tensor.copy_(host);
}

torch::Tensor sinusoidal_table(int64_t positions, int64_t width, double std) {
  torch::Tensor table = torch::empty({positions, width}, torch::kFloat32);
  auto rows = table.accessor<float, 2>();
  // A sinusoid of amplitude a has standard deviation a / sqrt(2).
  const double amplitude = std * std::numbers::sqrt2;
  const int64_t half = width / 2;
  for (int64_t d = 0; d < width; ++d) {
    const int64_t pair = d < half ? d : d - half;
    const double frequency = std::pow(10000.0, -2.0 * static_cast<double>(pair) / static_cast<double>(width));
    for (int64_t p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      rows[p][d] = static_cast<float>(amplitude * (d < half ? std::sin(angle) : std::cos(angle)));
    }
  }
  return table;
}

}  // namespace rse
