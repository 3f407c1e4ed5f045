#include "nn/position/position_method.h"

#include "nn/position/decay.h"
#include "nn/rotary.h"
#include "nn/softmax_attention.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

torch::Tensor normals(std::vector<int64_t> shape, int64_t seed) {
  torch::manual_seed(seed);
  return torch::randn(shape, torch::kFloat64);
}

// Softmax attention, one sequence and one head at a time.
torch::Tensor naive_softmax(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                            const std::vector<int64_t>& borders) {
  std::vector<torch::Tensor> rows;
  for (size_t s = 0; s + 1 < borders.size(); ++s) {
    const auto cut = [&](const torch::Tensor& x) {
      return x.slice(0, borders[s], borders[s + 1]).transpose(0, 1);
    };
    const torch::Tensor scores = torch::matmul(cut(q), cut(k).transpose(1, 2)) / std::sqrt(double(q.size(2)));
    rows.push_back(torch::matmul(scores.softmax(-1), cut(v)).transpose(0, 1));
  }
  return torch::cat(rows);
}

TEST(SoftmaxAttention, RaggedValuesAndGradients) {
  for (const std::vector<int32_t>& borders :
       {std::vector<int32_t>{0, 5, 5, 9, 14, 15}, std::vector<int32_t>{0, 5, 10, 15}}) {
    const SequenceLayout layout = make_layout(borders, torch::kCPU);
    // The encoder passes views into one projection, and so does this test.
    const torch::Tensor fused = normals({15, 3, 2, 8}, 1).requires_grad_();
    const torch::Tensor weight = normals({15, 2, 8}, 2);
    const auto parts = fused.unbind(1);
    const torch::Tensor out = softmax_attention(parts[0], parts[1], parts[2], layout);
    const torch::Tensor expected = naive_softmax(parts[0], parts[1], parts[2], layout.borders);
    EXPECT_LT(largest_difference(out, expected), 1e-12);
    const auto gradient = torch::autograd::grad({(out * weight).sum()}, {fused})[0];
    EXPECT_LT(largest_difference(gradient, torch::autograd::grad({(expected * weight).sum()}, {fused})[0]),
              1e-12);
  }
}

TEST(Rotary, IsTheSpecifiedRotation) {
  const SequenceLayout layout = make_layout({0, 4, 11}, torch::kCPU);
  const torch::Tensor x = normals({11, 2, 8}, 3);
  const torch::Tensor rotated = rotate(x, layout, 100.0);
  for (int64_t token = 0; token < 11; ++token) {
    const double position = static_cast<double>(token < 4 ? token : token - 4);
    for (int64_t d = 0; d < 4; ++d) {
      const double angle = position * std::pow(100.0, -2.0 * static_cast<double>(d) / 8.0);
      const double a = x[token][1][d].item<double>(), b = x[token][1][d + 4].item<double>();
      EXPECT_NEAR(rotated[token][1][d].item<double>(), a * std::cos(angle) - b * std::sin(angle), 1e-12);
      EXPECT_NEAR(rotated[token][1][d + 4].item<double>(), b * std::cos(angle) + a * std::sin(angle), 1e-12);
    }
  }
}

TEST(Rotary, ScoresDependOnDifferencesOnly) {
  const SequenceLayout layout = make_layout({0, 40}, torch::kCPU);
  const torch::Tensor q = rotate(normals({1, 1, 16}, 4).expand({40, 1, 16}), layout, 1e4).squeeze(1);
  const torch::Tensor k = rotate(normals({1, 1, 16}, 5).expand({40, 1, 16}), layout, 1e4).squeeze(1);
  const torch::Tensor scores = torch::matmul(q, k.t());
  for (const int64_t shift : {1, 7, 30}) {
    EXPECT_LT(largest_difference(scores.slice(0, shift).slice(1, shift),
                                 scores.slice(0, 0, 40 - shift).slice(1, 0, 40 - shift)),
              1e-10);
  }
  EXPECT_GT(largest_difference(scores.select(1, 0), scores.select(1, 1)), 1e-2);
}

TEST(Rotary, GradientRotatesBack) {
  for (const std::vector<int32_t>& borders :
       {std::vector<int32_t>{0, 6, 12}, std::vector<int32_t>{0, 5, 12}}) {
    const SequenceLayout layout = make_layout(borders, torch::kCPU);
    const torch::Tensor x = normals({12, 2, 8}, 6).requires_grad_();
    rotate(x, layout, 1e4).backward(rotate(x, layout, 1e4).detach());
    EXPECT_LT(largest_difference(x.grad(), x.detach()), 1e-12);
  }
}

TEST(Rotary, RotatesBfloat16InFloat32) {
  const SequenceLayout layout = make_layout({0, 600}, torch::kCPU);
  const torch::Tensor x = normals({600, 1, 16}, 7).to(torch::kBFloat16);
  const torch::Tensor rotated = rotate(x, layout, 1e4);
  EXPECT_EQ(rotated.scalar_type(), torch::kBFloat16);
  const torch::Tensor exact = rotate(x.to(torch::kFloat64), layout, 1e4);
  // The result is rounded once to 8 significant bits, so its relative error is at most 2^-8.
  EXPECT_TRUE(
      ((rotated.to(torch::kFloat64) - exact).abs() <= exact.abs() * 0x1.02p-8 + 1e-5).all().item<bool>());
}

TEST(LearnedPosition, StartsHaveTheSameSize) {
  ModelConfig config = small_config("learned");
  config.width = 256;
  config.heads = 8;
  config.position.keys<LearnedPositionConfig>().max_positions = 512;
  for (const TableInit init : {TableInit::kNormal, TableInit::kSinusoidal}) {
    config.position.keys<LearnedPositionConfig>().init = init;
    auto method = make_position_method(config);
    method->initialize(5);
    const torch::Tensor table = method->named_parameters()["table"];
    EXPECT_EQ(table.sizes(), (std::vector<int64_t>{512, 256}));
    EXPECT_NEAR(table.square().mean().sqrt().item<double>(), config.init_std, 0.01 * config.init_std);
  }
}

TEST(LearnedPosition, AddsARowAPosition) {
  auto method = make_position_method(small_config("learned"));
  method->initialize(5);
  const torch::Tensor table = method->named_parameters()["table"];
  for (const std::vector<int32_t>& borders : {std::vector<int32_t>{0, 5, 8}, std::vector<int32_t>{0, 4, 8}}) {
    const SequenceLayout layout = make_layout(borders, torch::kCPU);
    const torch::Tensor added = method->embed(torch::zeros({8, 32}), layout);
    for (int64_t token = 0; token < 8; ++token) {
      const int64_t position = token < borders[1] ? token : token - borders[1];
      EXPECT_TRUE(torch::equal(added[token], table[position]));
    }
  }
}

std::shared_ptr<PositionMethod> rse_method(DecayScope scope, DecayInit init, double value = 0.01) {
  ModelConfig config = small_config("rse");
  config.layers = 3;
  config.position.keys<RsePositionConfig>().decay = {scope, init, value};
  auto method = make_position_method(config);
  method->initialize(1);
  return method;
}

TEST(RsePosition, DecayScopesAndStarts) {
  const std::vector<std::pair<DecayScope, std::vector<int64_t>>> scopes = {
      {DecayScope::kPerHead, {3, 2}}, {DecayScope::kPerLayer, {3}}, {DecayScope::kGlobal, {1}}};
  for (const auto& [scope, shape] : scopes) {
    for (const double value : {1e-6, 0.01, 2.0, 90.0}) {
      const auto method = rse_method(scope, DecayInit::kUniform, value);
      EXPECT_EQ(method->named_parameters()["raw_decay"].sizes(), shape);
      const torch::Tensor decays = method->decays();
      EXPECT_EQ(decays.sizes(), (std::vector<int64_t>{3, 2}));
      EXPECT_LT(largest_difference(decays / value, torch::ones({3, 2})), 1e-5) << value;
    }
  }
  const torch::Tensor slopes = rse_method(DecayScope::kPerHead, DecayInit::kGeometric)->decays();
  const torch::Tensor expected = torch::tensor({0.0625, 0.00390625}).expand({3, 2});
  EXPECT_LT(largest_difference(slopes / expected, torch::ones({3, 2})), 1e-5);
}

TEST(RsePosition, EachLayerUsesItsDecay) {
  const SequenceLayout layout = make_layout({0, 9}, torch::kCPU);
  const torch::Tensor q = normals({9, 2, 16}, 1).to(torch::kFloat32),
                      v = normals({9, 2, 16}, 2).to(torch::kFloat32);
  for (const DecayScope scope : {DecayScope::kPerHead, DecayScope::kPerLayer, DecayScope::kGlobal}) {
    const auto method = rse_method(scope, DecayInit::kUniform);
    const torch::Tensor raw = method->named_parameters()["raw_decay"];
    {
      torch::NoGradGuard no_grad;
      if (scope == DecayScope::kPerHead) raw[2][1] = 3.0;
      if (scope == DecayScope::kPerLayer) raw[2] = 3.0;
      if (scope == DecayScope::kGlobal) raw[0] = 3.0;
    }
    for (int64_t layer = 0; layer < 3; ++layer) {
      AttentionOptions options;
      options.skip_below = 0.0;
      const auto expected = attention(q.unsqueeze(0), q.unsqueeze(0), v.unsqueeze(0), method->decays()[layer],
                                      std::nullopt, 0, options);
      EXPECT_LT(largest_difference(method->attend(layer, q, q, v, layout), expected.out.squeeze(0)), 1e-6);
    }
  }
}

// The gradient goes from a loss through every layer's attention and softplus to the unconstrained parameter.
TEST(RsePosition, DecayGradientIsThatOfCentralDifferences) {
  constexpr double kStep = 1e-5;
  const SequenceLayout layout = make_layout({0, 4, 13}, torch::kCPU);
  const torch::Tensor start = normals({13, 2, 16}, 1), weight = normals({13, 2, 16}, 2);
  for (const DecayScope scope : {DecayScope::kPerHead, DecayScope::kPerLayer, DecayScope::kGlobal}) {
    const auto method = rse_method(scope, DecayInit::kUniform, 0.2);
    method->to(torch::kFloat64);
    const torch::Tensor raw = method->named_parameters()["raw_decay"];
    const auto loss = [&] {
      torch::Tensor x = start;
      for (int64_t layer = 0; layer < 3; ++layer) x = x + method->attend(layer, x, x.tanh(), x, layout);
      return (x * weight).sum();
    };
    const torch::Tensor gradient = torch::autograd::grad({loss()}, {raw})[0].reshape({-1});
    EXPECT_GT(gradient.abs().max().item<double>(), 0.1);
    const torch::NoGradGuard no_grad;
    const torch::Tensor values = raw.view({-1});
    for (int64_t n = 0; n < values.numel(); ++n) {
      const double value = values[n].item<double>();
      const auto loss_at = [&](double moved) {
        values[n] = moved;
        return loss().item<double>();
      };
      const double slope = (loss_at(value + kStep) - loss_at(value - kStep)) / (2 * kStep);
      values[n] = value;
      EXPECT_NEAR(gradient[n].item<double>(), slope, 1e-6 * std::max(1.0, std::abs(slope)));
    }
  }
}

TEST(RsePosition, OptionsReachTheOperator) {
  const SequenceLayout layout = make_layout({0, 4, 9}, torch::kCPU);
  const torch::Tensor q = normals({9, 2, 16}, 1), v = normals({9, 2, 16}, 2);
  AttentionOptions options;
  options.mass = Mass::kShared;
  options.self_key = false;
  options.remainder = Remainder::kSelf;
  options.rotary_base = 50.0;
  options.skip_below = 0.0;
  const torch::Tensor decay = torch::full({2}, 0.2, torch::kFloat64);
  const auto with = [&](const std::function<void(ModelConfig&)>& change) {
    ModelConfig config = small_config("rse");
    config.position.rotary_base = 50.0;
    config.position.keys<RsePositionConfig>() = {
        {DecayScope::kGlobal, DecayInit::kUniform, 0.2}, Mass::kShared, false, Remainder::kSelf, 0.0};
    change(config);
    const auto method = make_position_method(config);
    method->initialize(1);
    return largest_difference(method->attend(0, q, q, v, layout),
                              attention(q, q, v, decay, layout.cu_seqlens, 5, options).out);
  };
  EXPECT_LT(with([](ModelConfig&) {}), 1e-6);
  EXPECT_GT(with([](ModelConfig& c) { c.position.keys<RsePositionConfig>().mass = Mass::kPerSide; }), 1e-3);
  EXPECT_GT(with([](ModelConfig& c) { c.position.keys<RsePositionConfig>().self_key = true; }), 1e-3);
  EXPECT_GT(with([](ModelConfig& c) { c.position.keys<RsePositionConfig>().remainder = Remainder::kDrop; }),
            1e-3);
  EXPECT_GT(with([](ModelConfig& c) { c.position.rotary_base = 0.0; }), 1e-3);
}

TEST(RsePosition, SkipBelowReachesTheOperator) {
  // Keys beyond the next tile weigh too little for 0.01, and enough for float64.
  const SequenceLayout layout = make_layout({0, 300}, torch::kCPU);
  const torch::Tensor q = normals({300, 2, 16}, 1), v = normals({300, 2, 16}, 2);
  std::vector<torch::Tensor> results;
  for (const double skip_below : {0.0, 0.01}) {
    ModelConfig config = small_config("rse");
    config.position.keys<RsePositionConfig>().decay = {DecayScope::kGlobal, DecayInit::kUniform, 0.2};
    config.position.keys<RsePositionConfig>().skip_below = skip_below;
    const auto method = make_position_method(config);
    method->initialize(1);
    AttentionOptions options;
    options.rotary_base = config.position.rotary_base;
    options.skip_below = skip_below;
    const torch::Tensor decay = method->decays()[0].to(torch::kFloat64);
    const auto expected =
        attention(q.unsqueeze(0), q.unsqueeze(0), v.unsqueeze(0), decay, std::nullopt, 0, options);
    results.push_back(method->attend(0, q, q, v, layout));
    EXPECT_LT(largest_difference(results.back(), expected.out.squeeze(0)), 1e-7) << skip_below;
  }
  EXPECT_GT(largest_difference(results[0], results[1]), 1e-9);
}

TEST(SequenceLayout, PositionsAndUniformLength) {
  const SequenceLayout ragged = make_layout({0, 3, 3, 5}, torch::kCPU);
  EXPECT_TRUE(torch::equal(ragged.positions, torch::tensor({0, 1, 2, 0, 1}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(ragged.cu_seqlens, torch::tensor({0, 3, 3, 5}, torch::kInt32)));
  EXPECT_EQ(ragged.max_seqlen, 3);
  EXPECT_EQ(ragged.uniform_length, 0);
  EXPECT_EQ(ragged.sequences(), 3);
  EXPECT_EQ(make_layout({0, 4, 8}, torch::kCPU).uniform_length, 4);
  EXPECT_EQ(make_layout({0, 0}, torch::kCPU).uniform_length, 0);
  EXPECT_THROW(make_layout({0, 4, 3}, torch::kCPU), std::logic_error);
}

}  // namespace
}  // namespace rse
