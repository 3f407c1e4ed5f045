// Tests that recomputation changes what is kept and how often layers run, and no bit of loss or gradients.
#include "nn/recompute.h"

#include <ATen/autocast_mode.h>

#include "nn/autocast.h"
#include "nn/objective.h"
#include "tests/nn/counted_memory.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

struct Numbers {
  std::vector<torch::Tensor> losses;
  std::map<std::string, torch::Tensor> gradients;
  int64_t kept = 0;  // bytes between forward and backward of the first micro-batch
};

// Two micro-batches, one after another, as an update accumulates them.
Numbers numbers_of(const ModelConfig& config, Recompute recompute, bool bf16,
                   const std::vector<int32_t>& borders = {0, 20, 40, 60}) {
  Encoder encoder = small_encoder(config);
  encoder->set_recompute(recompute);
  const SequenceLayout layout = make_layout(borders, torch::kCPU);
  Numbers numbers;
  for (uint64_t micro = 0; micro < 2; ++micro) {
    const torch::Tensor ids = token_ids(layout.total(), micro), at = torch::arange(0, layout.total(), 7);
    const torch::Tensor targets = token_ids(at.numel(), 10 + micro);
    const CountedMemory memory;
    torch::Tensor loss;
    {
      const Bf16Autocast autocast(torch::kCPU, bf16);
      loss = MaskedLmObjective().loss(*encoder, {ids, layout, at, targets}, 0.1, DropoutKey{4, micro});
    }
    if (micro == 0) numbers.kept = memory.current();
    loss.backward();
    numbers.losses.push_back(loss.detach());
  }
  for (const auto& item : encoder->named_parameters()) numbers.gradients[item.key()] = item.value().grad();
  return numbers;
}

void expect_equal(const Numbers& expected, const Numbers& found) {
  for (size_t i = 0; i < expected.losses.size(); ++i) {
    EXPECT_TRUE(torch::equal(expected.losses[i], found.losses[i])) << "loss of micro-batch " << i;
  }
  for (const auto& [name, gradient] : expected.gradients) {
    ASSERT_TRUE(found.gradients.at(name).defined()) << name;
    EXPECT_TRUE(torch::equal(gradient, found.gradients.at(name))) << name;
  }
}

class RecomputedModel : public testing::TestWithParam<std::string> {};

TEST_P(RecomputedModel, GivesTheSameBits) {
  for (const NormPlacement norm : {NormPlacement::kPre, NormPlacement::kPost}) {
    for (const bool bf16 : {false, true}) {
      ModelConfig config = small_config(GetParam());
      config.norm = norm;
      config.activation = bf16 ? Activation::kGeglu : Activation::kGelu;
      config.head = bf16 ? HeadKind::kTransform : HeadKind::kTied;
      config.dropout = 0.2;
      SCOPED_TRACE(fmt::format("post {} bf16 {}", norm == NormPlacement::kPost, bf16));
      for (const std::vector<int32_t>& borders :
           {std::vector<int32_t>{0, 20, 40, 60}, std::vector<int32_t>{0, 9, 9, 33, 40, 49}}) {
        const Numbers none = numbers_of(config, Recompute::kNone, bf16, borders);
        for (const Recompute recompute : {Recompute::kFfn, Recompute::kLayer}) {
          expect_equal(none, numbers_of(config, recompute, bf16, borders));
        }
      }
    }
  }
}

TEST_P(RecomputedModel, KeepsLess) {
  ModelConfig config = small_config(GetParam());
  config.dropout = 0.2;
  for (const bool bf16 : {false, true}) {
    const int64_t none = numbers_of(config, Recompute::kNone, bf16).kept,
                  ffn = numbers_of(config, Recompute::kFfn, bf16).kept,
                  layer = numbers_of(config, Recompute::kLayer, bf16).kept;
    // 2 layers of 60 tokens: of each, the input and the output of the activation, 48 wide.
    EXPECT_LE(ffn, none - 2 * 60 * 2 * 48 * (bf16 ? 2 : 4));
    // The residual stream's two tensors become one, and query, key, value and both norms' outputs go.
    EXPECT_LE(layer, ffn - 2 * 60 * 32 * (4 + (bf16 ? 2 : 4) * 5));
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, RecomputedModel, testing::ValuesIn(kAllMethods),
                         [](const auto& info) { return info.param; });

// A decay of all layers together: its gradient is a sum over them, whose order shows.
TEST(Recompute, SumsASharedParametersGradientInTheSameOrder) {
  ModelConfig config = small_config("rse");
  config.layers = 5;
  config.position.keys<RsePositionConfig>().decay.scope = DecayScope::kGlobal;
  expect_equal(numbers_of(config, Recompute::kNone, false), numbers_of(config, Recompute::kLayer, false));
}

TEST(Recompute, RunsTheSegmentOnceMoreAndGivesEachGradientOnce) {
  const torch::Tensor input = torch::tensor({1.0, 2.0}).requires_grad_();
  const torch::Tensor used = torch::tensor({3.0, 5.0}).requires_grad_(),
                      unused = torch::ones(2).requires_grad_(), fixed = torch::full({2}, 7.0);
  int runs = 0;
  const Segment segment = [&](const torch::Tensor& x) {
    ++runs;
    EXPECT_TRUE(torch::GradMode::is_enabled());
    return x * x * used * fixed;
  };
  const torch::Tensor output = recomputed(input, {used, unused, fixed}, segment);
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(torch::equal(output, torch::tensor({21.0, 140.0})));
  output.sum().backward();
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(torch::equal(input.grad(), torch::tensor({42.0, 140.0})));
  EXPECT_TRUE(torch::equal(used.grad(), torch::tensor({7.0, 28.0})));
  EXPECT_FALSE(unused.grad().defined());
  recomputed(input, {used}, segment).sum().backward();
  EXPECT_TRUE(torch::equal(used.grad(), torch::tensor({14.0, 56.0})));
}

TEST(Recompute, WithoutGradientsOnlyCallsTheSegment) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor input = torch::ones({2});
  const auto segment = [](const torch::Tensor& x) {
    EXPECT_FALSE(torch::GradMode::is_enabled());
    return x;
  };
  EXPECT_TRUE(recomputed(input, {}, segment).is_same(input));
}

// Whether backward runs inside the scope of autocast or after it, weights that were cast for one graph are not
// taken into another.
TEST(Recompute, KeepsToItsAutocastState) {
  torch::manual_seed(3);
  const torch::Tensor weight = torch::randn({8, 8}).requires_grad_(), x = torch::randn({4, 8});
  const Segment segment = [&](const torch::Tensor& h) { return torch::linear(h, weight); };
  const auto gradient = [&](bool again, bool inside) {
    weight.mutable_grad().reset();
    auto autocast = std::make_unique<Bf16Autocast>(torch::kCPU, true);
    const torch::Tensor input = x.clone().requires_grad_();
    torch::Tensor y = again ? recomputed(input, {weight}, segment) : segment(input);
    EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
    y = torch::linear(y, weight);  // the same weight outside the segment
    if (!inside) autocast.reset();
    y.to(torch::kFloat32).square().sum().backward();
    return weight.grad().clone();
  };
  const torch::Tensor expected = gradient(false, false);
  EXPECT_GT(expected.abs().max().item<float>(), 0.1f);
  for (const bool inside : {false, true}) {
    EXPECT_LT(largest_difference(gradient(true, inside), expected),
              0.05 * expected.abs().max().item<float>());
  }
  EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
  EXPECT_FALSE(at::autocast::is_autocast_enabled(torch::kCPU));
}

TEST(Recompute, IsDifferentiableOnce) {
  const torch::Tensor input = torch::ones({2}).requires_grad_();
  const torch::Tensor output = recomputed(input, {}, [](const torch::Tensor& x) { return x * x; });
  EXPECT_ANY_THROW(torch::autograd::grad({output.sum()}, {input}, {}, std::nullopt, /*create_graph=*/true));
}

}  // namespace
}  // namespace rse
