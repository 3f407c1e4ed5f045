// Tests which folders a run may begin or go on in, and that what others put there stays.
#include "run/run_folder.h"

#include <signal.h>
#include <sys/file.h>

#include "run/checkpoint.h"
#include "tests/program.h"
#include "tests/train/same_run.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RunFolder : public ProgramTest {
 protected:
  void SetUp() override {
    write_toy_corpus(folder_ / "train.bin", 11);
    write_toy_corpus(folder_ / "valid.bin", 12, 8);
    write("toy.yaml",
          "model: {layers: 1, width: 16, heads: 2, ffn_width: 32, position: {method: rse}}\n"
          "data: {train: train.bin, valid: valid.bin, seq_len: 32, min_tokens: 8}\n"
          "train: {steps: 6, batch_size: 4, warmup_steps: 2, device: cpu, threads: 1}\n"
          "validation: {every: 0, pieces: 4}\n"
          "logging: {tensorboard: false}\n"
          "checkpoint: {every: 2, keep: 9}\n");
  }
  Outcome train(const std::string& arguments) const {
    return shell(fmt::format("'{}' {}", RSE_TRAIN_PROGRAM, arguments));
  }
  Outcome begin(const std::string& arguments) const { return train("--config toy.yaml " + arguments); }
  void expect_ok(const Outcome& outcome) const { EXPECT_EQ(outcome.exit_code, 0) << outcome.err; }
  std::vector<int64_t> steps(const std::string& run) const { return complete_checkpoints(folder_ / run); }
};

using ResumeAuto = RunFolder;
using Branch = RunFolder;
using DamagedCheckpoint = RunFolder;

TEST_F(ResumeAuto, StartsWhereThereIsNoRunAndGoesOnWhereThereIsOne) {
  expect_ok(begin("--output straight"));
  // One command line for every attempt of a job: the first starts, the second goes on, the third has nothing to do.
  const Outcome first = begin("--output run --resume auto --set train.steps=3");
  expect_ok(first);
  EXPECT_THAT(first.err, HasSubstr("--resume auto: no run in run yet"));
  const Outcome second = begin("--output run --resume auto");
  expect_ok(second);
  EXPECT_THAT(second.err, HasSubstr("resumed at step 3"));
  const Outcome third = begin("--output run --resume auto");
  expect_ok(third);
  EXPECT_THAT(third.err, HasSubstr("the run is finished"));
  EXPECT_THAT(steps("run"), testing::ElementsAre(2, 3, 4, 6));
}

TEST_F(ResumeAuto, StartsInFoldersThatAFreshRunAccepts) {
  for (const char* made : {"mkdir run1", "mkdir run2; echo x >run2/slurm.out", "mkdir real; ln -s real run3",
                           "mkdir run4; touch run4/run.lock run4/config.yaml.tmp.123"}) {
    ASSERT_EQ(shell(made).exit_code, 0);
  }
  for (const char* run : {"run1", "run2", "run3", "run4"}) {
    expect_ok(begin(fmt::format("--output {} --resume auto", run)));
    EXPECT_THAT(steps(run), testing::ElementsAre(2, 4, 6)) << run;
  }
  EXPECT_EQ(read_file(folder_ / "run2/slurm.out"), "x\n");
  EXPECT_FALSE(fs::exists(folder_ / "run4/config.yaml.tmp.123"));
}

TEST_F(ResumeAuto, GoesOnWithARunThatHasNoCheckpointYet) {
  expect_ok(begin("--output run"));
  remove_tree(folder_ / "run/checkpoints");
  fs::remove(folder_ / "run/summary.json");
  fs::resize_file(folder_ / "run/metrics.jsonl", 0);
  const Outcome outcome = begin("--output run --resume auto");
  expect_ok(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("the run starts over from step 0"));
  EXPECT_THAT(steps("run"), testing::ElementsAre(2, 4, 6));
}

TEST_F(ResumeAuto, RefusesWhatANeitherNorCan) {
  expect_user_error(RSE_TRAIN_PROGRAM, "--resume auto", {"--config is required"});
  fs::create_directories(folder_ / "part/checkpoints/step-3");
  expect_user_error(RSE_TRAIN_PROGRAM, "--log-level error --config toy.yaml --output part --resume auto",
                    {"part already holds a part of a run (checkpoints)", "no config.yaml"});
  expect_ok(begin("--output auto"));  // a folder of that name is meant by a path
  EXPECT_THAT(train("--resume ./auto").err, HasSubstr("the run is finished"));
}

TEST_F(ResumeAuto, TwoAtOnceAreOneRun) {
  const Outcome both =
      shell(fmt::format("for i in 1 2; do (\'{}\' --config toy.yaml --output run --resume auto 2>err$i; echo "
                        "$? >rc$i) & done; wait",
                        RSE_TRAIN_PROGRAM));
  const std::string codes = read_file(folder_ / "rc1") + read_file(folder_ / "rc2");
  EXPECT_TRUE(codes == "0\n0\n" || codes == "0\n2\n" || codes == "2\n0\n") << codes;
  EXPECT_THAT(steps("run"), testing::ElementsAre(2, 4, 6));
}

TEST_F(Branch, GoesIntoEveryFolderThatAFreshRunAccepts) {
  expect_ok(begin("--output run"));
  const auto before = listing(folder_ / "run");
  ASSERT_EQ(shell("mkdir real stray empty dot; ln -s real link; echo x >stray/slurm.out").exit_code, 0);
  for (const char* folder : {"link", "stray", "empty", "new", "new/er/", "./dotted/."}) {
    expect_ok(train(fmt::format("--resume run/checkpoints/step-2 --output {}", folder)));
    if (std::string(folder) == "stray") {
      EXPECT_EQ(read_file(folder_ / "stray/slurm.out"), "x\n");
      fs::remove(folder_ / "stray/slurm.out");
    }
    expect_same_run(folder_ / "run", folder_ / folder);
    for (const auto& [path, what] : listing(folder_ / folder))
      EXPECT_THAT(path.substr(folder_.path().string().size()), testing::Not(HasSubstr("tmp")));
  }
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  expect_ok(
      shell(fmt::format("cd dot && '{}' --resume ../run/checkpoints/step-2 --output . "
                        "--set data.train=../train.bin --set data.valid=../valid.bin",
                        RSE_TRAIN_PROGRAM)));
  EXPECT_THAT(steps("dot"), testing::ElementsAre(2, 4, 6));
  EXPECT_EQ(listing(folder_ / "run"), before);
  const Outcome again = train("--log-level error --resume run/checkpoints/step-2 --output stray");
  EXPECT_THAT(again.err, HasSubstr("stray already holds a run (config.yaml)"));
}

TEST_F(Branch, GoesOntoAMountPoint) {
  expect_ok(begin("--output run"));
  fs::create_directory(folder_ / "disk");
  const Outcome outcome = shell(fmt::format(
      "unshare -m sh -c \"mount --make-rprivate / && mount -t tmpfs none disk || exit 77; '{}' --resume "
      "run/checkpoints/step-2 --output disk && cp -a disk/. left\"",
      RSE_TRAIN_PROGRAM));
  if (outcome.exit_code == 77 || outcome.err.find("unshare") != std::string::npos)
    GTEST_SKIP() << outcome.err;
  expect_ok(outcome);
  EXPECT_THAT(steps("left"), testing::ElementsAre(2, 4, 6));
}

// A process that is killed between making the folder and config.yaml leaves what the next one puts right.
TEST_F(Branch, AHalfMadeOneIsMadeAnew) {
  expect_ok(begin("--output run"));
  const auto half = [&](const std::string& name) {
    fs::create_directories(folder_ / name / ".new-run.tmp/checkpoints/step-2");
    fs::create_directories(folder_ / name / "checkpoints/step-4");
    write(name + "/metrics.jsonl", "half");
    write(name + "/slurm.out", "mine");
  };
  half("branch");
  const Outcome branched = train("--resume run/checkpoints/step-2 --output branch");
  expect_ok(branched);
  EXPECT_THAT(branched.err, HasSubstr("branch/.new-run.tmp: removed"));
  EXPECT_EQ(read_file(folder_ / "branch/slurm.out"), "mine");
  fs::remove(folder_ / "branch/slurm.out");
  expect_same_run(folder_ / "run", folder_ / "branch");
  half("fresh");
  expect_ok(begin("--output fresh --resume auto"));
  EXPECT_THAT(steps("fresh"), testing::ElementsAre(2, 4, 6));
  EXPECT_EQ(read_file(folder_ / "fresh/slurm.out"), "mine");
}

TEST_F(Branch, AFailureLeavesTheFolderAsItWas) {
  expect_ok(begin("--output run"));
  ASSERT_EQ(shell("mkdir stray; echo x >stray/slurm.out; : >run/metrics.jsonl").exit_code, 0);
  expect_user_error(RSE_TRAIN_PROGRAM, "--log-level error --resume run/checkpoints/step-2 --output stray",
                    {"metrics.jsonl"});
  {
    NewRunFolder folder(folder_ / "stray");
    EXPECT_THROW(folder.begin("",
                              [&](const fs::path& staging) {
                                fs::create_directory(staging / "checkpoints");
                                throw UserError("no space");
                              }),
                 UserError);
  }
  EXPECT_EQ(listing(folder_ / "stray").size(), 1u);
  EXPECT_EQ(read_file(folder_ / "stray/slurm.out"), "x\n");
}

TEST_F(DamagedCheckpoint, IsNamedKeptAndSkipped) {
  expect_ok(begin("--output straight"));
  expect_ok(begin("--output run"));
  fs::remove(folder_ / "run/checkpoints/step-6/COMPLETE");
  const std::string weights = read_file(folder_ / "run/checkpoints/step-6/rse.seed1.model.safetensors");
  const Outcome outcome = train("--resume run");
  expect_ok(outcome);
  EXPECT_THAT(
      outcome.err,
      testing::AllOf(HasSubstr("checkpoints/step-6: kept but not used: there is no COMPLETE"),
                     HasSubstr("resumed at step 4"), HasSubstr("kept as run/checkpoints/step-6.incomplete")));
  EXPECT_EQ(read_file(folder_ / "run/checkpoints/step-6.incomplete/rse.seed1.model.safetensors"), weights);
  EXPECT_EQ(comparable(folder_ / "straight/metrics.jsonl"), comparable(folder_ / "run/metrics.jsonl"));
  EXPECT_THAT(steps("run"), testing::ElementsAre(2, 4, 6));
}

TEST_F(DamagedCheckpoint, OfASecondTimeIsKeptToo) {
  expect_ok(begin("--output run"));
  for (int i = 0; i < 2; ++i) {
    fs::remove(folder_ / "run/checkpoints/step-6/COMPLETE");
    expect_ok(train("--resume run"));
  }
  EXPECT_TRUE(fs::exists(folder_ / "run/checkpoints/step-6.incomplete/trainer.json"));
  EXPECT_TRUE(fs::exists(folder_ / "run/checkpoints/step-6.incomplete-2/trainer.json"));
}

TEST_F(DamagedCheckpoint, TheOnlyOneIsNoReasonToStartOver) {
  expect_ok(begin("--output run --set train.steps=2"));
  fs::remove(folder_ / "run/checkpoints/step-2/COMPLETE");
  fs::remove(folder_ / "run/summary.json");
  for (const char* arguments : {"--resume run", "--config toy.yaml --output run --resume auto"}) {
    const Outcome outcome = train(std::string("--log-level error ") + arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("run/checkpoints/step-2: no COMPLETE in it"));
  }
  EXPECT_TRUE(fs::exists(folder_ / "run/checkpoints/step-2/trainer.json"));
}

TEST_F(DamagedCheckpoint, ADryRunNamesIt) {
  expect_ok(begin("--output run"));
  fs::remove(folder_ / "run/checkpoints/step-6/COMPLETE");
  const Outcome outcome = train("--resume run --dry-run");
  expect_ok(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("checkpoints/step-6: kept but not used"));
  EXPECT_TRUE(fs::exists(folder_ / "run/checkpoints/step-6/trainer.json"));
}

// Ends rse-train with one line that names the file, whichever thread reads it.
TEST_F(RunFolder, ATokenFileThatIsCutMeanwhileIsNamed) {
  write_toy_corpus(folder_ / "train.bin", 11, 4000);
  const Outcome outcome =
      shell(fmt::format("'{}' --log-level error --config toy.yaml --output run --set train.steps=1000000 "
                        "--set checkpoint.every=20 &\n"
                        "until [ -e run/checkpoints/step-20/COMPLETE ]; do sleep 0.05; done\ntruncate -s 100 "
                        "train.bin\nwait $!",
                        RSE_TRAIN_PROGRAM));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err,
              testing::MatchesRegex("rse-train: error: train.bin: a part of it cannot be read [^\n]*\n"));
  EXPECT_FALSE(complete_checkpoints(folder_ / "run").empty());
}

}  // namespace
}  // namespace rse
