// Tests rse-train as a function: dry run, run folders, exit codes.
#include "train/run.h"

#include <fstream>

#include "core/file.h"
#include "core/logging.h"
#include "tests/support.h"
#include "tests/train/toy_run.h"
#include "train/dry_run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

// Returns a command for the toy configuration, which is written to a file. The run folder is "run" beside it.
TrainCommand toy_command(const ToyRun& toy, const std::string& arms) {
  std::ofstream(toy.path("toy.yaml")) << toy.yaml() << arms;
  TrainCommand command;
  command.config = toy.path("toy.yaml").string();
  command.output = toy.path("run").string();
  return command;
}

size_t files_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::recursive_directory_iterator(folder), {}));
}

class Run : public testing::Test {
 protected:
  void SetUp() override { init_logging("info"); }  // closes the log file of the previous test
};

TEST_F(Run, TrainsIntoANewFolderAndNeverIntoItAgain) {
  const ToyRun toy;
  const TrainCommand command = toy_command(toy, kTwoArms);
  EXPECT_EQ(run_train_command(command), kExitOk);
  for (const char* name :
       {"config.yaml", "log.txt", "metrics.jsonl", "summary.json", "checkpoints/step-4/COMPLETE"}) {
    EXPECT_TRUE(fs::exists(toy.path("run") / name)) << name;
  }
  const std::string log = read_file(toy.path("run") / "log.txt");
  for (const char* part :
       {"toy.yaml, digest", "unigram entropy", "arm rse: differs in model.position.method=rse",
        "FLOP per token = 3 x (2 layers", "step 4/4 rope seed 1: loss", "ETA", "valid NLL"}) {
    EXPECT_THAT(log, testing::HasSubstr(part));
  }
  const size_t before = files_in(toy.path("run"));
  EXPECT_THAT([&] { run_train_command(command); }, ThrowsUserError("already holds a run (config.yaml)"));
  EXPECT_EQ(files_in(toy.path("run")), before);
}

TEST_F(Run, DryRunShowsCostsAndWritesNothing) {
  const ToyRun toy;
  TrainCommand command = toy_command(toy, kTwoArms);
  command.dry_run = true;
  const size_t before = files_in(toy.path(""));
  EXPECT_EQ(run_train_command(command), kExitOk);
  EXPECT_EQ(files_in(toy.path("")), before);
  const std::string text = dry_run(toy.config(kTwoArms), toy.train_file(), toy.valid_file(), torch::kCPU);
  for (const char* part : {"arm rope", "arm rse", "decay            4 in 1 tensors", "weight decay 0",
                           "FLOP per token", "one micro-batch    loss", "128 tokens", "checkpoints"}) {
    EXPECT_THAT(text, testing::HasSubstr(part));
  }
}

TEST_F(Run, NonFiniteUpdatesEndInTheFailureCode) {
  const ToyRun toy;
  TrainCommand command = toy_command(toy, kTwoArms);
  command.assignments = {"train.learning_rate=1e6", "train.clip_norm=0", "train.weight_decay=1000",
                         "train.steps=60", "train.warmup_steps=0"};
  EXPECT_EQ(run_train_command(command), kExitFailure);
  EXPECT_THAT(read_file(toy.path("run") / "log.txt"), testing::HasSubstr("5 updates in a row"));
  EXPECT_FALSE(fs::exists(toy.path("run") / "summary.json"));
}

TEST_F(Run, BadSettingsEndBeforeAnythingIsWritten) {
  const ToyRun toy;
  TrainCommand command = toy_command(toy, kTwoArms);
  const auto fails_with = [&](const std::string& assignment, const std::string& message) {
    TrainCommand bad = command;
    bad.assignments = {assignment};
    EXPECT_THAT([&] { run_train_command(bad); }, ThrowsUserError(message)) << assignment;
  };
  fails_with("train.stepz=1", "--set train.stepz=1: unknown key");
  fails_with("data.train=none.bin", "data.train: 'none.bin' does not exist");
  fails_with("model.heads=3", "model.heads");
  fails_with("data.min_tokens=64", "min_tokens");
  fails_with("validation.piece_tokens=48", "validation.piece_tokens");
  if (!torch::cuda::is_available()) fails_with("train.device=cuda", "train.device: 'cuda': no CUDA device");
  EXPECT_FALSE(fs::exists(toy.path("run")));
}

}  // namespace
}  // namespace rse
