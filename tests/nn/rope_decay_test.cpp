// Tests softmax attention with a bias, and the position method rope_decay built on it, against attention that
// is written out in float64.
#include <functional>

#include "nn/biased_attention.h"
#include "nn/position/position_method.h"
#include "nn/rotary.h"
#include "nn/softmax_attention.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

using torch::Tensor;

constexpr int64_t kHeads = 2, kHeadDim = 16;  // as in small_config

Tensor normals(std::vector<int64_t> shape, int64_t seed) {
  torch::manual_seed(seed);
  return torch::randn(shape, torch::kFloat64);
}

ModelConfig config_with(const std::string& position) {
  ModelConfig config = small_config("rope_decay");
  bind_config(parse_config(position, "test"), config.position);
  return config;
}

std::shared_ptr<PositionMethod> method_with(const std::string& position = "method: rope_decay") {
  const auto method = make_position_method(config_with(position));
  method->initialize(1);
  const torch::NoGradGuard no_grad;
  method->named_parameters()["raw_decay"].add_(torch::tensor({{-1.0, 2.0}, {0.5, 1.0}}));
  return method;
}

// Computes logit_ij = <R_i q_i, R_j k_j> / sqrt(head_dim) - softplus(raw_h) |i - j| pair by pair.
Tensor written_out(const std::vector<Tensor>& qkv, const Tensor& raw, const SequenceLayout& layout,
                   double base) {
  const auto turn = [&](const Tensor& x, int64_t position) {  // x: [heads, head_dim]
    if (base == 0.0) return x;
    const Tensor angle =
        position * torch::pow(base, -2.0 * torch::arange(kHeadDim / 2, torch::kFloat64) / kHeadDim);
    const auto halves = x.chunk(2, -1);
    return torch::cat({halves[0] * angle.cos() - halves[1] * angle.sin(),
                       halves[1] * angle.cos() + halves[0] * angle.sin()},
                      -1);
  };
  const Tensor decay = torch::log1p(torch::exp(raw));
  std::vector<Tensor> rows;
  for (int64_t s = 0; s < layout.sequences(); ++s) {
    const int64_t begin = layout.borders[s], length = layout.borders[s + 1] - begin;
    std::vector<Tensor> turned;
    for (int64_t j = 0; j < length; ++j) turned.push_back(turn(qkv[1][begin + j], j));
    for (int64_t i = 0; i < length; ++i) {
      const Tensor query = turn(qkv[0][begin + i], i);
      std::vector<Tensor> logits, values;
      for (int64_t j = 0; j < length; ++j) {
        const int64_t distance = std::abs(i - j);
        if (layout.attention_window > 0 && distance >= layout.attention_window) continue;
        logits.push_back((query * turned[j]).sum(-1) / std::sqrt(double(kHeadDim)) - decay * distance);
        values.push_back(qkv[2][begin + j]);
      }
      const Tensor weights = torch::stack(logits).softmax(0).unsqueeze(-1);  // [keys, heads, 1]
      rows.push_back((weights * torch::stack(values)).sum(0));
    }
  }
  return torch::stack(rows);
}

// Returns the output of `attend` for (query, key, value), and the gradients of (output * weight).sum().
std::vector<Tensor> with_gradients(const std::function<Tensor(const std::vector<Tensor>&)>& attend,
                                   std::vector<Tensor> inputs, const Tensor& raw, const Tensor& weight) {
  const Tensor out = attend(inputs);
  inputs.push_back(raw);
  std::vector<Tensor> results =
      torch::autograd::grad({(out * weight.to(out.device(), out.scalar_type())).sum()}, inputs);
  results.insert(results.begin(), out);
  return results;
}

// Compares the method in `dtype` on `device` with written_out(): first the output, then the gradients of
// query, key, value and raw.
void expect_agreement(const std::vector<int32_t>& borders, int64_t window, torch::ScalarType dtype,
                      const torch::Device& device, double tolerance, double base = 10000.0) {
  const auto method = method_with(fmt::format("{{method: rope_decay, rotary_base: {}}}", base));
  const Tensor raw = method->named_parameters()["raw_decay"];
  const SequenceLayout layout = make_layout(borders, torch::kCPU, window);
  std::vector<Tensor> low, high;
  for (const int64_t seed : {1, 2, 3}) {
    low.push_back(normals({layout.total(), kHeads, kHeadDim}, seed).to(device, dtype).requires_grad_());
    high.push_back(low.back().detach().to(torch::kCPU, torch::kFloat64).requires_grad_());
  }
  const Tensor weight = normals({layout.total(), kHeads, kHeadDim}, 4).to(dtype);
  const Tensor exact_raw = raw.detach().to(torch::kFloat64).requires_grad_();
  const auto wanted = with_gradients(
      [&](const auto& x) { return written_out(x, exact_raw[1], layout, base); }, high, exact_raw, weight);
  method->to(device);
  if (dtype == torch::kFloat64) method->to(dtype);
  const SequenceLayout there = make_layout(borders, device, window);
  const auto found = with_gradients([&](const auto& x) { return method->attend(1, x[0], x[1], x[2], there); },
                                    low, raw, weight);
  ASSERT_EQ(found[0].scalar_type(), dtype);
  for (size_t n = 0; n < wanted.size(); ++n) {
    const double size = std::max(1.0, wanted[n].abs().max().item<double>());
    EXPECT_LT(largest_difference(found[n].cpu(), wanted[n]), tolerance * size)
        << "result " << n << ", window " << window << ", " << borders.size() - 1 << " sequences";
  }
}

const std::vector<std::vector<int32_t>> kBorders = {{0, 5, 5, 9, 30, 35, 36}, {0, 20, 40}, {0, 70}};

TEST(RopeDecay, IsTheFormulaInValueAndGradient) {
  for (const auto& borders : kBorders) {
    for (const int64_t window : {0, 1, 4, 64})
      expect_agreement(borders, window, torch::kFloat64, torch::kCPU, 1e-10);
  }
  expect_agreement({0, 20, 33}, 0, torch::kFloat64, torch::kCPU, 1e-10, /*base=*/0.0);
}

TEST(RopeDecay, LowPrecisionsAreClose) {
  for (const auto& borders : kBorders) {
    for (const int64_t window : {0, 4}) {
      expect_agreement(borders, window, torch::kFloat32, torch::kCPU, 1e-5);
      expect_agreement(borders, window, torch::kBFloat16, torch::kCPU, 0.03);
    }
  }
}

// One call for all sequences, a call for some of them at a time, and blocks of queries give the same results.
TEST(BiasedAttention, CallsAndBlocksChangeNothing) {
  class Slope : public AttentionBias {
   public:
    explicit Slope(Tensor slope) : slope_(std::move(slope)) {}
    Tensor parameter() const override { return slope_; }
    Tensor block(const Tensor& slope, const Tensor& query, const Tensor& key) const override {
      return slope.view({-1, 1, 1}) * (query.unsqueeze(-1) - 2 * key.unsqueeze(-2));
    }

   private:
    Tensor slope_;
  };
  for (const int64_t length : {64, 65, 200}) {
    const Tensor slope = torch::tensor({0.01, -0.02}, torch::kFloat64).requires_grad_();
    std::vector<Tensor> inputs;
    for (const int64_t seed : {1, 2, 3}) inputs.push_back(normals({3, length, 2, 8}, seed).requires_grad_());
    const Tensor weight = normals({3, length, 2, 8}, 4);
    const auto results = [&](int64_t pairs) {
      return with_gradients(
          [&](const auto& x) {
            return biased_attention(x[0], x[1], x[2], c10::make_intrusive<Slope>(slope), pairs);
          },
          inputs, slope, weight);
    };
    const auto wanted = results(int64_t{1} << 30);
    for (const int64_t pairs : {int64_t{1}, 2 * 128 * length, 2 * length * length, 5 * length * length}) {
      const auto found = results(pairs);
      for (size_t n = 0; n < wanted.size(); ++n) {
        EXPECT_LT(largest_difference(found[n], wanted[n]), 1e-10)
            << "length " << length << ", pairs " << pairs << ", result " << n;
      }
    }
  }
}

TEST(BiasedAttention, ABiasWithoutAParameterNeedsNone) {
  class Distance : public AttentionBias {
   public:
    Tensor parameter() const override { return {}; }
    Tensor block(const Tensor&, const Tensor& query, const Tensor& key) const override {
      const Tensor distance = (query.unsqueeze(-1) - key.unsqueeze(-2)).abs();
      return -0.1 * distance.unsqueeze(-3).expand({2, -1, -1});
    }
  };
  std::vector<Tensor> inputs;
  for (const int64_t seed : {1, 2, 3}) inputs.push_back(normals({2, 90, 2, 8}, seed).requires_grad_());
  std::vector<std::vector<Tensor>> gradients;
  for (const int64_t pairs : {int64_t{1}, int64_t{1} << 30}) {
    const Tensor out =
        biased_attention(inputs[0], inputs[1], inputs[2], c10::make_intrusive<Distance>(), pairs);
    gradients.push_back(torch::autograd::grad({out.square().sum()}, inputs));
  }
  for (size_t n = 0; n < 3; ++n) EXPECT_LT(largest_difference(gradients[0][n], gradients[1][n]), 1e-10);
}

TEST(RopeDecay, ScopesAndStarts) {
  for (const auto& [scope, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
           {"per_head", {2, 2}}, {"per_layer", {2}}, {"global", {1}}}) {
    const auto method = make_position_method(
        config_with(fmt::format("rope_decay: {{decay: {{scope: {}, value: 0.3}}}}", scope)));
    method->initialize(1);
    EXPECT_EQ(method->named_parameters()["raw_decay"].sizes(), shape);
    EXPECT_LT(largest_difference(method->decays(), torch::full({2, 2}, 0.3)), 1e-6);
  }
}

class GpuRopeDecay : public testing::TestWithParam<torch::ScalarType> {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  }
};

TEST_P(GpuRopeDecay, IsTheFormulaInValueAndGradient) {
  const double tolerance = GetParam() == torch::kFloat32 ? 1e-4 : 0.03;
  for (const auto& borders : kBorders) {
    for (const int64_t window : {0, 1, 4, 64}) {
      expect_agreement(borders, window, GetParam(), torch::kCUDA, tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, GpuRopeDecay, testing::Values(torch::kFloat32, torch::kBFloat16));

}  // namespace
}  // namespace rse
