// Tests initial values, dropout masks, and the loss.
#include "nn/dropout.h"
#include "nn/initialization.h"
#include "nn/mlm_loss.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

TEST(Initialization, SharedParametersOfAllArmsAreBitEqual) {
  const Encoder reference = small_encoder(small_config("none"), 9);
  for (const std::string& method : kAllMethods) {
    const Encoder encoder = small_encoder(small_config(method), 9);
    const auto parameters = encoder->named_parameters();
    for (const auto& item : reference->named_parameters()) {
      ASSERT_TRUE(parameters.contains(item.key())) << item.key();
      EXPECT_TRUE(torch::equal(parameters[item.key()], item.value()))
          << method << ", parameter " << item.key();
    }
    for (const auto& item : parameters) {
      EXPECT_EQ(item.key().starts_with("position."), !reference->named_parameters().contains(item.key()));
    }
  }
}

TEST(Initialization, FollowsSeedAndNameNotTheModel) {
  ModelConfig deeper = small_config("rope");
  deeper.layers = 4;
  torch::manual_seed(1);
  const auto a = small_encoder(small_config("rope"), 9)->named_parameters();
  torch::manual_seed(2);
  const auto b = small_encoder(deeper, 9)->named_parameters();
  const auto other_seed = small_encoder(deeper, 10)->named_parameters();
  const std::string name = "layers.1.ffn_output.weight";
  EXPECT_TRUE(torch::equal(a[name], b[name]));
  EXPECT_FALSE(torch::equal(a[name], other_seed[name]));
  EXPECT_FALSE(torch::equal(b["layers.2.ffn_output.weight"], b[name]));
}

TEST(Initialization, ValuesByKind) {
  const auto parameters = small_encoder(small_config("rse"))->named_parameters();
  for (const auto& item : parameters) {
    if (item.key().starts_with("position.")) continue;
    if (item.value().dim() == 2) {
      EXPECT_NEAR(item.value().std().item<double>(), 0.1, 0.01) << item.key();
    } else {
      const double expected = item.key().ends_with("norm.weight") ? 1.0 : 0.0;
      EXPECT_TRUE((item.value() == expected).all().item<bool>()) << item.key();
    }
  }
}

TEST(Initialization, NormalsAreNormal) {
  const torch::Tensor x = torch::empty({400001}, torch::kFloat64);
  fill_normal(x, 17, 2.0);
  EXPECT_NEAR(x.mean().item<double>(), 0.0, 0.015);
  EXPECT_NEAR(x.std().item<double>(), 2.0, 0.01);
  EXPECT_NEAR((x / 2).pow(4).mean().item<double>(), 3.0, 0.06);
  // The shares within one and two standard deviations are those of a normal distribution; neighbours are
  // uncorrelated.
  EXPECT_NEAR((x.abs() < 2.0).to(torch::kFloat64).mean().item<double>(), 0.6827, 0.003);
  EXPECT_NEAR((x.abs() < 4.0).to(torch::kFloat64).mean().item<double>(), 0.9545, 0.0015);
  EXPECT_NEAR((x.slice(0, 1) * x.slice(0, 0, -1)).mean().item<double>() / 4, 0.0, 0.007);
}

TEST(Initialization, DoesNotDependOnThreads) {
  const torch::Tensor one = torch::empty({100003}), many = torch::empty({100003});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  fill_normal(one, 4, 1.0);
  at::set_num_threads(3);
  fill_normal(many, 4, 1.0);
  at::set_num_threads(threads);
  EXPECT_TRUE(torch::equal(one, many));
}

class Dropout : public testing::TestWithParam<torch::DeviceType> {
 protected:
  void SetUp() override {
    if (GetParam() == torch::kCUDA && !torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  }
  torch::Tensor drop(const DropoutKey& key, int64_t layer = 0, DropoutSite site = DropoutSite::kFfn) {
    return dropout(torch::ones({500, 401}, GetParam()), 0.3, key, layer, site);
  }
};
INSTANTIATE_TEST_SUITE_P(Cpu, Dropout, testing::Values(torch::kCPU));
INSTANTIATE_TEST_SUITE_P(Gpu, Dropout, testing::Values(torch::kCUDA));

TEST_P(Dropout, MaskIsAFunctionOfTheKey) {
  const torch::Tensor first = drop({1, 7});
  torch::rand({1000}, GetParam());  // draws from other generators change nothing
  EXPECT_TRUE(torch::equal(first, drop({1, 7})));
  const torch::Tensor others[] = {drop({1, 8}), drop({2, 7}), drop({1, 7}, 1),
                                  drop({1, 7}, 0, DropoutSite::kAttention)};
  for (const torch::Tensor& other : others) {
    // Two independent masks agree in a share of 0.7^2 + 0.3^2 of their elements.
    EXPECT_NEAR((other == first).to(torch::kFloat64).mean().item<double>(), 0.58, 0.005);
  }
}

// Micro-batches, layers and sites are small numbers: a key that added them up would give (1, 2) and (2, 1)
// the same mask.
TEST_P(Dropout, NoTwoMasksOfARunAreAlike) {
  constexpr int64_t kElements = 20000;
  const double deviation = std::sqrt(0.58 * 0.42 / kElements), rate_deviation = std::sqrt(0.21 / kElements);
  std::vector<torch::Tensor> masks;
  for (uint64_t micro_batch = 0; micro_batch < 6; ++micro_batch) {
    for (int64_t layer = 0; layer < 4; ++layer) {
      for (const DropoutSite site : {DropoutSite::kEmbedding, DropoutSite::kAttention, DropoutSite::kFfn}) {
        const torch::Tensor ones = torch::ones({kElements}, GetParam());
        const torch::Tensor kept = dropout(ones, 0.3, DropoutKey{3, micro_batch}, layer, site) != 0;
        masks.push_back(kept.to(torch::kCPU, torch::kFloat64));
        EXPECT_NEAR(masks.back().mean().item<double>(), 0.7, 5 * rate_deviation);
      }
    }
  }
  // Two independent masks agree in a share of 0.7^2 + 0.3^2 of their elements.
  const torch::Tensor rows = torch::stack(masks), others = 1 - rows;
  torch::Tensor agreement = (torch::matmul(rows, rows.t()) + torch::matmul(others, others.t())) / kElements;
  agreement.fill_diagonal_(0.58);
  EXPECT_LT((agreement - 0.58).abs().max().item<double>(), 6 * deviation);
}

TEST_P(Dropout, LeavesTheDefaultGeneratorAlone) {
  torch::manual_seed(5);
  const torch::Tensor expected = torch::rand({10}, GetParam());
  torch::manual_seed(5);
  drop({1, 7});
  EXPECT_TRUE(torch::equal(torch::rand({10}, GetParam()), expected));
}

TEST_P(Dropout, KeepRateScaleAndGradient) {
  const torch::Tensor x =
      torch::full({500, 401}, 2.0, torch::dtype(torch::kFloat32).device(GetParam())).requires_grad_();
  const torch::Tensor y = dropout(x, 0.3, DropoutKey{1, 2}, 4, DropoutSite::kFfn);
  const torch::Tensor kept = y != 0;
  EXPECT_NEAR(kept.to(torch::kFloat64).mean().item<double>(), 0.7, 0.005);
  EXPECT_LT(largest_difference(y, kept * (2.0 / 0.7)), 1e-6);
  (3.0 * y).sum().backward();
  EXPECT_LT(largest_difference(x.grad(), kept * (3.0 / 0.7)), 1e-6);
}

TEST(DropoutOnTheCpu, MaskIsTheFunctionOfSeedMicroBatchLayerAndSite) {
  for (const double rate : {0.1, 0.5, 0.9}) {
    for (const DropoutKey& key : {DropoutKey{1, 0}, DropoutKey{1, 7}, DropoutKey{~uint64_t{0}, 1}}) {
      for (const int64_t layer : {0, 3}) {
        for (const DropoutSite site : {DropoutSite::kEmbedding, DropoutSite::kAttention, DropoutSite::kFfn}) {
          const torch::Tensor dropped = dropout(torch::ones({33, 7}), rate, key, layer, site);
          EXPECT_TRUE(torch::equal(dropped != 0, kept_by_dropout({33, 7}, rate, key, layer, site)))
              << rate << ", micro-batch " << key.micro_batch << ", layer " << layer;
        }
      }
    }
  }
}

TEST_P(Dropout, NoKeyOrRateZeroChangesNothing) {
  const torch::Tensor x = torch::ones({5}, GetParam());
  EXPECT_TRUE(dropout(x, 0.3, std::nullopt, 0, DropoutSite::kFfn).is_same(x));
  EXPECT_TRUE(dropout(x, 0.0, DropoutKey{1, 2}, 0, DropoutSite::kFfn).is_same(x));
}

TEST(MlmLoss, IsCrossEntropyInValueAndGradient) {
  torch::manual_seed(8);
  const torch::Tensor ids = torch::tensor({3, 0, 6}, torch::kInt64);
  const torch::Tensor weight = torch::tensor({0.5, -1.0, 2.0}, torch::kFloat64);
  const torch::Tensor logits = (5 * torch::randn({3, 7}, torch::kFloat64)).requires_grad_();
  const auto options = torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kNone);
  const torch::Tensor expected = torch::nn::functional::cross_entropy(logits, ids, options);
  const torch::Tensor nll = masked_lm_nll(logits, ids);
  EXPECT_LT(largest_difference(nll, expected), 1e-12);
  const auto gradient = torch::autograd::grad({(nll * weight).sum()}, {logits})[0];
  EXPECT_LT(largest_difference(gradient, torch::autograd::grad({(expected * weight).sum()}, {logits})[0]),
            1e-12);
}

TEST(MlmLoss, WorksInBlocksAndWidensBfloat16) {
  // A block has 2^25 elements, so that 1,000 rows of 70,000 columns take several blocks.
  torch::manual_seed(8);
  const torch::Tensor ids = torch::arange(1000, torch::kInt64);
  const torch::Tensor logits = torch::randn({1000, 70000}).to(torch::kBFloat16).requires_grad_();
  const torch::Tensor nll = masked_lm_nll(logits, ids);
  EXPECT_EQ(nll.scalar_type(), torch::kFloat32);
  for (const int64_t row : {0, 478, 479, 480, 999}) {
    const torch::Tensor wide = logits.detach()[row].to(torch::kFloat64);
    EXPECT_NEAR(nll[row].item<double>(), (wide.logsumexp(0) - wide[row]).item<double>(), 1e-4);
  }
  nll.sum().backward();
  EXPECT_EQ(logits.grad().scalar_type(), torch::kBFloat16);
  EXPECT_NEAR(logits.grad()[999][999].item<double>(), std::exp(-nll[999].item<double>()) - 1.0, 0.005);
}

}  // namespace
}  // namespace rse
