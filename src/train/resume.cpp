#include "train/resume.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/new_folder.h"
#include "run/checkpoint.h"
#include "run/config_change.h"
#include "train/metrics.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

// The step to go on from; none where no checkpoint is complete and none was named.
std::optional<int64_t> choose_step(const ResumeSource& source, bool branches) {
  const std::vector<int64_t> steps = complete_checkpoints(source.run_folder);
  if (!source.step) {
    if (!steps.empty()) return steps.back();
    if (branches) {
      throw_user_error("--resume: {} has no complete checkpoint: expected one to branch off from",
                       source.run_folder.string());
    }
    return std::nullopt;
  }
  const fs::path folder = checkpoint_folder(source.run_folder, *source.step);
  if (!std::binary_search(steps.begin(), steps.end(), *source.step)) {
    throw_user_error("--resume: {}: not a complete checkpoint (no COMPLETE in it)", folder.string());
  }
  if (!branches && *source.step != steps.back()) {
    throw_user_error(
        "--resume: {} is not the newest checkpoint of its run (that is step-{}): pass a new folder with "
        "--output to branch off from it, or the run folder {} to go on from the newest",
        folder.string(), steps.back(), source.run_folder.string());
  }
  return source.step;
}

// The step of the last whole line of metrics.jsonl; 0 where there is none.
int64_t last_logged_step(const fs::path& run_folder) {
  const fs::path path = run_folder / "metrics.jsonl";
  if (!fs::exists(path)) return 0;
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  const size_t end = text.rfind('\n');
  if (end == std::string_view::npos) return 0;
  const size_t before = end == 0 ? std::string_view::npos : text.rfind('\n', end - 1);
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;
  const auto line =
      nlohmann::json::parse(text.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
  if (!line.is_object() || !line.value("step", nlohmann::json()).is_number_integer()) return 0;
  return line["step"].get<int64_t>();
}

// Throws where a checkpoint was saved and is gone or damaged: to start over would then lose what was trained.
void require_never_saved(const fs::path& run_folder, const RunConfig& config) {
  if (const std::vector<int64_t> damaged = incomplete_checkpoints(run_folder); !damaged.empty()) {
    throw_user_error(
        "--resume: {}: no COMPLETE in it, and no other checkpoint is left: expected a complete one in "
        "checkpoints/, or a new folder with --output to train anew",
        checkpoint_folder(run_folder, damaged.back()).string());
  }
  const int64_t every = config.base.checkpoint.every, logged = last_logged_step(run_folder);
  if (!fs::exists(run_folder / "summary.json") && (every == 0 || logged <= every)) return;
  throw_user_error(
      "--resume: {}: its metrics reach step {}, but no complete checkpoint is left: expected one in "
      "checkpoints/, or a new folder with --output to train anew",
      run_folder.string(), logged);
}

// A warning for each step-N after `step` that cannot be gone on from.
std::vector<std::string> skipped_checkpoints(const fs::path& run_folder, int64_t step) {
  std::vector<std::string> warnings;
  for (const int64_t damaged : incomplete_checkpoints(run_folder)) {
    if (damaged < step) continue;
    warnings.push_back(
        fmt::format("{}: kept but not used: there is no COMPLETE in it (was it cut short in copying?), so "
                    "the run goes on "
                    "from step {}",
                    checkpoint_folder(run_folder, damaged).string(), step));
  }
  return warnings;
}

// A warning where a wsd schedule's decay is to have begun before `step`, from which the run goes on at another rate:
// then the rate jumps. "": none.
std::string jump_of_rate(const Schedule& before, const Schedule& after, int64_t step) {
  if (after.shape != ScheduleShape::kWsd || step <= after.decay_start() || step >= after.steps) return "";
  const double old_factor = before.factor(step), new_factor = after.factor(step);
  if (old_factor == new_factor) return "";
  return fmt::format(
      "train.decay_steps: '{}': the decay begins in step {}, and the checkpoint is at step {}: the learning "
      "rate jumps from {:.3g} to {:.3g} of its peak (train.steps={} would let it begin at the checkpoint)",
      after.decay_steps, after.decay_start(), step, old_factor, new_factor, step + after.decay_steps);
}

}  // namespace

fs::path without_end_slash(const fs::path& path) {
  return path.has_filename() || !path.has_relative_path() ? path : path.parent_path();
}

fs::path ResumeSource::config() const {
  return (step ? checkpoint_folder(run_folder, *step) : run_folder) / "config.yaml";
}

ResumeSource find_run(const fs::path& path) {
  if (!fs::is_directory(path)) {
    throw_user_error("--resume: {} is no folder: expected a run folder or RUN/checkpoints/step-N",
                     path.string());
  }
  ResumeSource source{without_end_slash(path), std::nullopt};
  const fs::path real = fs::canonical(path);  // path may be a link, or "." inside a checkpoint
  if (const auto step = checkpoint_step(real); step && real.parent_path().filename() == "checkpoints") {
    source = {real.parent_path().parent_path(), step};
  }
  require_run(source.run_folder);
  return source;
}

ResumePlan plan_resume(const ResumeSource& source, bool branches, const RunConfig& config,
                       const TokenFile& train_file, const TokenFile& valid_file) {
  ResumePlan plan;
  plan.run_folder = source.run_folder;
  fs::path trained_with = source.run_folder / "config.yaml";
  if (const std::optional<int64_t> step = choose_step(source, branches)) {
    plan.checkpoint = checkpoint_folder(source.run_folder, *step);
    verify_checkpoint(*plan.checkpoint);
    plan.state = read_trainer_state(*plan.checkpoint);
    check_same_data("data.train", train_file, plan.state.train);
    check_same_data("data.valid", valid_file, plan.state.valid);
    check_kept_metrics(source.run_folder, plan.state.metrics_bytes);
    trained_with = *plan.checkpoint / "config.yaml";
  }
  RunConfig before = make_run_config(read_config_tree(trained_with), trained_with);
  if (!plan.checkpoint) require_never_saved(source.run_folder, before);
  resolve_vocabulary(before, train_file, valid_file);
  if (!source.step) plan.notes = skipped_checkpoints(source.run_folder, plan.state.step);
  for (std::string& change : check_config_changes(before, config)) plan.notes.push_back(std::move(change));
  const std::string jump =
      jump_of_rate(before.base.train.schedule_of_run(), config.base.train.schedule_of_run(), plan.state.step);
  if (!jump.empty()) plan.notes.push_back(jump);
  const int64_t steps = config.base.train.steps;
  if (steps < plan.state.step) {
    throw_user_error("{}: train.steps: '{}': the checkpoint {} is at step {} already: expected at least that",
                     config.source.string(), steps, plan.checkpoint->string(), plan.state.step);
  }
  plan.finished = !branches && plan.state.step == steps && fs::exists(source.run_folder / "summary.json");
  return plan;
}

void take_over(const ResumePlan& plan, const RunConfig& config) {
  remove_leftovers(plan.run_folder);
  remove_tree(plan.run_folder / "summary.json");  // the run will write another one
  write_file_atomically(plan.run_folder / "config.yaml", config.dump());
}

void branch_off(const ResumePlan& plan, const RunConfig& config, NewRunFolder& folder) {
  folder.begin(config.dump(), [&](const fs::path& staging) {
    const fs::path copy = checkpoint_folder(staging, plan.state.step);
    NewFolder(copy).keep();
    for (const auto& entry : fs::directory_iterator(*plan.checkpoint)) {
      copy_file_atomically(entry.path(), copy / entry.path().filename());
    }
    verify_checkpoint(copy);  // the other run may have removed the source meanwhile
    copy_file_atomically(plan.run_folder / "metrics.jsonl", staging / "metrics.jsonl",
                         static_cast<size_t>(plan.state.metrics_bytes));
  });
}

}  // namespace rse
