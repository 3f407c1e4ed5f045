// rse-train as a function: from flags to an exit code.
#pragma once

#include <string>
#include <vector>

namespace rse {

struct TrainCommand {
  std::string config;  // file, or the bare name of a shipped one; empty: that of resume_from
  std::vector<std::string> assignments;  // "a.b=c", applied to the base before arms are merged
  std::string output;                    // run folder; empty: the configuration's
  bool resume = false;                   // go on with a run
  std::string resume_from;               // run folder or RUN/checkpoints/step-N; empty: the run folder
  std::string device;                    // auto, cpu, cuda; empty: the configuration's
  bool dump_config = false;
  bool dry_run = false;
};

// Dumps, tries, trains, or goes on with a run (train/resume.h): in its own folder, or with `output` another
// one in that. What a run folder holds: run/run_folder.h; a new run never goes into one that holds a run.
// SIGINT and SIGTERM end the step, save a checkpoint and return kExitInterrupted (core/stop_signal.h).
// Returns kExitOk, also where a run to go on with is finished already, or kExitFailure where training ended
// in non-finite updates (the reason is logged).
int run_train_command(const TrainCommand& command);

}  // namespace rse
