// Runs, kills and resumes rse-train as its users do.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/file.h"
#include "run/checkpoint.h"
#include "tests/program.h"
#include "tests/train/same_run.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

class ResumeProgram : public ProgramTest {
 protected:
  void SetUp() override {
    write_toy_corpus(folder_ / "train.bin", 11);
    write_toy_corpus(folder_ / "valid.bin", 12, 8);
    write("toy.yaml",
          std::string("model: {layers: 2, width: 32, heads: 2, ffn_width: 64, dropout: 0.1}\n"
                      "data: {train: train.bin, valid: valid.bin, seq_len: 32, min_tokens: 8}\n"
                      "train: {steps: 40, batch_size: 4, warmup_steps: 2, device: cpu, threads: 1}\n"
                      "validation: {every: 10, pieces: 4}\n"
                      "logging: {every: 1}\n"
                      "checkpoint: {every: 5, keep: 9}\n") +
              kTwoArms);
  }

  static std::string train(const std::string& arguments) {
    return fmt::format("'{}' --config toy.yaml {}", RSE_TRAIN_PROGRAM, arguments);
  }

  void expect_ok(const std::string& command) {
    const Outcome outcome = shell(command);
    EXPECT_EQ(outcome.exit_code, 0) << command << "\n" << outcome.err;
  }

  // Starts a new run in the folder `run` and returns once it has logged update `step`.
  pid_t start(const std::string& run, int64_t step) {
    const pid_t child = fork();
    if (child == 0) {
      if (chdir(folder_.path().c_str()) != 0 || freopen("child.txt", "w", stderr) == nullptr) _exit(126);
      execl(RSE_TRAIN_PROGRAM, "rse-train", "--config", "toy.yaml", "--output", run.c_str(),
            static_cast<char*>(nullptr));
      _exit(127);
    }
    const std::string line = fmt::format("\"update\",\"step\":{},", step);
    const fs::path metrics = folder_ / run / "metrics.jsonl";
    while (!fs::exists(metrics) || read_file(metrics).find(line) == std::string::npos) {
      if (waitpid(child, nullptr, WNOHANG) != 0) throw std::runtime_error("the run ended early");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return child;
  }

  static Outcome end_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), "", ""};
  }

  // Lists every file except run.lock, which names the last process that looked at the run.
  std::map<std::string, std::string> files() const {
    auto found = listing(folder_.path());
    std::erase_if(found, [](const auto& item) { return item.first.ends_with("/run.lock"); });
    return found;
  }

  // Expects an error in one line that holds `parts`, and no changed file.
  void refuses(const std::string& arguments, const std::vector<std::string>& parts) {
    const auto before = files();
    const Outcome outcome = shell(fmt::format("'{}' --log-level error {}", RSE_TRAIN_PROGRAM, arguments));
    EXPECT_EQ(outcome.exit_code, kExitUserError) << arguments;
    EXPECT_THAT(outcome.err, testing::StartsWith("rse-train: error: ")) << arguments;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& part : parts) EXPECT_THAT(outcome.err, testing::HasSubstr(part)) << arguments;
    EXPECT_TRUE(files() == before) << arguments << " changed a file";
  }
};

TEST_F(ResumeProgram, KilledAtStep17Of40EndsAsIfItHadNot) {
  expect_ok(train("--output straight"));
  const pid_t child = start("run", 17);
  kill(child, SIGKILL);
  EXPECT_EQ(end_of(child).exit_code, 128 + SIGKILL);
  ASSERT_FALSE(fs::exists(folder_ / "run/summary.json"));
  ASSERT_GE(complete_checkpoints(folder_ / "run").back(), 15);
  expect_ok(train("--output run --resume"));
  expect_same_run(folder_ / "straight", folder_ / "run");
  EXPECT_THAT(read_file(folder_ / "run/log.txt"), testing::HasSubstr("resumed at step"));
}

TEST_F(ResumeProgram, ATerminatedRunSavesItsStepAndSaysSoInItsExitCode) {
  const pid_t child = start("run", 7);
  kill(child, SIGTERM);
  EXPECT_EQ(end_of(child).exit_code, kExitInterrupted);
  EXPECT_THAT(read_file(folder_ / "child.txt"), testing::HasSubstr("SIGTERM: stopped as asked, after step"));
  const int64_t last = complete_checkpoints(folder_ / "run").back();
  verify_checkpoint(checkpoint_folder(folder_ / "run", last));
  EXPECT_EQ(metric_lines(folder_ / "run", "update").back()["step"], last);  // nothing is lost
  EXPECT_LT(last, 40);
  // The folder alone is enough to continue.
  expect_ok(fmt::format("'{}' --resume run/checkpoints/step-{}", RSE_TRAIN_PROGRAM, last));
  expect_ok(train("--output straight"));
  EXPECT_EQ(comparable(folder_ / "run/metrics.jsonl"), comparable(folder_ / "straight/metrics.jsonl"));
  EXPECT_EQ(comparable(folder_ / "run/summary.json"), comparable(folder_ / "straight/summary.json"));
}

TEST_F(ResumeProgram, TwoSignalsEndItAtOnceAndHarmNothing) {
  const pid_t child = start("run", 7);
  kill(child, SIGTERM);
  kill(child, SIGINT);  // a different signal, because two of the same kind may arrive as one
  const int code = end_of(child).exit_code;
  EXPECT_TRUE(code == 128 + SIGTERM || code == 128 + SIGINT) << code;
  expect_ok(train("--output run --resume"));
  expect_ok(train("--output straight"));
  EXPECT_EQ(comparable(folder_ / "run/metrics.jsonl"), comparable(folder_ / "straight/metrics.jsonl"));
  EXPECT_EQ(comparable(folder_ / "run/summary.json"), comparable(folder_ / "straight/summary.json"));
}

TEST_F(ResumeProgram, ASecondProcessOnTheFolderIsRefused) {
  const pid_t child = start("run", 1);
  kill(child, SIGSTOP);
  const Outcome second = shell(train("--log-level error --output run --resume"));
  EXPECT_EQ(second.exit_code, kExitUserError);
  EXPECT_THAT(second.err, testing::HasSubstr(fmt::format("in use by process {}", child)));
  kill(child, SIGKILL);
  end_of(child);
  expect_ok(train("--output run --resume --set train.steps=3 --set checkpoint.every=0"));
}

TEST_F(ResumeProgram, ARunFolderThatIsRemovedMeanwhileIsNotMadeAgain) {
  const pid_t child = start("run", 3);
  fs::rename(folder_ / "run", folder_ / "moved");
  EXPECT_EQ(end_of(child).exit_code, kExitUserError);
  EXPECT_THAT(read_file(folder_ / "child.txt"),
              testing::HasSubstr("run was removed, moved or replaced while it was trained in"));
  EXPECT_FALSE(fs::exists(folder_ / "run"));
  expect_ok(train("--output moved --resume"));
  EXPECT_EQ(metric_lines(folder_ / "moved", "update").size(), 80u);
}

TEST_F(ResumeProgram, AReaderThatGoesAwayDoesNotEndTheRun) {
  expect_ok(train("--output run --set train.steps=10 2>&1 | head -n 1"));
  EXPECT_TRUE(fs::exists(folder_ / "run/summary.json"));
}

TEST_F(ResumeProgram, ClosedStandardStreamsLeaveFilesAlone) {
  expect_ok(train("--output straight --set train.steps=10"));
  expect_ok(train("--output run --set train.steps=10 <&- >&- 2>&-"));
  expect_same_run(folder_ / "straight", folder_ / "run");
}

TEST_F(ResumeProgram, ADryRunSaysWhatAResumeWouldDo) {
  expect_ok(train("--output run --set train.steps=10"));
  refuses("--resume run --dry-run --set model.dropout=0.2", {"model.dropout: '0.2'", "trained with '0.1'"});
  const auto before = files();
  const Outcome more =
      shell(fmt::format("'{}' --resume run --dry-run --set train.steps=12", RSE_TRAIN_PROGRAM));
  EXPECT_EQ(more.exit_code, 0) << more.err;
  EXPECT_THAT(more.out, testing::HasSubstr("would go on at step 10 from run/checkpoints/step-10"));
  EXPECT_TRUE(files() == before);
}

TEST_F(ResumeProgram, BranchesIntoAFolderWrittenWithASlash) {
  expect_ok(train("--output run --set train.steps=10"));
  fs::create_directory(folder_ / "empty");
  for (const char* branch : {"new/", "empty/"}) {
    expect_ok(fmt::format("'{}' --resume run/checkpoints/step-5 --output {}", RSE_TRAIN_PROGRAM, branch));
    EXPECT_TRUE(fs::exists(folder_ / branch / "summary.json")) << branch;
  }
}

TEST_F(ResumeProgram, RefusalsNameWhatToDo) {
  expect_ok(train("--output run --set train.steps=10"));
  refuses("--config toy.yaml --output run", {"run already holds a run (config.yaml)", "--resume"});
  refuses("--resume run --set model.dropout=0.2", {"model.dropout: '0.2'", "trained with '0.1'"});
  refuses("--resume run/checkpoints/step-5", {"step-5 is not the newest", "step-10", "--output"});
  refuses("--resume run/checkpoints/step-7", {"step-7", "expected a run folder"});
  refuses("--resume nowhere", {"nowhere", "expected a run folder or RUN/checkpoints/step-N"});
  refuses("--config toy.yaml --resume --output nowhere", {"nowhere"});
  refuses("--resume run/checkpoints/step-5 --output run", {"step-5 is not the newest"});
}

TEST_F(ResumeProgram, AFinishedRunSaysSo) {
  expect_ok(train("--output run --set train.steps=5"));
  const auto before = listing(folder_ / "run/checkpoints");
  const Outcome again = shell(fmt::format("'{}' --resume run", RSE_TRAIN_PROGRAM));
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.err, testing::HasSubstr("the run is finished, at step 5"));
  EXPECT_EQ(listing(folder_ / "run/checkpoints"), before);
  expect_ok(fmt::format("'{}' --resume run --set train.steps=6", RSE_TRAIN_PROGRAM));
  EXPECT_EQ(complete_checkpoints(folder_ / "run").back(), 6);
  EXPECT_THAT(read_file(folder_ / "run/log.txt"), testing::HasSubstr("train.steps changed from '5' to '6'"));
}

TEST_F(ResumeProgram, AnOlderCheckpointBranchesOffIntoANewFolder) {
  expect_ok(train("--output run --set train.steps=10"));
  const auto before = listing(folder_ / "run");
  expect_ok(fmt::format("'{}' --resume run/checkpoints/step-5 --output branch", RSE_TRAIN_PROGRAM));
  EXPECT_EQ(listing(folder_ / "run"), before);
  expect_same_run(folder_ / "run", folder_ / "branch");
}

TEST_F(ResumeProgram, ADryRunTellsTheDiskThatCheckpointsNeed) {
  const Outcome outcome = shell(train("--dry-run --output run"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              testing::ContainsRegex("checkpoints +[0-9.]+ KiB each, [0-9.]+ [KM]iB in all with up "
                                     "to 9 at once; [0-9.]+ .iB free for run"));
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

}  // namespace
}  // namespace rse
