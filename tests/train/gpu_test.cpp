// Tests the training loop on CUDA: results are read late, updates are cancelled on the device, and times and
// memory are measured there.
#include <limits>

#include "tests/support.h"
#include "tests/train/resumed_run.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

class GpuTrainer : public testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
  }
  std::filesystem::path run_folder() const {
    std::filesystem::create_directories(toy_.path("run"));
    return toy_.path("run");
  }
  ToyRun toy_;
  torch::Device device_ = resolve_device(DeviceChoice::kAuto, "train.device");
};

TEST_F(GpuTrainer, TrainsAsOnTheCpuAndMeasuresMemory) {
  const RunConfig config = toy_.config(kTwoArms);
  toy_.train(config, "cpu");
  Trainer trainer(config, toy_.train_file(), toy_.valid_file(), device_);
  const auto summaries = trainer.run(run_folder());
  for (size_t i = 0; i < summaries.size(); ++i) {
    EXPECT_NEAR(summaries[i].validation_nll, toy_.summaries[i].validation_nll, 1e-3);
    EXPECT_GT(summaries[i].memory_bytes, 0);
    EXPECT_GT(summaries[i].step_ms, 0.0);
  }
  EXPECT_EQ(metric_lines(run_folder(), "update").size(), 8u);
}

TEST_F(GpuTrainer, TrainsByTheModernRecipeAsOnTheCpu) {
  const RunConfig config =
      toy_.config(kTwoArms, {"train.optimizer=stable_adamw", "train.clip_norm=0", "model.biases=false",
                             "model.activation=geglu", "train.schedule=wsd", "train.decay_steps=2",
                             "train.batch_ramp.start=2", "train.batch_ramp.steps=2"});
  toy_.train(config, "cpu");
  Trainer trainer(config, toy_.train_file(), toy_.valid_file(), device_);
  const auto summaries = trainer.run(run_folder());
  for (size_t i = 0; i < summaries.size(); ++i) {
    EXPECT_NEAR(summaries[i].validation_nll, toy_.summaries[i].validation_nll, 1e-3);
    EXPECT_EQ(summaries[i].tokens, toy_.summaries[i].tokens);
  }
}

TEST_F(GpuTrainer, CountsSkippedUpdatesExactlyAndEndsTheRun) {
  const RunConfig config = toy_.config(kTwoArms, {"train.steps=20", "train.precision=bf16"});
  Trainer trainer(config, toy_.train_file(), toy_.valid_file(), device_);
  Replica& poisoned = *trainer.replicas()[1];
  {
    const torch::NoGradGuard no_grad;
    poisoned.encoder()->named_parameters()["head_bias"].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  EXPECT_THAT([&] { trainer.run(run_folder()); },
              testing::ThrowsMessage<TrainingFailed>(testing::HasSubstr("up to step 5")));
  EXPECT_EQ(poisoned.counters.skipped, kMaxSkippedInARow);
  EXPECT_EQ(trainer.replicas()[0]->counters.skipped, 0);
}

TEST_F(GpuTrainer, DeterministicRunsAreBitEqual) {
  const RunConfig config = toy_.config(kTwoArms, {"train.deterministic=true", "train.precision=bf16"});
  configure_torch(config.base.train);
  Trainer first(config, toy_.train_file(), toy_.valid_file(), device_);
  Trainer second(config, toy_.train_file(), toy_.valid_file(), device_);
  std::filesystem::create_directories(toy_.path("second"));
  first.run(run_folder());
  second.run(toy_.path("second"));
  at::globalContext().setDeterministicAlgorithms(false, false);
  for (size_t i = 0; i < first.replicas().size(); ++i) {
    EXPECT_TRUE(bit_equal(first.replicas()[i]->weights(), second.replicas()[i]->weights()));
  }
}

class GpuResumedRun : public ResumedRun {
 protected:
  GpuResumedRun() : ResumedRun(resolve_device(DeviceChoice::kAuto, "train.device")) {}
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "there is no CUDA device";
    configure_torch(config_of({"train.deterministic=true"}).base.train);
  }
  void TearDown() override { at::globalContext().setDeterministicAlgorithms(false, false); }
};

TEST_F(GpuResumedRun, DeterministicRunsAreBitEqualAfterACrash) {
  expect_equal_after_crash(
      {"train.deterministic=true", "train.precision=bf16", "model.dropout=0.1", "validation.every=4"}, 8);
}

}  // namespace
}  // namespace rse
