// A toy run that dies and continues.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"
#include "tests/train/same_run.h"
#include "tests/train/toy_run.h"
#include "train/resume.h"

namespace rse {

// Configures 12 steps of two arms, with a checkpoint every 3 steps and 20 steps per epoch.
class ResumedRun : public testing::Test {
 protected:
  struct Crash {};

  explicit ResumedRun(torch::Device device = torch::kCPU) : device_(device) {}

  RunConfig config_of(const std::vector<std::string>& settings) const {
    std::vector<std::string> all = {"train.steps=12", "checkpoint.every=3", "logging.every=4"};
    all.insert(all.end(), settings.begin(), settings.end());
    return toy_.config(kTwoArms, all);
  }

  // Sets trainer_, which the functions below use.
  Trainer* make_trainer(const RunConfig& config) {
    trainer_ = nullptr;  // the previous trainer closes its files
    trainer_ = std::make_unique<Trainer>(config, toy_.train_file(), toy_.valid_file(), device_);
    return trainer_.get();
  }

  // The function returned is true once trainer_ has read the updates up to `step`.
  std::function<bool()> when(int64_t step) {
    return [this, step] { return trainer_->replicas().back()->counters.step >= step; };
  }

  // Makes a new run folder.
  std::filesystem::path begin(const RunConfig& config, const std::string& name) {
    const std::filesystem::path run = toy_.path(name);
    std::filesystem::create_directories(run);
    write_file_atomically(run / "config.yaml", config.dump());
    return run;
  }

  void train(const RunConfig& config, const std::string& name) {
    const std::filesystem::path run = begin(config, name);
    make_trainer(config)->run(run);
  }

  // Makes a run that ended after `step` steps without saving them.
  std::filesystem::path crashed_run(const RunConfig& config, int64_t step, const std::string& name) {
    const std::filesystem::path run = begin(config, name);
    const auto stop = [&]() -> bool { return when(step)() ? throw Crash() : false; };
    EXPECT_THROW(make_trainer(config)->run(run, stop), Crash);
    trainer_ = nullptr;
    return run;
  }

  ResumePlan plan(const RunConfig& config, const std::filesystem::path& run) const {
    return plan_resume(find_run(run), false, config, toy_.train_file(), toy_.valid_file());
  }

  // Continues the run to its end.
  void resume(const RunConfig& config, const std::filesystem::path& run) {
    const ResumePlan plan = this->plan(config, run);
    make_trainer(config);
    if (plan.checkpoint) trainer_->restore(*plan.checkpoint, plan.state);
    take_over(plan, config);
    trainer_->run(run);
  }

  void expect_equal_after_crash(const std::vector<std::string>& settings, int64_t step) {
    const RunConfig config = config_of(settings);
    train(config, "straight");
    const std::filesystem::path run = crashed_run(config, step, "crashed");
    EXPECT_FALSE(std::filesystem::exists(run / "summary.json"));
    resume(config, run);
    expect_same_run(toy_.path("straight"), run);
  }

  ToyRun toy_;
  torch::Device device_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace rse
