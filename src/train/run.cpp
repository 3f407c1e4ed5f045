#include "train/run.h"

#include <spdlog/spdlog.h>

#include <filesystem>

#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "core/new_folder.h"
#include "train/device.h"
#include "train/dry_run.h"
#include "train/preflight.h"
#include "train/run_config.h"
#include "train/trainer.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

// A run folder that holds a run is never written to.
void refuse_existing_run(const fs::path& folder) {
  for (const char* name : {"config.yaml", "metrics.jsonl", "checkpoints", "summary.json"}) {
    if (fs::exists(folder / name)) {
      throw_user_error(
          "run folder {} already holds a run ({}): expected a new folder; pass another one with --output",
          folder.string(), name);
    }
  }
}

int train(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
          const torch::Device& device) {
  const fs::path folder = config.base.output;
  refuse_existing_run(folder);
  Trainer trainer(config, train_file, valid_file, device);  // settings that fail here leave no folder behind
  NewFolder made(folder);
  write_file_atomically(folder / "config.yaml", config.dump());
  made.keep();
  add_log_file(folder / "log.txt");
  try {
    trainer.run(folder);
  } catch (const TrainingFailed& failure) {
    spdlog::error("{}", failure.what());
    return kExitFailure;
  }
  spdlog::info("run folder: {}", folder.string());
  return kExitOk;
}

// Settings that are legal, and seldom meant.
void warn_of_traps(const RunSettings& settings) {
  const TrainConfig& train = settings.train;
  if (train.warmup_steps >= train.steps) {
    spdlog::warn("train.warmup_steps: '{}' and train.steps: '{}': the run ends inside its warm-up",
                 train.warmup_steps, train.steps);
  }
  std::error_code ignored;
  if (fs::equivalent(settings.data.train, settings.data.valid, ignored)) {
    spdlog::warn("data.valid: '{}' is the same file as data.train: its NLL is not one of held-out text",
                 settings.data.valid);
  }
}

}  // namespace

int run_train_command(const TrainCommand& command) {
  std::vector<std::string> assignments = command.assignments;
  if (!command.device.empty()) assignments.push_back("train.device=" + command.device);
  RunConfig config = load_run_config(command.config, assignments);
  if (!command.output.empty()) config.base.output = command.output;
  if (command.dump_config) {
    fmt::print("{}", config.dump());
    return kExitOk;
  }
  spdlog::info("configuration read from {}", config.source.string());
  configure_torch(config.base.train);
  const torch::Device device = resolve_device(config.base.train.device);
  const TokenFile train_file = open_token_file(config.base.data.train, "data.train");
  const TokenFile valid_file = open_token_file(config.base.data.valid, "data.valid");
  resolve_vocabulary(config, train_file, valid_file);
  warn_of_traps(config.base);
  check_before_start(config, valid_file, device);
  if (!command.dry_run) return train(config, train_file, valid_file, device);
  fmt::print("{}", dry_run(config, train_file, valid_file, device));
  return kExitOk;
}

}  // namespace rse
