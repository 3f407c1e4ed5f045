// skip_below bounds the sum of what is left out, not the largest of it (src/ops/README.md section 5).
#include <gtest/gtest.h>

#include <algorithm>

#include "ops/attention.h"

namespace rse {
namespace {

// With queries of 0 a logit is -lambda |i - j|, so that beyond the near keys weights are a geometric series,
// whose sum is several times its first term; with values of 1 an output is the sum of its weights.
TEST(SkipBound, WhatIsLeftOutSumsToLessThanSkipBelow) {
  const torch::Tensor zero = torch::zeros({1, 448, 1, 8}, torch::kFloat64), one = torch::ones_like(zero);
  AttentionOptions options;
  options.causal = true;
  options.rotary_base = 0;
  for (const double lambda : {0.1, 0.2, 0.5}) {
    const torch::Tensor decay = torch::full({1}, lambda, torch::kFloat64);
    const auto run = [&](double skip_below) {
      options.skip_below = skip_below;
      return attention(zero, zero, one, decay, std::nullopt, 0, options);
    };
    const AttentionResult all = run(0);
    double largest = 0;
    for (double skip_below = 1e-15; skip_below < 0.1; skip_below *= 1.5) {
      const AttentionResult some = run(skip_below);
      const double left_out = (all.out - some.out).abs().max().item<double>();
      EXPECT_LT(left_out, skip_below) << "lambda " << lambda;
      EXPECT_LT((some.rem - all.rem).abs().max().item<double>(), skip_below) << "lambda " << lambda;
      largest = std::max(largest, left_out);
    }
    EXPECT_GT(largest, 0.0) << "nothing was left out with lambda " << lambda;
  }
}

}  // namespace
}  // namespace rse
