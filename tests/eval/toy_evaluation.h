// A tiny trained run with three arms and two seeds, and held-out text that is long enough for several
// lengths.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "core/file.h"
#include "eval/plan.h"
#include "tests/train/toy_run.h"

namespace rse {

inline constexpr int64_t kToyDocuments = 5;  // documents in the held-out text, 300 tokens each

class ToyEvaluation {
 public:
  // The run is trained to step 4 (seq_len 32) and has a checkpoint at step 2, too. run() is its folder.
  ToyEvaluation() {
    const RunConfig config = toy.config(
        "arms:\n"
        "  learned: {model: {position: {method: learned}}}\n"
        "  rope: {model: {position: {method: rope}}}\n"
        "  rse: {model: {position: {method: rse}}}\n",
        {"train.seeds=[3, 1]", "checkpoint.every=2", "logging.tensorboard=false"});
    toy.train(config, "run");
    write_file_atomically(run() / "config.yaml", config.dump());
    write_toy_corpus(data(), 13, static_cast<int>(kToyDocuments), 300);
  }

  std::filesystem::path run() const { return toy.path("run"); }
  std::filesystem::path data() const { return toy.path("test.bin"); }
  std::filesystem::path checkpoint() const { return run() / "checkpoints" / "step-4"; }

  // Returns a command for the lengths 32 to 128 that draws no report.
  EvalCommand command() const {
    EvalCommand command;
    command.run = run().string();
    command.data = data().string();
    command.lengths = "32,64,128";
    command.beyond = "tile";
    command.device = "cpu";
    command.report = false;
    return command;
  }

  // Lists everything under the toy folder, hidden files included.
  std::set<std::string> files() const {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(toy.path(""))) {
      all.insert(entry.path().string());
    }
    return all;
  }

  ToyRun toy;
};

}  // namespace rse
