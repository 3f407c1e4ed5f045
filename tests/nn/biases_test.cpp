// Tests the encoder without biases: which parameters are left, that nothing else differs, and what it costs.
#include "nn/model_report.h"
#include "nn/objective.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

// A model with every part that may have a bias.
ModelConfig config_of(const std::string& method, bool biases, NormPlacement norm) {
  ModelConfig config = small_config(method);
  config.norm = norm;
  config.embedding_norm = true;
  config.activation = Activation::kGeglu;
  config.head = HeadKind::kTransform;
  config.biases = biases;
  return config;
}

struct Both {
  std::string method;
  NormPlacement norm;
};

class Biases : public testing::TestWithParam<Both> {
 protected:
  Encoder with_ = small_encoder(config_of(GetParam().method, true, GetParam().norm));
  Encoder without_ = small_encoder(config_of(GetParam().method, false, GetParam().norm));
};

TEST_P(Biases, AreLeftOutAndNothingElse) {
  std::vector<std::string> expected, found;
  for (const auto& item : with_->named_parameters()) {
    if (!item.key().ends_with(".bias")) expected.push_back(item.key());
  }
  for (const auto& item : without_->named_parameters()) {
    found.push_back(item.key());
    EXPECT_TRUE(torch::equal(item.value(), with_->named_parameters()[item.key()])) << item.key();
  }
  EXPECT_EQ(found, expected);
  EXPECT_THAT(found, testing::Contains("head_bias"));  // the decoder's
  // Each layer has four linear layers and two norms; one norm is the embedding's, and a dense layer and a norm
  // are the head's. Pre-norm has a final one, too.
  const size_t biases = with_->named_parameters().size() - found.size();
  EXPECT_EQ(biases, 2u * 6 + 3 + (GetParam().norm == NormPlacement::kPre ? 1 : 0));
}

// Biases start as zeros, so the initial model is the same function, and the gradients of what both have are equal.
TEST_P(Biases, OfZeroAreTheSameAsNone) {
  const SequenceLayout layout = make_layout({0, 9, 24}, torch::kCPU);
  const torch::Tensor ids = token_ids(24, 5), targets = torch::tensor({1, 4, 11, 20}, torch::kInt64);
  const torch::Tensor expected_ids = token_ids(4, 6);
  for (Encoder encoder : {with_, without_}) {
    MaskedLmObjective().loss(*encoder, {ids, layout, targets, expected_ids}, 0.25, std::nullopt).backward();
  }
  EXPECT_LT(largest_difference(with_->forward(ids, layout, targets), without_->forward(ids, layout, targets)),
            1e-5);
  for (const auto& item : without_->named_parameters()) {
    const torch::Tensor other = with_->named_parameters()[item.key()].grad();
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_LT(largest_difference(item.value().grad(), other), 1e-5) << item.key();
  }
}

// By hand: width 32, ffn_width 48 with GeGLU, 2 layers, 40 pieces. What is left are the weights of the norms (two
// per layer, the embedding's, the head's, and with pre-norm the last one) and the decoder's bias.
TEST_P(Biases, AreNotCounted) {
  const ModelReport report = report_model(*without_, {10, 0.2});
  const int64_t norms = 2 * 2 + 2 + (GetParam().norm == NormPlacement::kPre ? 1 : 0);
  int64_t counted = -1;
  for (const ParameterGroup& group : report.groups) {
    if (group.name == "norms and biases") counted = group.parameters;
  }
  EXPECT_EQ(counted, norms * 32 + 40);
  const ModelReport other = report_model(*with_, {10, 0.2});
  EXPECT_EQ(other.parameters - report.parameters, 2 * (3 * 32 + 32 + 2 * 48 + 32) + 32 + norms * 32);
  EXPECT_EQ(other.flop_per_token, report.flop_per_token);  // sums of biases were never counted
}

std::vector<Both> all_models() {
  std::vector<Both> all;
  for (const std::string& method : kAllMethods) {
    for (const NormPlacement norm : {NormPlacement::kPre, NormPlacement::kPost})
      all.push_back({method, norm});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(EveryMethod, Biases, testing::ValuesIn(all_models()),
                         [](const testing::TestParamInfo<Both>& info) {
                           return info.param.method +
                                  (info.param.norm == NormPlacement::kPre ? "_pre" : "_post");
                         });

}  // namespace
}  // namespace rse
