#include "train/run.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "core/printable.h"
#include "core/stop_signal.h"
#include "run/device.h"
#include "run/retention.h"
#include "run/run_config.h"
#include "run/run_folder.h"
#include "train/dry_run.h"
#include "train/preflight.h"
#include "train/resume.h"
#include "train/trainer.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

// Trains in the folder, whose lock is held, until the end or a signal.
int train_in(const fs::path& folder, Trainer& trainer, const RunLock& lock, const StopSignal& stop) {
  try {
    trainer.run(folder, [&] {
      lock.require_held();
      return stop.received() != 0;
    });
  } catch (const TrainingFailed& failure) {
    spdlog::error("{}", failure.what());
    return kExitFailure;
  } catch (const Interrupted& interruption) {
    spdlog::warn("{}: stopped {}", stop.name(), interruption.what());
    return kExitInterrupted;
  }
  spdlog::info("run folder: {}", folder.string());
  return kExitOk;
}

void check_disk(const RunConfig& config, const Trainer& trainer) {
  check_free_space(config.base.output, checkpoint_disk(config.base, trainer.parameters()));
}

// Called before anything is written.
void stop_early(const StopSignal& stop) {
  if (stop.received() != 0) throw Interrupted(fmt::format("{} before the first step", stop.name()));
}

int start_run(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
              const torch::Device& device, const StopSignal& stop) {
  const fs::path folder = config.base.output;
  refuse_existing_run(folder);
  Trainer trainer(config, train_file, valid_file,
                  device);  // where settings fail here, no folder is left behind
  check_disk(config, trainer);
  stop_early(stop);
  NewRunFolder begun(folder);
  begun.begin(config.dump());
  add_log_file(folder / "log.txt");
  return train_in(folder, trainer, begun.lock(), stop);
}

// Whether the run goes on in another folder than the source's.
bool branches_off(const ResumeSource& source, const RunConfig& config) {
  std::error_code missing;
  return !fs::equivalent(config.base.output, source.run_folder, missing);
}

// Goes on with `source` in the folder config.base.output.
int resume_run(const ResumeSource& source, const RunConfig& config, const TokenFile& train_file,
               const TokenFile& valid_file, const torch::Device& device, const StopSignal& stop) {
  const fs::path folder = config.base.output;
  const bool branches = branches_off(source, config);
  std::optional<RunLock> own;           // of the run's folder
  std::optional<NewRunFolder> another;  // where it branches off
  if (branches) {
    refuse_existing_run(folder);
  } else {
    own.emplace(folder);
  }
  const ResumePlan plan = plan_resume(source, branches, config, train_file, valid_file);
  if (plan.finished) {
    spdlog::info(
        "run folder {}: the run is finished, at step {}: nothing to do (a larger train.steps goes on)",
        folder.string(), plan.state.step);
    return kExitOk;
  }
  Trainer trainer(config, train_file, valid_file, device);
  check_disk(config, trainer);
  if (plan.checkpoint) trainer.restore(*plan.checkpoint, plan.state);
  stop_early(stop);
  if (branches) {
    branch_off(plan, config, another.emplace(folder));
  } else {
    take_over(plan, config);
  }
  add_log_file(folder / "log.txt");
  if (plan.checkpoint) {
    spdlog::info("resumed at step {} from {}", plan.state.step, plan.checkpoint->string());
  } else {
    spdlog::warn("{} has no complete checkpoint: the run starts over from step 0", folder.string());
  }
  for (const std::string& note : plan.notes) spdlog::warn("{}", note);
  return train_in(folder, trainer, branches ? another->lock() : *own, stop);
}

// Prints what --resume would do. UserError where it would be refused.
void describe_resume(const ResumeSource& source, const RunConfig& config, const TokenFile& train_file,
                     const TokenFile& valid_file) {
  const bool branches = branches_off(source, config);
  if (branches) refuse_existing_run(config.base.output);
  const ResumePlan plan = plan_resume(source, branches, config, train_file, valid_file);
  for (const std::string& note : plan.notes) spdlog::warn("{}", note);
  if (plan.finished) {
    fmt::print("the run {} is finished, at step {}\n", printable(source.run_folder.string()),
               plan.state.step);
  } else if (plan.checkpoint) {
    fmt::print("would go on at step {} from {}\n", plan.state.step, printable(plan.checkpoint->string()));
  } else {
    fmt::print("would start over: no checkpoint of {} was saved yet\n",
               printable(source.run_folder.string()));
  }
}

// The run to go on with where --resume names none: that in the run folder; none where a new one starts.
std::optional<ResumeSource> choose_run(const TrainCommand& command, const RunConfig& config) {
  if (!command.resume) return std::nullopt;
  if (!command.resumes_if_any() || holds_run(config.base.output)) return find_run(config.base.output);
  spdlog::info("--resume auto: no run in {} yet: a new one starts", config.base.output);
  return std::nullopt;
}

// Warns of settings that are legal but seldom meant.
void warn_of_traps(const RunSettings& settings, const TokenFile& train_file, const TokenFile& valid_file) {
  const TrainConfig& train = settings.train;
  if (train.warmup_steps >= train.steps) {
    spdlog::warn("train.warmup_steps: '{}' and train.steps: '{}': the run ends inside its warm-up",
                 train.warmup_steps, train.steps);
  }
  if (train.schedule == ScheduleShape::kWsd &&
      train.schedule_of_run().decay_start() < std::min(train.warmup_steps, train.steps)) {
    spdlog::warn("train.decay_steps: '{}': the decay starts in step {} of {}, inside the warm-up of {}",
                 train.decay_steps, train.schedule_of_run().decay_start(), train.steps, train.warmup_steps);
  }
  if (train.batch_ramp.steps >= train.steps) {
    spdlog::warn("train.batch_ramp.steps: '{}' and train.steps: '{}': the run ends inside its batch ramp",
                 train.batch_ramp.steps, train.steps);
  }
  if (train_file.fingerprint() == valid_file.fingerprint()) {
    std::error_code ignored;
    const bool same = fs::equivalent(settings.data.train, settings.data.valid, ignored);
    spdlog::warn("data.valid: '{}' {} data.train: its NLL is not one of held-out text", settings.data.valid,
                 same ? "is the same file as" : "has the same content as");
  }
}

}  // namespace

int run_train_command(const TrainCommand& command) {
  const StopSignal stop;
  std::optional<ResumeSource> source;
  if (command.resumes_if_any()) {
    if (command.config.empty()) throw_user_error("--resume auto: --config is required to start a run");
  } else if (!command.resume_from.empty()) {
    source = find_run(command.resume_from);
  }
  std::vector<std::string> assignments = command.assignments;
  if (!command.device.empty()) assignments.push_back("train.device=" + command.device);
  RunConfig config = load_run_config(
      source && command.config.empty() ? source->config().string() : command.config, assignments);
  if (!command.output.empty()) {
    config.base.output = without_end_slash(command.output).string();
  } else if (source) {
    config.base.output = source->run_folder.string();
  }
  if (command.dump_config) {
    fmt::print("{}", config.dump());
    return kExitOk;
  }
  if (!source) source = choose_run(command, config);
  spdlog::info("configuration read from {}", config.source.string());
  configure_torch(config.base.train);
  const torch::Device device =
      resolve_device(config.base.train.device, command.device.empty() ? "train.device" : "--device");
  const TokenFile train_file = open_token_file(config.base.data.train, "data.train");
  const TokenFile valid_file = open_token_file(config.base.data.valid, "data.valid");
  resolve_vocabulary(config, train_file, valid_file);
  warn_of_traps(config.base, train_file, valid_file);
  check_before_start(config, valid_file, device);
  if (command.dry_run) {
    if (source) describe_resume(*source, config, train_file, valid_file);
    fmt::print("{}", dry_run(config, train_file, valid_file, device));
    return kExitOk;
  }
  if (source) return resume_run(*source, config, train_file, valid_file, device, stop);
  return start_run(config, train_file, valid_file, device, stop);
}

}  // namespace rse
