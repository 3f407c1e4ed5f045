#include "train/resume.h"

#include <unistd.h>

#include <algorithm>

#include "core/check.h"
#include "core/file.h"
#include "core/new_folder.h"
#include "train/checkpoint.h"
#include "train/config_change.h"
#include "train/run_folder.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

// The step to go on from; none where no checkpoint is complete and none was asked for.
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

}  // namespace

fs::path ResumeSource::config() const {
  return (step ? checkpoint_folder(run_folder, *step) : run_folder) / "config.yaml";
}

ResumeSource find_run(const fs::path& path) {
  fs::path folder = path.lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // written with a slash at its end
  if (!fs::is_directory(folder)) {
    throw_user_error("--resume: {} is no folder: expected a run folder or RUN/checkpoints/step-N",
                     path.string());
  }
  ResumeSource source{folder, std::nullopt};
  const fs::path above = fs::absolute(folder).parent_path();
  if (const auto step = checkpoint_step(folder); step && above.filename() == "checkpoints") {
    source = {folder.has_parent_path() && folder.parent_path().has_parent_path()
                  ? folder.parent_path().parent_path()
                  : above.parent_path(),
              step};
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
    trained_with = *plan.checkpoint / "config.yaml";
  }
  RunConfig before = make_run_config(read_config_tree(trained_with), trained_with);
  resolve_vocabulary(before, train_file, valid_file);
  plan.notes = check_config_changes(before, config);
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
  remove_tree(plan.run_folder / "summary.json");  // it will be another one
  write_file_atomically(plan.run_folder / "config.yaml", config.dump());
}

void branch_off(const ResumePlan& plan, const RunConfig& config) {
  const fs::path target = config.base.output;
  const fs::path temporary = target.string() + fmt::format(".tmp.{}", ::getpid());
  const fs::path copy = checkpoint_folder(temporary, plan.state.step);
  try {
    NewFolder(copy).keep();
    for (const auto& entry : fs::directory_iterator(*plan.checkpoint)) {
      copy_file_atomically(entry.path(), copy / entry.path().filename());
    }
    verify_checkpoint(copy);  // the other run may have removed it meanwhile
    copy_file_atomically(plan.run_folder / "metrics.jsonl", temporary / "metrics.jsonl",
                         static_cast<size_t>(plan.state.metrics_bytes));
    write_file_atomically(temporary / "config.yaml", config.dump());
    std::error_code error;
    fs::rename(temporary, target, error);  // over an empty folder too
    if (error) {
      throw_user_error("cannot rename {} to {}: {}", temporary.string(), target.string(), error.message());
    }
  } catch (...) {
    remove_tree(temporary);
    throw;
  }
  sync_directory(fs::absolute(target).parent_path());
}

}  // namespace rse
