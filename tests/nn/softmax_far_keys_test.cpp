// Compares the softmax methods with attention that is written out in float64, over sequences that are longer
// than any block of a kernel, with windows around block sizes. Errors are relative to the size of each
// result: an output over 400 keys has a size of about 1/20, so that the part of the far keys would be below
// an absolute tolerance.
#include <tuple>

#include "nn/biased_attention.h"
#include "nn/position/position_method.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

using torch::Tensor;

constexpr int64_t kHeads = 2, kHeadDim = 16;  // as in small_config

// The error of x over the norm of `size`, which is the reference or what it is a sum of.
double error_over(const Tensor& size, const Tensor& x, const Tensor& reference) {
  const Tensor wide = x.detach().to(torch::kCPU, torch::kFloat64);
  return ((wide - reference).norm() / size.norm()).item<double>();
}

// The rotation of src/ops/README.md section 1 for the tokens of one sequence, [length, heads, head_dim].
Tensor turned(const Tensor& x, double base) {
  const int64_t half = kHeadDim / 2;
  const Tensor frequency = torch::pow(base, -torch::arange(half, torch::kFloat64) / half);
  const Tensor angle = (torch::arange(x.size(0), torch::kFloat64).unsqueeze(1) * frequency).unsqueeze(1);
  const Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
  return torch::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 2);
}

Tensor distances(int64_t length) {
  const Tensor place = torch::arange(length, torch::kFloat64);
  return (place.unsqueeze(1) - place).abs();
}

// softmax of <q_i, k_j> / sqrt(head_dim) - decay_h |i - j| over the keys at distances below the window, with
// query and key rotated where base is not 0. window: 0 for none. logits_of takes the unmasked logits of each
// sequence.
Tensor written_out(const std::vector<Tensor>& qkv, const Tensor& decay, const std::vector<int64_t>& borders,
                   int64_t window, double base, std::vector<Tensor>* logits_of = nullptr) {
  std::vector<Tensor> outputs;
  for (size_t s = 0; s + 1 < borders.size(); ++s) {
    const auto cut = [&](const Tensor& x, bool rotates) {
      const Tensor rows = x.slice(0, borders[s], borders[s + 1]);
      return (rotates && base != 0 ? turned(rows, base) : rows).transpose(0, 1);
    };
    const Tensor distance = distances(borders[s + 1] - borders[s]);
    Tensor logits = torch::matmul(cut(qkv[0], true), cut(qkv[1], true).transpose(1, 2)) / std::sqrt(kHeadDim);
    logits = logits - decay.view({-1, 1, 1}) * distance;
    if (logits_of != nullptr) logits_of->push_back(logits);
    if (window > 0) logits = logits.masked_fill(distance >= window, -INFINITY);
    outputs.push_back(torch::matmul(logits.softmax(-1), cut(qkv[2], false)).transpose(0, 1));
  }
  return torch::cat(outputs);
}

// The size of the terms of the gradient of softplus' input. They have both signs and cancel for the most part,
// so an error relative to their sum would be one of rounding alone.
Tensor decay_terms(const Tensor& raw, const std::vector<Tensor>& logit_gradients) {
  Tensor sum = torch::zeros({kHeads}, torch::kFloat64);
  for (const Tensor& gradient : logit_gradients) {
    sum += (gradient.abs() * distances(gradient.size(1))).sum({1, 2});
  }
  return sum * raw.detach().sigmoid();
}

// Query, key and value, float64, in numbers that bfloat16 holds. Every 90th value is loud.
std::vector<Tensor> inputs_of(int64_t tokens) {
  torch::manual_seed(21);
  std::vector<Tensor> qkv;
  for (int n = 0; n < 3; ++n) qkv.push_back(torch::randn({tokens, kHeads, kHeadDim}, torch::kFloat64) + 0.3);
  for (int64_t j = 45; j < tokens; j += 90) qkv[2][j].mul_(4.0);
  for (Tensor& x : qkv) x = x.to(torch::kBFloat16).to(torch::kFloat64).requires_grad_();
  return qkv;
}

double tolerance_of(torch::ScalarType dtype) {
  return dtype == torch::kFloat64 ? 1e-10 : dtype == torch::kFloat32 ? 1e-5 : 1e-2;
}

class SoftmaxFarKeys : public testing::TestWithParam<std::tuple<torch::DeviceType, std::string>> {
 protected:
  void SetUp() override {
    if (device() == torch::kCUDA && !torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  }
  torch::DeviceType device() const { return std::get<0>(GetParam()); }
  std::string method() const { return std::get<1>(GetParam()); }

  // Decays of a few thousandths per token, such that keys at distance 400 still weigh.
  std::shared_ptr<PositionMethod> make_method(torch::ScalarType dtype) const {
    const auto made = make_position_method(small_config(method()));
    made->initialize(1);
    if (method() == "rope_decay") {
      const torch::NoGradGuard no_grad;
      made->named_parameters()["raw_decay"].copy_(torch::tensor({{-1.0, 1.0}, {-6.0, -5.5}}));
    }
    made->to(device());
    if (dtype == torch::kFloat64) made->to(dtype);
    return made;
  }

  void compare(const std::vector<int32_t>& borders, int64_t window) {
    const SequenceLayout layout = make_layout(borders, device(), window);
    const std::vector<Tensor> exact = inputs_of(layout.total());
    const Tensor raw = torch::tensor({-6.0, -5.5}, torch::kFloat64).requires_grad_();
    const bool decays = method() == "rope_decay";
    const Tensor decay = decays ? torch::log1p(torch::exp(raw)) : torch::zeros({kHeads}, torch::kFloat64);
    std::vector<Tensor> logits;
    const Tensor out =
        written_out(exact, decay, layout.borders, window, method() == "none" ? 0.0 : 10000.0, &logits);
    const Tensor weight = (torch::randn(out.sizes(), torch::kFloat64) + 0.3).to(torch::kBFloat16);
    std::vector<Tensor> leaves = exact;
    if (decays) leaves.push_back(raw);
    const Tensor loss = (out * weight).sum();
    const auto wanted = torch::autograd::grad({loss}, leaves, {}, /*retain_graph=*/true);
    std::vector<Tensor> sizes = wanted;
    if (decays) sizes[3] = decay_terms(raw, torch::autograd::grad({loss}, logits));
    for (const auto dtype : {torch::kFloat64, torch::kFloat32, torch::kBFloat16}) {
      const auto made = make_method(dtype);
      std::vector<Tensor> low;
      for (const Tensor& x : exact) low.push_back(x.detach().to(device(), dtype).requires_grad_());
      const Tensor found = made->attend(1, low[0], low[1], low[2], layout);
      if (decays) low.push_back(made->named_parameters()["raw_decay"]);
      auto gradients = torch::autograd::grad({found}, low, {weight.to(device(), dtype)});
      if (decays) gradients[3] = gradients[3][1];
      const auto where =
          fmt::format("{}, window {}, {} sequences", torch::toString(dtype), window, layout.sequences());
      EXPECT_LE(error_over(out.detach(), found, out.detach()), tolerance_of(dtype)) << where;
      for (size_t n = 0; n < wanted.size(); ++n) {
        EXPECT_LE(error_over(sizes[n], gradients[n], wanted[n]), tolerance_of(dtype))
            << where << ", gradient of " << std::array{"query", "key", "value", "raw_decay"}[n];
      }
    }
  }
};

TEST_P(SoftmaxFarKeys, SequencesLongerThanAnyBlock) {
  compare({0, 420, 840}, 0);
  compare({0, 9, 420, 421}, 0);
}

TEST_P(SoftmaxFarKeys, WindowsAroundBlockSizes) {
  for (const int64_t window : {63, 64, 65, 66, 127, 128, 129, 130}) {
    compare({0, 420}, window);
    compare({0, 9, 420, 421}, window);
  }
}

const auto kMethods = testing::Values("none", "rope", "rope_decay");
std::string method_name(const testing::TestParamInfo<SoftmaxFarKeys::ParamType>& info) {
  return std::get<1>(info.param);
}
INSTANTIATE_TEST_SUITE_P(Cpu, SoftmaxFarKeys, testing::Combine(testing::Values(torch::kCPU), kMethods),
                         method_name);
INSTANTIATE_TEST_SUITE_P(Gpu, SoftmaxFarKeys, testing::Combine(testing::Values(torch::kCUDA), kMethods),
                         method_name);

// The parameter is the decay itself.
class Decay : public AttentionBias {
 public:
  explicit Decay(Tensor decay) : decay_(std::move(decay)) {}
  Tensor parameter() const override { return decay_; }
  Tensor block(const Tensor& decay, const Tensor& query, const Tensor& key) const override {
    return -decay.view({-1, 1, 1}) * (query.unsqueeze(-1) - key.unsqueeze(-2)).abs();
  }

 private:
  Tensor decay_;
};

// Calls for blocks of 64 queries, for a whole sequence, and for both sequences.
TEST(BiasedAttention, BlocksAreTheFormulaForFarKeys) {
  constexpr int64_t kLength = 420;
  const std::vector<Tensor> exact = inputs_of(2 * kLength);
  const Tensor decay = torch::tensor({0.003, 0.005}, torch::kFloat64).requires_grad_();
  const Tensor out = written_out(exact, decay, {0, kLength, 2 * kLength}, 0, 0.0);
  const Tensor weight = torch::randn(out.sizes(), torch::kFloat64) + 0.3;
  std::vector<Tensor> leaves = exact;
  leaves.push_back(decay);
  const auto wanted = torch::autograd::grad({(out * weight).sum()}, leaves);
  for (const int64_t pairs :
       {int64_t{1}, kHeads * 128 * kLength, kHeads * kLength * kLength, int64_t{1} << 30}) {
    const auto rows = [&](const Tensor& x) { return x.view({2, kLength, kHeads, kHeadDim}); };
    const Tensor found = biased_attention(rows(exact[0]), rows(exact[1]), rows(exact[2]),
                                          c10::make_intrusive<Decay>(decay), pairs)
                             .reshape(out.sizes());
    EXPECT_LE(error_over(out.detach(), found, out.detach()), 1e-10) << pairs;
    const auto gradients = torch::autograd::grad({(found * weight).sum()}, leaves);
    for (size_t n = 0; n < wanted.size(); ++n) {
      EXPECT_LE(error_over(wanted[n], gradients[n], wanted[n]), 1e-10) << pairs << ", gradient " << n;
    }
  }
}

}  // namespace
}  // namespace rse
