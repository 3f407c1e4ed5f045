// Tests that runs which stop and continue equal a run that never stopped, bit for bit, and what a resume
// refuses.
#include "train/resume.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "eval/device_batch.h"
#include "run/checkpoint.h"
#include "run/config_change.h"
#include "run/run_folder.h"
#include "tests/support.h"
#include "tests/train/resumed_run.h"
#include "tests/train/same_run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

TEST_F(ResumedRun, FortyStepsInTwoPartsAreFortySteps) {
  // An epoch has 20 steps. The killed run has lost steps 16 and 17, and it crosses the border of epochs after
  // step 20.
  expect_equal_after_crash({"train.steps=40", "checkpoint.every=5", "validation.every=10"}, 17);
}

TEST_F(ResumedRun, EqualForInterleavedArmsAndSeveralSeeds) {
  expect_equal_after_crash({"train.seeds=[1, 2, 7]", "validation.every=4"}, 8);
}

TEST_F(ResumedRun, EqualWithAccumulationAndDropout) {
  expect_equal_after_crash({"train.accumulation=3", "model.dropout=0.1"}, 5);
}

TEST_F(ResumedRun, EqualInBf16WithACosineAndPackedSequences) {
  expect_equal_after_crash({"train.precision=bf16", "train.schedule=cosine", "data.packing=packed"}, 7);
}

TEST_F(ResumedRun, EqualAfterAKillBeforeTheFirstCheckpoint) {
  expect_equal_after_crash({"checkpoint.every=6"}, 4);
}

TEST_F(ResumedRun, EqualAfterAStopWhichSavesAtOnce) {
  const RunConfig config = config_of({});
  train(config, "straight");
  const fs::path run = begin(config, "stopped");
  EXPECT_THROW(make_trainer(config)->run(run, when(7)), Interrupted);
  EXPECT_THAT(complete_checkpoints(run), testing::ElementsAre(6, 7));
  EXPECT_EQ(metric_lines(run, "update").back()["step"], 7);
  EXPECT_FALSE(fs::exists(run / "summary.json"));
  resume(config, run);
  EXPECT_EQ(comparable(run / "metrics.jsonl"), comparable(toy_.path("straight") / "metrics.jsonl"));
  EXPECT_EQ(comparable(run / "summary.json"), comparable(toy_.path("straight") / "summary.json"));
}

// The validation of step 6 is cut short. None of it is written, and the resumed run repeats it.
TEST_F(ResumedRun, EqualAfterAStopDuringValidation) {
  const RunConfig config = config_of({"validation.every=3", "checkpoint.every=0"});
  train(config, "straight");
  const fs::path run = begin(config, "stopped");
  int asked = 0;
  const auto second_replica_of_step_6 = [&] { return when(6)() && ++asked == 2; };
  EXPECT_THROW(make_trainer(config)->run(run, second_replica_of_step_6), Interrupted);
  EXPECT_EQ(metric_lines(run, "validation").size(), 2u);  // both of step 3
  EXPECT_THAT(complete_checkpoints(run), testing::ElementsAre(6));
  resume(config, run);
  EXPECT_EQ(comparable(run / "metrics.jsonl"), comparable(toy_.path("straight") / "metrics.jsonl"));
  EXPECT_EQ(read_trainer_state(checkpoint_folder(run, 12)).best->nll,
            read_trainer_state(checkpoint_folder(toy_.path("straight"), 12)).best->nll);
}

TEST_F(ResumedRun, ACheckpointIsFoundByAnyNameAndIsNoRunFolder) {
  const RunConfig config = config_of({});
  const fs::path run = begin(config, "run");
  make_trainer(config)->run(run);
  const fs::path checkpoint = checkpoint_folder(run, 12);
  fs::create_symlink(checkpoint, toy_.path("latest"));
  for (const fs::path& name : {toy_.path("latest"), checkpoint / ".", checkpoint / ""}) {
    const ResumeSource source = find_run(name);
    EXPECT_EQ(source.step, 12) << name;
    EXPECT_TRUE(fs::equivalent(source.run_folder, run)) << name;
  }
  EXPECT_EQ(find_run(run / "").run_folder, run);
  fs::copy(checkpoint, toy_.path("best"));
  EXPECT_THAT(
      [&] { find_run(toy_.path("best")); },
      ThrowsUserError("best is a checkpoint outside its run: expected RUN or RUN/checkpoints/step-N"));
}

TEST_F(ResumedRun, ARunWhoseCheckpointsAreGoneDoesNotStartOver) {
  const RunConfig config = config_of({});
  const fs::path run = crashed_run(config, 7, "crashed");
  remove_tree(run / "checkpoints");
  EXPECT_THAT([&] { plan(config, run); },
              ThrowsUserError("its metrics reach step 7, but no complete checkpoint is left"));
  train(config, "finished");
  remove_tree(toy_.path("finished") / "checkpoints");
  fs::remove(toy_.path("finished") / "metrics.jsonl");
  EXPECT_THAT([&] { plan(config, toy_.path("finished")); },
              ThrowsUserError("no complete checkpoint is left"));
}

TEST_F(ResumedRun, TheSameDataMayLieElsewhere) {
  const RunConfig config = config_of({});
  train(config, "straight");
  const fs::path run = crashed_run(config, 7, "crashed");
  fs::copy_file(config.base.data.train, toy_.path("moved.bin"));
  const RunConfig moved = config_of({"data.train=" + toy_.path("moved.bin").string()});
  resume(moved, run);
  expect_same_run(toy_.path("straight"), run);
}

TEST_F(ResumedRun, MetricsCutShortAreFoundBeforeAnythingChanges) {
  const RunConfig config = config_of({});
  const fs::path run = begin(config, "run");
  make_trainer(config)->run(run);
  trainer_ = nullptr;
  fs::resize_file(run / "metrics.jsonl", 300);
  EXPECT_THAT([&] { plan(config_of({"train.steps=15"}), run); },
              ThrowsUserError("metrics.jsonl: 300 bytes, expected at least"));
  fs::remove(run / "metrics.jsonl");
  EXPECT_THAT([&] { plan(config_of({"train.steps=15"}), run); }, ThrowsUserError("cannot open "));
  EXPECT_FALSE(fs::exists(run / "metrics.jsonl"));
}

TEST_F(ResumedRun, WritesTheSummaryThatAKillPrevented) {
  const RunConfig config = config_of({});
  const fs::path run = begin(config, "run");
  make_trainer(config)->run(run);
  const std::string summary = comparable(run / "summary.json");
  fs::remove(run / "summary.json");
  resume(config, run);
  EXPECT_EQ(comparable(run / "summary.json"), summary);
  EXPECT_TRUE(plan(config, run).finished);
}

TEST_F(ResumedRun, AFinishedRunGoesOnWithMoreStepsOnly) {
  const fs::path run = begin(config_of({}), "run");
  make_trainer(config_of({}))->run(run);
  EXPECT_TRUE(plan(config_of({}), run).finished);
  const RunConfig longer = config_of({"train.steps=15"});
  const ResumePlan longer_plan = plan(longer, run);
  EXPECT_FALSE(longer_plan.finished);
  EXPECT_THAT(longer_plan.notes, testing::ElementsAre(testing::HasSubstr("train.steps changed from '12'")));
  resume(longer, run);
  EXPECT_EQ(metric_lines(run, "update").size(), 30u);
  EXPECT_EQ(read_file(run / "config.yaml"), longer.dump());
  EXPECT_THAT([&] { plan(config_of({"train.steps=9"}), run); },
              ThrowsUserError("train.steps: '9': the checkpoint"));
}

TEST_F(ResumedRun, BranchesOffFromAnOlderCheckpoint) {
  const RunConfig config = config_of({"checkpoint.keep=5"});
  const fs::path run = begin(config, "run");
  make_trainer(config)->run(run);
  const ResumeSource source = find_run(checkpoint_folder(run, 6));
  EXPECT_EQ(source.step, 6);
  EXPECT_EQ(source.config(), checkpoint_folder(run, 6) / "config.yaml");
  EXPECT_THAT([&] { plan_resume(source, false, config, toy_.train_file(), toy_.valid_file()); },
              ThrowsUserError("step-6 is not the newest checkpoint of its run (that is step-12): pass a new "
                              "folder with --output"));
  RunConfig branch = config;
  branch.base.output = toy_.path("branch").string();
  const ResumePlan plan = plan_resume(source, true, branch, toy_.train_file(), toy_.valid_file());
  {
    NewRunFolder folder(branch.base.output);
    branch_off(plan, branch, folder);
  }
  EXPECT_THAT(complete_checkpoints(branch.base.output), testing::ElementsAre(6));
  EXPECT_EQ(metric_lines(branch.base.output, "update").back()["step"], 6);
  resume(branch, branch.base.output);
  remove_checkpoint(run / "checkpoints/step-3");  // so that both runs have steps 6, 9 and 12
  expect_same_run(run, branch.base.output);
}

TEST_F(ResumedRun, OtherTokenFilesAreRefused) {
  const fs::path run = crashed_run(config_of({}), 8, "run");
  write_toy_corpus(toy_.path("train.bin"), 99);
  const TokenFile changed(toy_.path("train.bin"));
  EXPECT_THAT(
      [&] { plan_resume(find_run(run), false, config_of({}), changed, toy_.valid_file()); },
      ThrowsUserError("data.train: " + toy_.path("train.bin").string() + ": 2560 tokens in 40 documents"));
  EXPECT_THAT([&] { plan_resume(find_run(run), false, config_of({}), toy_.train_file(), changed); },
              ThrowsUserError("data.valid: "));
}

TEST_F(ResumedRun, AKeyThatChangesWhatIsTrainedIsNamedWithBothValues) {
  const fs::path run = crashed_run(config_of({}), 4, "run");
  const auto refuses = [&](const std::string& assignment, const std::string& message) {
    EXPECT_THAT([&] { plan(config_of({assignment}), run); }, ThrowsUserError(message)) << assignment;
  };
  refuses("train.learning_rate=0.01", "train.learning_rate: '0.01', but the run was trained with '0.003'");
  refuses("train.seeds=[1, 2]", "train.seeds: '[1, 2]', but the run was trained with '[1]'");
  refuses("validation.every=5", "validation.every: '5', but the run was trained with '0'");
  refuses("model.position.rotary_base=500", "model.position.rotary_base: '500'");
  refuses("arms.rse.train.learning_rate=0.01", "arms.rse.train.learning_rate: '0.01'");
  refuses("arms.rse.model.layers=3", "arms.rse.model.layers: '3', but the run was trained with '2'");
  refuses("arms.more.model.position.method=none", "arms: 'rope, rse, more', but the run was trained with");
}

TEST_F(ResumedRun, KeysThatMayChangeDoAndPricesAreNamed) {
  const fs::path run = crashed_run(config_of({}), 4, "run");
  const auto notes = [&](const std::string& assignment) { return plan(config_of({assignment}), run).notes; };
  for (const char* free : {"logging.every=1", "logging.tensorboard=false", "checkpoint.every=1",
                           "checkpoint.keep=9", "checkpoint.keep_best=false", "output=elsewhere",
                           "train.peak_tflops=3", "train.learning_rate=3e-3"}) {
    EXPECT_THAT(notes(free), testing::IsEmpty()) << free;
  }
  EXPECT_THAT(notes("train.steps=20"), testing::ElementsAre(testing::HasSubstr("schedule")));
  EXPECT_THAT(notes("train.threads=3"), testing::ElementsAre(testing::HasSubstr("last bits")));
  EXPECT_THAT(notes("train.device=auto"), testing::ElementsAre(testing::HasSubstr("last bits")));
}

TEST_F(ResumedRun, DamageIsNamedAndNothingIsGuessed) {
  const RunConfig config = config_of({});
  const fs::path run = crashed_run(config, 8, "run");
  const std::string metrics = read_file(run / "metrics.jsonl");
  const auto kept = static_cast<size_t>(read_trainer_state(checkpoint_folder(run, 6)).metrics_bytes);
  ASSERT_LT(kept, metrics.size());
  std::ofstream(run / "metrics.jsonl", std::ios::binary) << metrics.substr(0, kept - 1);
  EXPECT_THAT([&] { resume(config, run); }, ThrowsUserError("metrics.jsonl: "));
  std::ofstream(run / "metrics.jsonl", std::ios::binary) << metrics.substr(1);
  EXPECT_THAT([&] { resume(config, run); }, ThrowsUserError("is inside a line"));
  const fs::path weights = checkpoint_folder(run, 6) / "rse.seed1.model.safetensors";
  fs::resize_file(weights, fs::file_size(weights) - 1);
  EXPECT_THAT([&] { plan(config, run); }, ThrowsUserError("rse.seed1.model.safetensors: "));
}

TEST_F(ResumedRun, WhatIsNoRunIsRefused) {
  EXPECT_THAT([&] { find_run(toy_.path("none")); }, ThrowsUserError("none is no folder"));
  fs::create_directories(toy_.path("empty/checkpoints/step-3"));
  EXPECT_THAT([&] { find_run(toy_.path("empty")); }, ThrowsUserError("holds no run (no config.yaml in it)"));
  const fs::path run = crashed_run(config_of({}), 8, "run");
  EXPECT_EQ(find_run(run.string() + "/").run_folder, run);
  EXPECT_EQ(find_run(run / "checkpoints/step-3/").run_folder, run);
  fs::remove(run / "checkpoints/step-3/COMPLETE");
  EXPECT_THAT(
      [&] {
        plan_resume(find_run(run / "checkpoints/step-3"), false, config_of({}), toy_.train_file(),
                    toy_.valid_file());
      },
      ThrowsUserError("step-3: not a complete checkpoint"));
}

// Returns how many bytes this process has read through read(2) so far; mapped files are not counted.
int64_t bytes_read() {
  std::ifstream io("/proc/self/io");
  std::string key;
  int64_t value = 0;
  while (io >> key >> value) {
    if (key == "rchar:") return value;
  }
  ADD_FAILURE() << "/proc/self/io has no rchar";
  return 0;
}

class LongRun : public ResumedRun {
 protected:
  // Resumes a run after `step` updates, of which only its counters know, and makes three more.
  // `metrics_bytes` is the size of metrics.jsonl by then. Returns the bytes that were read.
  int64_t resume_at(int64_t step, int64_t metrics_bytes, const std::string& name) {
    const RunConfig config = config_of({fmt::format("train.steps={}", step + 3), "train.warmup_steps=0"});
    const fs::path run = begin(config, name);
    {
      std::ofstream(run / "metrics.jsonl") << "\n";
      fs::resize_file(run / "metrics.jsonl", static_cast<uintmax_t>(metrics_bytes - 1));  // sparse
      std::ofstream(run / "metrics.jsonl", std::ios::app) << "\n";
    }
    Trainer before(config, toy_.train_file(), toy_.valid_file(), torch::kCPU);
    RunProgress progress;
    progress.step = step;
    progress.metrics_bytes = metrics_bytes;
    progress.device = describe_device(torch::kCPU, config.base.train).name;
    progress.train = fingerprint_of(toy_.train_file());
    progress.valid = fingerprint_of(toy_.valid_file());
    std::vector<ReplicaSnapshot> snapshots;
    for (Replica* replica : before.replicas()) {
      replica->counters.step = step;
      replica->counters.recent_losses.assign(kRecentLosses, 1.25);
      replica->counters.step_times_ms.assign(kStepTimes, 1.25);
      snapshots.push_back(replica->snapshot());
    }
    save_checkpoint(run, progress, snapshots, config.dump(), toy_.train_file().tokenizer_model());
    const int64_t start = bytes_read();
    resume(config, run);
    const int64_t read = bytes_read() - start;
    EXPECT_EQ(trainer_->replicas()[0]->counters.step, step + 3);
    return read;
  }
};

// What is read does not depend on the step: neither the metrics so far (here 8 GiB of them) nor the batches
// that were trained on are read. Three updates are made, on the batches of their steps.
TEST_F(LongRun, ReadsNoMoreAtStepAMillionThanAtStepTen) {
  const int64_t early = resume_at(10, 1000, "early");
  const int64_t late = resume_at(1'000'000, int64_t{8} << 30, "late");
  EXPECT_LT(late, early + 4096);
  EXPECT_GT(early, 0);
  // The updates are those of the steps from 1,000,000 on: their losses equal those of a replica that is
  // brought to that step by hand.
  const RunConfig config = config_of({"train.steps=1000003", "train.warmup_steps=0"});
  Replica replica(config.arms[1], 1, config.base.train, torch::kCPU);
  replica.counters.step = 1'000'000;
  const SequenceSet sequences(toy_.train_file(), 32, Packing::kDocument, 8);
  for (int64_t step = 1'000'000; step < 1'000'003; ++step) {
    const StepBatch batch =
        make_step_batch(toy_.train_file(), sequences, make_batch_plan(config.base), 1, step);
    std::vector<DeviceBatch> micro;
    for (const TokenBatch& part : batch.micro_batches) micro.push_back(to_device(part, torch::kCPU));
    replica.read(replica.update(step, micro, batch.targets, batch.tokens));
  }
  const auto& by_hand = replica.counters.recent_losses;
  const auto& resumed = trainer_->replicas()[1]->counters.recent_losses;
  ASSERT_EQ(resumed.size(), kRecentLosses);
  EXPECT_TRUE(std::equal(by_hand.begin(), by_hand.end(), resumed.end() - 3));
}

TEST_F(ResumedRun, TheStateOfALongRunIsNoLarger) {
  const RunConfig config = config_of({});
  Trainer trainer(config, toy_.train_file(), toy_.valid_file(), torch::kCPU);
  Replica& replica = *trainer.replicas()[0];
  const SequenceSet sequences(toy_.train_file(), 32, Packing::kDocument, 8);
  for (size_t i = 0; i < kStepTimes; ++i) replica.counters.step_times_ms.push_back(1.0);
  replica.counters.recent_losses.assign(kRecentLosses, 1.0);
  const StepBatch batch = make_step_batch(toy_.train_file(), sequences, make_batch_plan(config.base), 1, 0);
  replica.read(
      replica.update(0, {to_device(batch.micro_batches[0], torch::kCPU)}, batch.targets, batch.tokens));
  EXPECT_EQ(replica.counters.step_times_ms.size(), kStepTimes);
  EXPECT_EQ(replica.counters.recent_losses.size(), kRecentLosses);
  EXPECT_NE(replica.counters.step_times_ms.back(), 1.0);
}

TEST_F(ResumedRun, OneProcessHoldsTheLock) {
  const fs::path run = begin(config_of({}), "run");
  {
    const RunLock lock(run);
    EXPECT_THAT([&] { const RunLock second(run); },
                ThrowsUserError(fmt::format("is in use by process {}", ::getpid())));
  }
  const RunLock again(run);  // the first lock has been released
}

TEST_F(ResumedRun, LeftoversOfAKilledProcessGo) {
  const fs::path run = crashed_run(config_of({}), 8, "run");
  std::ofstream(run / "config.yaml.tmp.123") << "half";
  std::ofstream(run / "summary.json.tmp.77") << "half";
  std::ofstream(run / "notes.tmp.txt") << "mine";
  std::ofstream(run / "notes.tmp.123") << "mine";
  fs::create_directories(run / "checkpoints/.step-9.tmp/x");
  fs::create_directories(run / "checkpoints/step-2");
  std::ofstream(run / "checkpoints/step-2/trainer.json") << "{}";
  fs::create_directories(run / ".new-run.tmp");
  testing::internal::CaptureStdout();  // where spdlog's default logger writes
  remove_leftovers(run);
  const std::string log = testing::internal::GetCapturedStdout();
  for (const char* name :
       {"config.yaml.tmp.123", "summary.json.tmp.77", "checkpoints/.step-9.tmp", ".new-run.tmp"}) {
    EXPECT_FALSE(fs::exists(run / name)) << name;
    EXPECT_THAT(log, testing::HasSubstr(std::string(name) + ": removed"));
  }
  for (const char* name :
       {"notes.tmp.txt", "notes.tmp.123", "checkpoints/step-2/trainer.json", "metrics.jsonl"}) {
    EXPECT_TRUE(fs::exists(run / name)) << name;
  }
  EXPECT_THAT(complete_checkpoints(run), testing::ElementsAre(3, 6));
}

}  // namespace
}  // namespace rse
