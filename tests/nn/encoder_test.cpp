#include "nn/encoder.h"

#include <ATen/autocast_mode.h>

#include "nn/autocast.h"
#include "nn/mlm_loss.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

class EveryMethod : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Encoder, EveryMethod, testing::ValuesIn(kAllMethods),
                         [](const auto& info) { return info.param; });

torch::Tensor all_logits(Encoder& encoder, const torch::Tensor& ids, const std::vector<int32_t>& borders) {
  const SequenceLayout layout = make_layout(borders, torch::kCPU);
  return encoder(ids, layout, torch::arange(layout.total(), torch::kInt64), std::nullopt);
}

TEST_P(EveryMethod, GivesLogitsOfTheTargetsOnly) {
  Encoder encoder = small_encoder(small_config(GetParam()));
  const torch::Tensor ids = token_ids(14, 1);
  const torch::Tensor targets = torch::tensor({12, 3, 4}, torch::kInt64);
  const torch::Tensor logits = encoder(ids, make_layout({0, 9, 14}, torch::kCPU), targets, std::nullopt);
  EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{3, 40}));
  EXPECT_LT(largest_difference(logits, all_logits(encoder, ids, {0, 9, 14}).index_select(0, targets)), 1e-5);
  const torch::Tensor none =
      encoder(ids, make_layout({0, 9, 14}, torch::kCPU), targets.narrow(0, 0, 0), std::nullopt);
  EXPECT_EQ(none.sizes(), (std::vector<int64_t>{0, 40}));
}

TEST_P(EveryMethod, PackedSequencesAreAsIfAlone) {
  Encoder encoder = small_encoder(small_config(GetParam()), 3, torch::kFloat64);
  torch::NoGradGuard no_grad;
  // The first borders are ragged, with repeated lengths, empty sequences and a sequence of one token; the
  // second ones have equal lengths throughout.
  for (const std::vector<int32_t>& borders :
       {std::vector<int32_t>{0, 7, 7, 8, 19, 26, 26}, std::vector<int32_t>{0, 8, 16, 24}}) {
    const torch::Tensor ids = token_ids(borders.back(), 5);
    const torch::Tensor packed = all_logits(encoder, ids, borders);
    for (size_t s = 0; s + 1 < borders.size(); ++s) {
      const int32_t length = borders[s + 1] - borders[s];
      if (length == 0) continue;
      const torch::Tensor alone = all_logits(encoder, ids.narrow(0, borders[s], length), {0, length});
      EXPECT_LT(largest_difference(packed.narrow(0, borders[s], length), alone), 1e-10) << "sequence " << s;
    }
  }
}

TEST_P(EveryMethod, OnlyNoneIsBlindToOrder) {
  Encoder encoder = small_encoder(small_config(GetParam()));
  torch::NoGradGuard no_grad;
  const torch::Tensor ids = token_ids(12, 6);
  const torch::Tensor backwards = all_logits(encoder, ids.flip(0), {0, 12}).flip(0);
  // RSE is symmetric, so that reversing the tokens alone would not show that it sees order. Rolling them
  // does.
  const torch::Tensor rolled = all_logits(encoder, ids.roll(3, 0), {0, 12}).roll(-3, 0);
  const torch::Tensor straight = all_logits(encoder, ids, {0, 12});
  const double moved =
      std::max(largest_difference(rolled, straight), largest_difference(backwards, straight));
  if (GetParam() == "none") {
    EXPECT_LT(moved, 1e-4);
  } else {
    EXPECT_GT(moved, 1e-3);
  }
}

TEST_P(EveryMethod, LearnsATinyBatch) {
  Encoder encoder = small_encoder(small_config(GetParam()));
  const SequenceLayout layout = make_layout({0, 10, 20, 24}, torch::kCPU);
  const torch::Tensor ids = token_ids(24, 7);
  const torch::Tensor targets = torch::tensor({1, 6, 11, 17, 22}, torch::kInt64);
  const torch::Tensor wanted = ids.index_select(0, targets);
  const torch::Tensor masked = ids.index_fill(0, targets, 0);
  torch::optim::AdamW optimizer(encoder->parameters(), torch::optim::AdamWOptions(1e-2));
  double first = 0, last = 0;
  for (int step = 0; step < 40; ++step) {
    const torch::Tensor loss = masked_lm_nll(encoder(masked, layout, targets, std::nullopt), wanted).mean();
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  // Without positions the masked tokens of one sequence look the same, and their targets cannot be told
  // apart.
  EXPECT_LT(last, (GetParam() == "none" ? 0.5 : 0.1) * first);
}

TEST_P(EveryMethod, EveryParameterGetsAGradient) {
  ModelConfig config = small_config(GetParam());
  config.embedding_norm = true;
  Encoder encoder = small_encoder(config);
  const SequenceLayout layout = make_layout({0, 24}, torch::kCPU);
  const torch::Tensor ids = token_ids(24, 8);
  masked_lm_nll(encoder(ids, layout, torch::arange(24), std::nullopt), ids).sum().backward();
  for (const auto& item : encoder->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_GT(item.value().grad().abs().max().item<double>(), 0.0) << item.key();
  }
}

TEST_P(EveryMethod, AutocastComputesInBfloat16) {
  Encoder encoder = small_encoder(small_config(GetParam()));
  const torch::Tensor ids = token_ids(24, 8);
  const torch::Tensor exact = all_logits(encoder, ids, {0, 11, 24});
  torch::Tensor logits;
  {
    const Bf16Autocast autocast(torch::kCPU, true);
    logits = all_logits(encoder, ids, {0, 11, 24});
  }
  EXPECT_EQ(logits.scalar_type(), torch::kBFloat16);
  EXPECT_LT(largest_difference(logits, exact), 0.1 * exact.abs().max().item<double>());
  masked_lm_nll(logits, ids).sum().backward();
  for (const auto& item : encoder->named_parameters()) {
    EXPECT_EQ(item.value().grad().scalar_type(), torch::kFloat32) << item.key();
  }
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
}

TEST(Encoder, HeadIsTiedToTheEmbedding) {
  Encoder encoder = small_encoder(small_config("rope"));
  const torch::Tensor ids = torch::full({6}, 2, torch::kInt64);
  const torch::Tensor wanted = torch::tensor({7}, torch::kInt64);
  const auto logits =
      encoder(ids, make_layout({0, 6}, torch::kCPU), torch::tensor({1}, torch::kInt64), std::nullopt);
  masked_lm_nll(logits, wanted).sum().backward();
  const torch::Tensor gradient = encoder->named_parameters()["embedding.weight"].grad();
  EXPECT_GT(gradient[7].abs().max().item<double>(), 0.0);  // never an input: only the decoder uses it
  int64_t vocabulary_sized = 0;
  for (const auto& item : encoder->named_parameters()) vocabulary_sized += item.value().size(0) == 40;
  EXPECT_EQ(vocabulary_sized, 2);  // the embedding and the head's bias
}

TEST(Encoder, SequenceBeyondTheLearnedTableIsAUserError) {
  Encoder encoder = small_encoder(small_config("learned"));
  EXPECT_NO_THROW(all_logits(encoder, token_ids(24, 1), {0, 24}));
  EXPECT_THAT(
      [&] {
        all_logits(encoder, token_ids(30, 1), {0, 5, 30});
      },
      ThrowsUserError("max_positions: '24': expected at least 25"));
}

// Computes the logits from the named parameters, for method `none` and one sequence. key: of the dropout.
torch::Tensor written_out(Encoder& encoder, const torch::Tensor& ids,
                          const std::optional<DropoutKey>& key = std::nullopt) {
  const ModelConfig& config = encoder->config();
  const auto parameters = encoder->named_parameters();
  const auto linear = [&](const torch::Tensor& x, const std::string& name) {
    return torch::matmul(x, parameters[name + ".weight"].t()) + parameters[name + ".bias"];
  };
  const auto norm = [&](const torch::Tensor& x, const std::string& name) {
    const torch::Tensor centred = x - x.mean(-1, true);
    const torch::Tensor scaled = centred / torch::sqrt(centred.square().mean(-1, true) + 1e-5);
    return scaled * parameters[name + ".weight"] + parameters[name + ".bias"];
  };
  const auto gelu = [](const torch::Tensor& x) { return 0.5 * x * (1 + torch::erf(x / std::sqrt(2.0))); };
  const auto drop = [&](const torch::Tensor& x, int64_t layer, DropoutSite site) {
    if (!key) return x;
    return x * kept_by_dropout(x.sizes(), config.dropout, *key, layer, site) / (1 - config.dropout);
  };
  const auto attention = [&](const torch::Tensor& x, const std::string& layer) {
    const auto qkv = linear(x, layer + "query_key_value").view({-1, 3, config.heads, config.head_dim()});
    const auto q = qkv.select(1, 0).transpose(0, 1), k = qkv.select(1, 1).transpose(0, 1);
    const auto scores = torch::matmul(q, k.transpose(1, 2)) / std::sqrt(double(config.head_dim()));
    const auto mixed = torch::matmul(scores.softmax(-1), qkv.select(1, 2).transpose(0, 1)).transpose(0, 1);
    return linear(mixed.reshape({-1, config.width}), layer + "attention_output");
  };
  const auto ffn = [&](const torch::Tensor& x, const std::string& layer) {
    const torch::Tensor inner = linear(x, layer + "ffn_input");
    if (config.activation == Activation::kGelu) return linear(gelu(inner), layer + "ffn_output");
    const torch::Tensor gated =
        gelu(inner.narrow(1, 0, config.ffn_width)) * inner.narrow(1, config.ffn_width, config.ffn_width);
    return linear(gated, layer + "ffn_output");
  };
  torch::Tensor x = parameters["embedding.weight"].index_select(0, ids);
  if (config.embedding_norm) x = norm(x, "embedding_norm");
  x = drop(x, 0, DropoutSite::kEmbedding);
  for (int64_t index = 0; index < config.layers; ++index) {
    const std::string layer = fmt::format("layers.{}.", index);
    const auto attended = [&](const torch::Tensor& y) {
      return drop(attention(y, layer), index, DropoutSite::kAttention);
    };
    const auto fed = [&](const torch::Tensor& y) { return drop(ffn(y, layer), index, DropoutSite::kFfn); };
    if (config.norm == NormPlacement::kPre) {
      x = x + attended(norm(x, layer + "attention_norm"));
      x = x + fed(norm(x, layer + "ffn_norm"));
    } else {
      x = norm(x + attended(x), layer + "attention_norm");
      x = norm(x + fed(x), layer + "ffn_norm");
    }
  }
  if (config.norm == NormPlacement::kPre) x = norm(x, "final_norm");
  if (config.head == HeadKind::kTransform) x = norm(gelu(linear(x, "head_dense")), "head_norm");
  return torch::matmul(x, parameters["embedding.weight"].t()) + parameters["head_bias"];
}

TEST(Encoder, IsTheFormulaForEveryNormAndActivation) {
  torch::NoGradGuard no_grad;
  for (const NormPlacement norm : {NormPlacement::kPre, NormPlacement::kPost}) {
    for (const Activation activation : {Activation::kGelu, Activation::kGeglu}) {
      ModelConfig config = small_config("none");
      config.norm = norm;
      config.activation = activation;
      config.embedding_norm = activation == Activation::kGeglu;
      config.head = norm == NormPlacement::kPre ? HeadKind::kTransform : HeadKind::kTied;
      Encoder encoder = small_encoder(config, 11, torch::kFloat64);
      for (auto& parameter : encoder->parameters())
        parameter.add_(0.05);  // so that biases and norm weights matter
      const torch::Tensor ids = token_ids(9, 2);
      EXPECT_LT(largest_difference(all_logits(encoder, ids, {0, 9}), written_out(encoder, ids)), 1e-10);
      EXPECT_EQ(encoder->named_parameters().contains("final_norm.weight"), norm == NormPlacement::kPre);
      EXPECT_EQ(encoder->named_parameters().contains("head_dense.weight"), norm == NormPlacement::kPre);
    }
  }
}

// Each place has the mask of its own layer and site, and each micro-batch has other ones.
TEST(Encoder, DropoutMasksAreThoseOfLayerSiteAndMicroBatch) {
  torch::NoGradGuard no_grad;
  for (const NormPlacement norm : {NormPlacement::kPre, NormPlacement::kPost}) {
    ModelConfig config = small_config("none");
    config.layers = 3;
    config.norm = norm;
    config.dropout = 0.3;
    Encoder encoder = small_encoder(config, 11, torch::kFloat64);
    const torch::Tensor ids = token_ids(9, 2), all = torch::arange(9);
    for (const DropoutKey& key : {DropoutKey{4, 0}, DropoutKey{4, 1}, DropoutKey{4, 6}, DropoutKey{5, 6}}) {
      const torch::Tensor logits = encoder(ids, make_layout({0, 9}, torch::kCPU), all, key);
      EXPECT_LT(largest_difference(logits, written_out(encoder, ids, key)), 1e-10) << key.micro_batch;
    }
  }
}

TEST(Encoder, DropoutFollowsItsKey) {
  ModelConfig config = small_config("rse");
  config.dropout = 0.3;
  Encoder encoder = small_encoder(config);
  torch::NoGradGuard no_grad;
  const SequenceLayout layout = make_layout({0, 24}, torch::kCPU);
  const auto run = [&](const std::optional<DropoutKey>& key) {
    return encoder(token_ids(24, 8), layout, torch::arange(24), key);
  };
  EXPECT_TRUE(torch::equal(run(DropoutKey{1, 5}), run(DropoutKey{1, 5})));
  EXPECT_FALSE(torch::equal(run(DropoutKey{1, 5}), run(DropoutKey{1, 6})));
  EXPECT_FALSE(torch::equal(run(DropoutKey{1, 5}), run(DropoutKey{2, 5})));
  EXPECT_FALSE(torch::equal(run(DropoutKey{1, 5}), run(std::nullopt)));
  EXPECT_TRUE(torch::equal(run(std::nullopt), run(std::nullopt)));
}

TEST(Encoder, ParameterRoles) {
  Encoder encoder = small_encoder(small_config("rse"));
  const auto role = [&](const std::string& name) {
    return parameter_role(name, encoder->named_parameters()[name]);
  };
  EXPECT_EQ(role("position.raw_decay"), ParameterRole::kDecay);
  EXPECT_EQ(role("embedding.weight"), ParameterRole::kMatrix);
  EXPECT_EQ(role("layers.1.ffn_input.weight"), ParameterRole::kMatrix);
  EXPECT_EQ(role("layers.1.ffn_input.bias"), ParameterRole::kBiasOrNorm);
  EXPECT_EQ(role("layers.0.ffn_norm.weight"), ParameterRole::kBiasOrNorm);
  EXPECT_EQ(role("head_bias"), ParameterRole::kBiasOrNorm);
}

class GpuEncoder : public EveryMethod {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  }
};
INSTANTIATE_TEST_SUITE_P(Gpu, GpuEncoder, testing::ValuesIn(kAllMethods),
                         [](const auto& info) { return info.param; });

TEST_P(GpuEncoder, AgreesWithTheCpu) {
  Encoder encoder = small_encoder(small_config(GetParam()));
  torch::NoGradGuard no_grad;
  for (const std::vector<int32_t>& borders :
       {std::vector<int32_t>{0, 12, 24}, std::vector<int32_t>{0, 7, 24}}) {
    const torch::Tensor ids = token_ids(24, 8);
    encoder->to(torch::kCPU);
    const torch::Tensor expected = all_logits(encoder, ids, borders);
    encoder->to(torch::kCUDA);
    const torch::Tensor logits = encoder(ids.to(torch::kCUDA), make_layout(borders, torch::kCUDA),
                                         torch::arange(24, torch::device(torch::kCUDA)), std::nullopt);
    EXPECT_LT(largest_difference(logits.cpu(), expected), 2e-3);
  }
}

TEST_P(GpuEncoder, DropoutFollowsItsKey) {
  ModelConfig config = small_config(GetParam());
  config.dropout = 0.3;
  Encoder encoder = small_encoder(config);
  encoder->to(torch::kCUDA);
  const SequenceLayout layout = make_layout({0, 24}, torch::kCUDA);
  const torch::Tensor ids = token_ids(24, 8).to(torch::kCUDA), targets = torch::arange(24, ids.options());
  const torch::Tensor first = encoder(ids, layout, targets, DropoutKey{1, 5});
  EXPECT_TRUE(torch::equal(first, encoder(ids, layout, targets, DropoutKey{1, 5})));
  EXPECT_FALSE(torch::equal(first, encoder(ids, layout, targets, DropoutKey{1, 6})));
}

}  // namespace
}  // namespace rse
