// rse-train as a function: from flags to an exit code.
#pragma once

#include <string>
#include <vector>

namespace rse {

struct TrainCommand {
  std::string config;                    // file, or the bare name of a shipped one
  std::vector<std::string> assignments;  // "a.b=c", applied to the base before arms are merged
  std::string output;                    // run folder; empty: the configuration's
  std::string device;                    // auto, cpu, cuda; empty: the configuration's
  bool dump_config = false;
  bool dry_run = false;
};

// Dumps, tries or trains. A run folder holds config.yaml, log.txt, metrics.jsonl, tensorboard/, checkpoints/
// and summary.json; one that holds a run already is a UserError. Returns kExitOk, or kExitFailure where
// training ended in non-finite updates (the reason is logged).
int run_train_command(const TrainCommand& command);

}  // namespace rse
