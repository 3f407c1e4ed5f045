// A run that goes on: from which checkpoint, in which folder, and whether it may.
//
// A checkpoint that is the newest of its run goes on in the same folder. An older one, or any with a new
// folder named, branches off: the new folder gets copies of the checkpoint and of metrics.jsonl up to there,
// and appears complete or not at all. A run that was ended before its first checkpoint starts over in its
// folder; one whose checkpoints are gone does not. Order of calls: find_run() -> the configuration is loaded
// and resolved, the lock taken where the folder stays -> plan_resume() -> Trainer::restore() -> take_over()
// or branch_off() -> Trainer::run().
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/token_file.h"
#include "run/run_config.h"
#include "run/trainer_state.h"

namespace rse {

// What --resume names.
struct ResumeSource {
  std::filesystem::path run_folder;
  std::optional<int64_t> step;  // of the checkpoint; none: the newest

  // The configuration it was trained with last.
  std::filesystem::path config() const;
};

// "a/b" for "a/b/".
std::filesystem::path without_end_slash(const std::filesystem::path& path);

// path: a run folder, or RUN/checkpoints/step-N, or a link to one. UserError where it is neither.
ResumeSource find_run(const std::filesystem::path& path);

struct ResumePlan {
  std::filesystem::path run_folder;                 // of the source
  std::optional<std::filesystem::path> checkpoint;  // none: the run starts over from step 0
  TrainerState state;                               // of the checkpoint
  bool finished = false;                            // nothing is left to do
  std::vector<std::string> notes;                   // warnings, for the log
};

// Chooses and verifies the checkpoint. UserError where there is none that may go on: a damaged one; an older
// one that does not branch; other token files; metrics.jsonl cut short; a configuration that changes what is
// trained (run/config_change.h). Writes nothing. config: with resolve_vocabulary() applied.
ResumePlan plan_resume(const ResumeSource& source, bool branches, const RunConfig& config,
                       const TokenFile& train_file, const TokenFile& valid_file);

// Makes the run's own folder ready to go on: no leftovers, no summary, the new configuration. Under its lock.
void take_over(const ResumePlan& plan, const RunConfig& config);

// Makes the new run folder config.base.output.
void branch_off(const ResumePlan& plan, const RunConfig& config);

}  // namespace rse
