// Tests learned positions on sequences that are longer than their table.
#include "nn/position/learned.h"
#include "nn/position/position_method.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

constexpr int64_t kRows = 24;  // max_positions of small_config

std::shared_ptr<PositionMethod> method_with(BeyondTable beyond) {
  ModelConfig config = small_config("learned");
  config.position.keys<LearnedPositionConfig>().beyond = beyond;
  auto method = make_position_method(config);
  method->initialize(5);
  return method;
}

// Returns what `method` adds to the tokens of `layout`.
torch::Tensor added(PositionMethod& method, const SequenceLayout& layout) {
  return method.embed(torch::zeros({layout.total(), 32}), layout);
}

// Returns row `place` of the table, interpolated linearly between rows.
torch::Tensor row_at(const torch::Tensor& table, double place) {
  const auto below = static_cast<int64_t>(std::floor(place));
  const double share = place - static_cast<double>(below);
  if (share == 0.0) return table[below];
  return table[below] * (1.0 - share) + table[below + 1] * share;
}

TEST(LearnedBeyond, RowsThatWereNotTrainedAreNeverUsed) {
  constexpr int64_t kTrained = 9;
  for (const BeyondTable beyond : {BeyondTable::kClamp, BeyondTable::kTile, BeyondTable::kInterpolate}) {
    ModelConfig config = small_config("learned");
    config.position.keys<LearnedPositionConfig>().beyond = beyond;
    config.position.keys<LearnedPositionConfig>().trained_positions = kTrained;
    const auto all = make_position_method(config);
    all->initialize(5);
    config.position.keys<LearnedPositionConfig>().max_positions = kTrained;
    config.position.keys<LearnedPositionConfig>().trained_positions = 0;
    const auto cut = make_position_method(config);
    torch::NoGradGuard no_grad;
    cut->named_parameters()["table"].copy_(all->named_parameters()["table"].narrow(0, 0, kTrained));
    for (const std::vector<int32_t>& borders : {std::vector<int32_t>{0, 20, 40}, {0, 5, 30}, {0, 9}}) {
      const SequenceLayout layout = make_layout(borders, torch::kCPU);
      EXPECT_TRUE(torch::equal(added(*all, layout), added(*cut, layout)));
    }
  }
  ModelConfig config = small_config("learned");
  config.position.keys<LearnedPositionConfig>().trained_positions = kTrained;
  EXPECT_EQ(config.position.active().limit()->positions, kTrained);
}

TEST(LearnedBeyond, EachRuleGivesItsRows) {
  const std::vector<std::pair<BeyondTable, std::function<double(int64_t, int64_t)>>> rules = {
      {BeyondTable::kClamp, [](int64_t p, int64_t) { return std::min<int64_t>(p, kRows - 1); }},
      {BeyondTable::kTile, [](int64_t p, int64_t) { return p % kRows; }},
      {BeyondTable::kInterpolate, [](int64_t p, int64_t length) {
         return length <= kRows ? static_cast<double>(p)
                                : static_cast<double>(p * (kRows - 1)) / static_cast<double>(length - 1);
       }}};
  const std::vector<std::vector<int32_t>> all_borders = {
      {0, 60, 120}, {0, 24, 48}, {0, 10, 10, 34, 90, 115}, {0, 7}};
  for (const auto& [beyond, place] : rules) {
    const auto method = method_with(beyond);
    const torch::Tensor table = method->named_parameters()["table"];
    for (const std::vector<int32_t>& borders : all_borders) {
      const SequenceLayout layout = make_layout(borders, torch::kCPU);
      const torch::Tensor rows = added(*method, layout);
      for (int64_t s = 0; s < layout.sequences(); ++s) {
        const int64_t length = layout.borders[s + 1] - layout.borders[s];
        for (int64_t p = 0; p < length; ++p) {
          const torch::Tensor expected = row_at(table, place(p, length)), row = rows[layout.borders[s] + p];
          if (length <= kRows) {
            EXPECT_TRUE(torch::equal(row, expected)) << "position " << p;  // the rows themselves
          } else {
            EXPECT_LT(largest_difference(row, expected), 1e-6) << "position " << p << " of " << length;
          }
        }
      }
    }
  }
}

TEST(LearnedBeyond, GradientReachesTheTable) {
  for (const BeyondTable beyond : {BeyondTable::kClamp, BeyondTable::kTile, BeyondTable::kInterpolate}) {
    const auto method = method_with(beyond);
    added(*method, make_layout({0, 60, 100}, torch::kCPU)).sum().backward();
    // Each token contributes 1 per column, however its gradient is divided between rows.
    EXPECT_NEAR(method->named_parameters()["table"].grad().sum().item<double>(), 100 * 32, 1e-2);
  }
}

TEST(LearnedBeyond, ATableOfOneRowInterpolates) {
  ModelConfig config = small_config("learned");
  config.position.keys<LearnedPositionConfig>() = {TableInit::kNormal, 1, BeyondTable::kInterpolate};
  const auto method = make_position_method(config);
  method->initialize(5);
  const torch::Tensor row = method->named_parameters()["table"][0];
  EXPECT_TRUE(torch::equal(added(*method, make_layout({0, 3}, torch::kCPU)), row.expand({3, 32})));
}

TEST(LearnedBeyond, ErrorNamesTheChoices) {
  Encoder encoder = small_encoder(small_config("learned"));
  const SequenceLayout layout = make_layout({0, kRows + 1}, torch::kCPU);
  EXPECT_TRUE(encoder->config().position.active().limit()->refuses(kRows + 1));
  EXPECT_THAT([&] { encoder(token_ids(kRows + 1, 1), layout, torch::arange(3)); },
              ThrowsUserError("model.position.learned.beyond to clamp, tile or interpolate"));
}

}  // namespace
}  // namespace rse
