#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "ops/attention_problem.h"

namespace rse::ops {
namespace {

using torch::Tensor;

TEST(RotaryTest, TablesFollowTheFormulaAndGrow) {
  for (const int64_t positions : {3, 700, 5}) {
    const auto [cos, sin] = rotary_tables(positions, 16, 10000.0, torch::kFloat32, torch::kCPU);
    ASSERT_EQ(cos.sizes(), (std::vector<int64_t>{positions, 8}));
    for (const int64_t p : {int64_t{0}, positions / 2, positions - 1}) {
      for (int64_t d = 0; d < 8; ++d) {
        const double angle = static_cast<double>(p) * std::pow(10000.0, -2.0 * static_cast<double>(d) / 16);
        EXPECT_EQ(cos[p][d].item<float>(), static_cast<float>(std::cos(angle)))
            << "position " << p << ", pair " << d;
        EXPECT_EQ(sin[p][d].item<float>(), static_cast<float>(std::sin(angle)))
            << "position " << p << ", pair " << d;
      }
    }
  }
}

TEST(RotaryTest, TablesOfDifferentKindsStayApart) {
  const auto first = rotary_tables(4, 8, 10000.0, torch::kFloat64, torch::kCPU);
  EXPECT_FALSE(torch::equal(first.first, rotary_tables(4, 8, 500.0, torch::kFloat64, torch::kCPU).first));
  EXPECT_EQ(rotary_tables(4, 24, 10000.0, torch::kFloat64, torch::kCPU).first.size(1), 12);
  EXPECT_EQ(first.first.scalar_type(), torch::kFloat64);
}

TEST(RotaryTest, TablesMayBeAskedForByManyThreads) {
  std::vector<std::thread> threads;
  std::vector<Tensor> tables(4);
  for (size_t i = 0; i < tables.size(); ++i) {
    threads.emplace_back([&tables, i] {
      for (int64_t positions = 1; positions < 3000; positions += 500) {
        tables[i] = rotary_tables(positions, 40, 777.0, torch::kFloat32, torch::kCPU).second;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& table : tables) EXPECT_TRUE(torch::equal(table, tables[0]));
}

TEST(RotaryTest, PositionsStartAtZeroInEachDocument) {
  torch::manual_seed(3);
  const Tensor x = torch::randn({2, 10, 3, 8}, torch::kFloat64);
  const Tensor rotated = apply_rotary(x, {0, 4, 4, 10}, 10000.0);
  EXPECT_TRUE(torch::equal(rotated.narrow(1, 0, 4), apply_rotary(x.narrow(1, 0, 4), {0, 4}, 10000.0)));
  EXPECT_TRUE(torch::equal(rotated.narrow(1, 4, 6), apply_rotary(x.narrow(1, 4, 6), {0, 6}, 10000.0)));
  const Tensor uniform = apply_rotary(x, {0, 5, 10}, 10000.0);
  EXPECT_TRUE(torch::equal(uniform.narrow(1, 5, 5), apply_rotary(x.narrow(1, 5, 5), {0, 5}, 10000.0)));
  EXPECT_TRUE(torch::equal(rotated.select(1, 4), x.select(1, 4)));  // position 0 is not rotated
}

TEST(RotaryTest, PairsAreHalvesApart) {
  Tensor x = torch::zeros({1, 2, 1, 8}, torch::kFloat64);
  x[0][1][0][1] = 1.0;
  const Tensor rotated = apply_rotary(x, {0, 2}, 10000.0);
  const double angle = std::pow(10000.0, -2.0 / 8);
  EXPECT_NEAR(rotated[0][1][0][1].item<double>(), std::cos(angle), 1e-15);
  EXPECT_NEAR(rotated[0][1][0][5].item<double>(), std::sin(angle), 1e-15);
  EXPECT_NEAR(rotated.abs().sum().item<double>(), std::cos(angle) + std::sin(angle), 1e-15);
}

TEST(RotaryTest, InverseTurnsBackAndIsTheGradient) {
  torch::manual_seed(4);
  const Tensor x = torch::randn({1, 6, 2, 16}, torch::kFloat64).requires_grad_();
  const Tensor rotated = apply_rotary(x, {0, 2, 6}, 10000.0);
  EXPECT_LE((apply_rotary(rotated, {0, 2, 6}, 10000.0, true) - x).abs().max().item<double>(), 1e-14);
  const Tensor grad_out = torch::randn_like(rotated);
  const Tensor grad = torch::autograd::grad({rotated}, {x}, {grad_out})[0];
  EXPECT_LE((apply_rotary(grad_out, {0, 2, 6}, 10000.0, true) - grad).abs().max().item<double>(), 1e-14);
}

// bf16 arithmetic would round several times. The rotation is computed in float32, so it rounds once.
TEST(RotaryTest, HalfPrecisionIsRoundedOnce) {
  torch::manual_seed(5);
  const Tensor x = torch::randn({1, 50, 2, 16}).to(torch::kBFloat16);
  const Tensor rotated = apply_rotary(x, {0, 50}, 10000.0);
  EXPECT_EQ(rotated.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(
      torch::equal(rotated, apply_rotary(x.to(torch::kFloat32), {0, 50}, 10000.0).to(torch::kBFloat16)));
}

}  // namespace
}  // namespace rse::ops
