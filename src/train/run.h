// rse-train as a function, from its flags to an exit code.
#pragma once

#include <string>
#include <vector>

namespace rse {

struct TrainCommand {
  std::string config;  // file, or the bare name of a shipped one; empty: the one of resume_from
  std::vector<std::string> assignments;  // "a.b=c", applied to the base before arms are merged
  std::string output;                    // run folder; empty: the configuration's
  bool resume = false;                   // whether to go on with a run
  // Run folder or RUN/checkpoints/step-N; empty: the run folder; "auto": the run folder where it holds a run,
  // else a new run starts.
  std::string resume_from;
  std::string device;  // auto, cpu, cuda; empty: the configuration's
  bool dump_config = false;
  bool dry_run = false;

  bool resumes_if_any() const { return resume && resume_from == "auto"; }
};

// Dumps the configuration, tries it, trains a new run, or goes on with one (train/resume.h). A new run never
// goes into a folder that holds a run (run/run_folder.h). SIGINT and SIGTERM end the step, save a checkpoint
// and return kExitInterrupted (core/stop_signal.h). Returns kExitOk, also where the run to go on with is
// finished already, or kExitFailure where training ended in updates that were not finite; the reason is
// logged.
int run_train_command(const TrainCommand& command);

}  // namespace rse
