// Tests the oracle: its gradient formulas against central differences of its triple loop, and the loop
// against weights worked out by hand.
#include "tests/ops/oracle.h"

#include <gtest/gtest.h>

#include "tests/ops/attention_cases.h"

namespace rse {
namespace {

using torch::Tensor;

OracleInputs random_inputs(const AttentionOptions& options) {
  torch::manual_seed(7);
  const auto random = [] { return torch::randn({1, 8, 1, 4}, torch::kFloat64); };
  return {random() * 2, random(), random(), torch::tensor({0.2}, torch::kFloat64),
          {0, 5, 5, 8}, options,  false};
}

// Returns the central difference of sum(out * grad_out) + sum(rem * grad_rem) with respect to every entry of
// x, which is part of `inputs`.
Tensor central_differences(const OracleInputs& inputs, Tensor& x, const Tensor& grad_out,
                           const Tensor& grad_rem) {
  constexpr double kStep = 1e-5;
  const auto loss = [&] {
    const OracleOutputs result = oracle_forward(inputs);
    return ((result.out * grad_out).sum() + (result.rem * grad_rem).sum()).item<double>();
  };
  Tensor flat = x.view({-1});
  const Tensor gradient = torch::empty_like(flat);
  for (int64_t index = 0; index < flat.numel(); ++index) {
    const double value = flat[index].item<double>();
    flat[index] = value + kStep;
    const double above = loss();
    flat[index] = value - kStep;
    const double below = loss();
    flat[index] = value;
    gradient[index] = (above - below) / (2 * kStep);
  }
  return gradient.view_as(x);
}

TEST(OracleTest, GradientsAreCentralDifferences) {
  for (const AttentionOptions& options : all_modes(/*window=*/3)) {
    OracleInputs inputs = random_inputs(options);
    Case named;
    named.borders = inputs.borders;
    named.options = options;
    SCOPED_TRACE(describe(named));
    const OracleOutputs shapes = oracle_forward(inputs);
    const Tensor grad_out = torch::randn_like(shapes.out), grad_rem = torch::randn_like(shapes.rem);
    const OracleGradients grad = oracle_backward(inputs, grad_out, grad_rem);
    const auto differences = [&](Tensor& x) { return central_differences(inputs, x, grad_out, grad_rem); };
    EXPECT_LE(relative_error(grad.query, differences(inputs.query)), 1e-8);
    EXPECT_LE(relative_error(grad.key, differences(inputs.key)), 1e-8);
    EXPECT_LE(relative_error(grad.value, differences(inputs.value)), 1e-8);
    EXPECT_LE(relative_error(grad.decay, differences(inputs.decay)), 1e-8);
  }
}

TEST(OracleTest, RunningProductsAndSumsAreThoseOfTheTripleLoop) {
  for (const AttentionOptions& options : all_modes(/*window=*/4)) {
    OracleInputs inputs = random_inputs(options);
    const OracleOutputs loop = oracle_forward(inputs);
    const Tensor grad_out = torch::randn_like(loop.out), grad_rem = torch::randn_like(loop.rem);
    const OracleGradients loop_grad = oracle_backward(inputs, grad_out, grad_rem);
    inputs.running = true;
    const OracleOutputs running = oracle_forward(inputs);
    const OracleGradients running_grad = oracle_backward(inputs, grad_out, grad_rem);
    EXPECT_LE(relative_error(running.out, loop.out), 1e-14);
    EXPECT_LE(relative_error(running.rem, loop.rem), 1e-14);
    EXPECT_LE(relative_error(running_grad.query, loop_grad.query), 1e-13);
    EXPECT_LE(relative_error(running_grad.key, loop_grad.key), 1e-13);
    EXPECT_LE(relative_error(running_grad.value, loop_grad.value), 1e-13);
    EXPECT_LE(relative_error(running_grad.decay, loop_grad.decay), 1e-13);
  }
}

// All logits are 0. Then beta is 1/2 at distance 0 and, with exp(-decay) = 1/2, it is 1/3 at distance 1 and
// 1/5 at distance 2.
TEST(OracleTest, WeightsOfThreeTokensByHand) {
  OracleInputs inputs;
  inputs.query = torch::zeros({1, 3, 1, 8}, torch::kFloat64);
  inputs.key = torch::randn({1, 3, 1, 8}, torch::kFloat64);
  inputs.value = torch::eye(8, torch::kFloat64).narrow(0, 0, 3).view({1, 3, 1, 8}).clone();
  inputs.decay = torch::tensor({std::log(2.0)}, torch::kFloat64);
  inputs.borders = {0, 3};
  const OracleOutputs result = oracle_forward(inputs);
  const Tensor weights = result.out.view({3, 8}).narrow(1, 0, 3);
  const double far = 1.0 / 5 * (1 - 1.0 / 3);
  const Tensor expected = torch::tensor(
      {{1.0 / 2, 1.0 / 3, far}, {1.0 / 3, 1.0 / 2, 1.0 / 3}, {far, 1.0 / 3, 1.0 / 2}}, torch::kFloat64);
  EXPECT_LE((weights - expected).abs().max().item<double>(), 1e-15);
  // The first token has no keys before it, so that stick stays whole. The stick after it keeps (1 - 1/3)(1 -
  // 1/5).
  EXPECT_DOUBLE_EQ(result.rem[0][0][0][0].item<double>(), 1.0);
  EXPECT_NEAR(result.rem[0][0][0][1].item<double>(), 2.0 / 3 * 4 / 5, 1e-15);
}

}  // namespace
}  // namespace rse
