// Decides from which checkpoint and in which folder a run goes on, and whether it may.
//
// The newest complete checkpoint of a run goes on in the same folder; a step-N without COMPLETE is skipped, and
// said. An older one, or any one where a new folder is named, branches off: the new folder gets copies of the
// checkpoint and of metrics.jsonl up to there, and holds a run once they are complete. A run that was ended
// before its first checkpoint starts over in its folder; one whose checkpoints are gone or damaged does not.
// Order of calls: find_run() -> load_run_config() and resolve_vocabulary(), RunLock where the folder stays ->
// plan_resume() -> Trainer::restore() -> take_over() or branch_off() -> Trainer::run().
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/token_file.h"
#include "run/run_config.h"
#include "run/run_folder.h"
#include "run/trainer_state.h"

namespace rse {

// The run that --resume names.
struct ResumeSource {
  std::filesystem::path run_folder;
  std::optional<int64_t> step;  // of the checkpoint; none: that of the newest

  // The configuration that it was trained with last.
  std::filesystem::path config() const;
};

// "a/b" for "a/b/".
std::filesystem::path without_end_slash(const std::filesystem::path& path);

// path: a run folder, RUN/checkpoints/step-N, or a link to one of them. UserError for anything else.
ResumeSource find_run(const std::filesystem::path& path);

struct ResumePlan {
  std::filesystem::path run_folder;                 // the source's
  std::optional<std::filesystem::path> checkpoint;  // none: the run starts over from step 0
  TrainerState state;                               // the checkpoint's
  bool finished = false;                            // nothing is left to do
  std::vector<std::string> notes;                   // warnings, for the log
};

// Chooses and verifies the checkpoint. resolve_vocabulary() has been applied to `config`. UserError where the
// run may not go on: the checkpoint is damaged, or is an older one that does not branch off; the token files
// are others; metrics.jsonl is cut short; the configuration changes what is trained (run/config_change.h).
// Writes nothing.
ResumePlan plan_resume(const ResumeSource& source, bool branches, const RunConfig& config,
                       const TokenFile& train_file, const TokenFile& valid_file);

// Makes the run's own folder ready to go on: it removes leftovers and the summary, and writes the new
// configuration. The caller holds the folder's lock.
void take_over(const ResumePlan& plan, const RunConfig& config);

// Begins the run in `folder` with what it needs to go on.
void branch_off(const ResumePlan& plan, const RunConfig& config, NewRunFolder& folder);

}  // namespace rse
