// Tests that every configuration in configs/ loads, is listed in its README, and makes models with an optimizer.
#include <filesystem>

#include "core/file.h"
#include "nn/encoder.h"
#include "run/run_config.h"
#include "tests/support.h"
#include "train/optimizer.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> shipped() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(RSE_SHIPPED_CONFIGS)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path file_of(const std::string& name) { return fs::path(RSE_SHIPPED_CONFIGS) / (name + ".yaml"); }

class ShippedConfig : public testing::TestWithParam<std::string> {};

TEST_P(ShippedConfig, LoadsAndReadsBack) {
  const RunConfig config = load_run_config(file_of(GetParam()).string(), {});
  EXPECT_EQ(config.base.output, "runs/" + GetParam());
  EXPECT_EQ(make_run_config(parse_config(config.dump(), "dump"), config.source).dump(), config.dump());
  EXPECT_LT(config.base.train.warmup_steps, config.base.train.schedule_of_run().steps);
}

TEST_P(ShippedConfig, IsListed) {
  EXPECT_THAT(std::string(read_file(fs::path(RSE_SHIPPED_CONFIGS) / "README.md")),
              testing::HasSubstr("`" + GetParam() + ".yaml`"));
}

TEST_P(ShippedConfig, MakesModelsWithAnOptimizer) {
  const RunConfig config = load_run_config(
      file_of(GetParam()).string(),
      {"model.layers=1", "model.width=64", "model.heads=2", "model.ffn_width=48", "model.vocab_size=300"});
  for (const ArmConfig& arm : config.arms) {
    Encoder encoder(arm.model);
    const AdamW optimizer(make_optimizer_groups(*encoder, arm.has_decay()), config.base.train.adamw());
    EXPECT_EQ(optimizer.groups().size(), arm.has_decay() ? 3u : 2u);
  }
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig, testing::ValuesIn(shipped()),
                         [](const auto& info) { return info.param; });

// The recipe after ModernBERT, piece by piece.
TEST(ShippedConfigs, ModernOnesDifferInThePositionMethodAlone) {
  const RunConfig rse = load_run_config(file_of("modern_rse").string(), {});
  const RunConfig rope = load_run_config(
      file_of("modern_rope").string(),
      {"model.position.method=rse", "output=runs/modern_rse", "train.decay_learning_rate=1e-2"});
  EXPECT_EQ(rse.dump(), rope.dump());
  const TrainConfig& train = rse.base.train;
  EXPECT_FALSE(rse.base.model.biases);
  EXPECT_EQ(rse.base.model.activation, Activation::kGeglu);
  EXPECT_EQ(rse.base.data.mask.probability, 0.3);
  EXPECT_EQ(rse.base.validation_mask().probability, 0.15);
  EXPECT_EQ(train.optimizer, OptimizerKind::kStableAdamW);
  EXPECT_EQ(train.schedule_of_run().decay_start(), 32000);
  EXPECT_EQ(train.update_sizes().at(0), 128);
  EXPECT_EQ(train.update_sizes().at(6000), 512);
}

}  // namespace
}  // namespace rse
