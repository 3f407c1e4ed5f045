// Tests which checkpoints stay, and the disk space that they need.
#include "run/retention.h"

#include <fstream>

#include "run/checkpoint.h"
#include "tests/support.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

class Retention : public testing::Test {
 protected:
  void add(int64_t step, bool complete = true) {
    const fs::path folder = checkpoint_folder(folder_.path(), step);
    fs::create_directories(folder);
    std::ofstream(folder / "weights") << step;
    if (complete) std::ofstream(folder / "COMPLETE") << R"({"files": {"weights": {}}})";
  }
  std::vector<int64_t> left() const { return complete_checkpoints(folder_.path()); }
  TemporaryFolder folder_;
};

TEST_F(Retention, TheNewestStayAndTheBest) {
  for (const int64_t step : {9, 10, 100, 20, 3}) add(step);
  remove_old_checkpoints(folder_.path(), 4, 3);
  EXPECT_THAT(left(), testing::ElementsAre(3, 9, 10, 20, 100));
  remove_old_checkpoints(folder_.path(), 2, 9);
  EXPECT_THAT(left(), testing::ElementsAre(9, 20, 100));
  remove_old_checkpoints(folder_.path(), 1, std::nullopt);
  EXPECT_THAT(left(), testing::ElementsAre(100));
  remove_old_checkpoints(folder_.path(), 1, std::nullopt);  // the only one always stays
  EXPECT_THAT(left(), testing::ElementsAre(100));
}

TEST_F(Retention, WhatAUserPutIntoACheckpointStays) {
  for (const int64_t step : {1, 2, 3, 4}) add(step);
  std::ofstream(checkpoint_folder(folder_.path(), 1) / "notes.txt") << "mine";
  fs::create_directory(checkpoint_folder(folder_.path(), 2) / "evaluation");
  remove_old_checkpoints(folder_.path(), 1, std::nullopt);
  EXPECT_THAT(left(), testing::ElementsAre(1, 2, 4));
  EXPECT_EQ(read_file(checkpoint_folder(folder_.path(), 1) / "notes.txt"), "mine");
}

// Those without COMPLETE were damaged by somebody else, such as a copy that was cut short.
TEST_F(Retention, IncompleteOnesDoNotCountAndStay) {
  add(5);
  add(7, /*complete=*/false);
  add(8, /*complete=*/false);
  add(2, /*complete=*/false);
  remove_old_checkpoints(folder_.path(), 1, std::nullopt);
  EXPECT_THAT(left(), testing::ElementsAre(5));
  remove_unfinished_checkpoints(folder_.path());
  EXPECT_THAT(incomplete_checkpoints(folder_.path()), testing::ElementsAre(2, 7, 8));
  EXPECT_EQ(read_file(checkpoint_folder(folder_.path(), 8) / "weights"), "8");
  EXPECT_THAT(left(), testing::ElementsAre(5));
}

TEST_F(Retention, OnlyWhatAProcessWasWritingOrRemovingGoes) {
  add(5);
  const fs::path all = folder_ / "checkpoints";
  for (const char* name : {".step-6.tmp", ".step-4.removed.tmp"}) {
    EXPECT_TRUE(is_unfinished_checkpoint(all / name)) << name;
    fs::create_directories(all / name / "inside");
  }
  const std::vector<std::string> others = {".step-6", ".step-x.tmp", "step-6.tmp",       ".step-06.tmp",
                                           ".tmp",    "step-6.old",  ".step-6.copy.tmp", "best"};
  for (const std::string& name : others) {
    EXPECT_FALSE(is_unfinished_checkpoint(all / name)) << name;
    fs::create_directories(all / name / "inside");
  }
  remove_unfinished_checkpoints(folder_.path());
  EXPECT_FALSE(fs::exists(all / ".step-6.tmp"));
  EXPECT_FALSE(fs::exists(all / ".step-4.removed.tmp"));
  for (const std::string& name : others) EXPECT_TRUE(fs::exists(all / name / "inside")) << name;
  EXPECT_THAT(left(), testing::ElementsAre(5));
}

TEST_F(Retention, ARemovalThatWasCutShortDoesNotHinderTheNext) {
  add(5);
  add(6);
  fs::create_directories(folder_ / "checkpoints/.step-5.removed.tmp/inside");
  remove_old_checkpoints(folder_.path(), 1, std::nullopt);
  EXPECT_THAT(left(), testing::ElementsAre(6));
  EXPECT_FALSE(fs::exists(folder_ / "checkpoints/.step-5.removed.tmp"));
}

TEST_F(Retention, OnlyFoldersOfOurNameAreCheckpoints) {
  for (const char* name : {"step-007", "step--7", "step-7x", "step-", "old-7", "step-99999999999999999999"}) {
    EXPECT_FALSE(checkpoint_step(name)) << name;
  }
  EXPECT_EQ(checkpoint_step("a/step-70"), 70);
}

// The learning rate grows so far that the model gets worse.
TEST_F(Retention, ARunKeepsItsBestCheckpoint) {
  ToyRun toy;
  const std::vector<std::string> settings = {"train.steps=10",        "validation.every=2",
                                             "checkpoint.every=2",    "checkpoint.keep=1",
                                             "train.learning_rate=2", "train.warmup_steps=10"};
  const fs::path run = toy.train(toy.config(kTwoArms, settings), "run");
  std::map<int64_t, double> mean;
  for (const auto& line : metric_lines(run, "validation"))
    mean[line["step"]] += line["nll"].get<double>() / 2;
  ASSERT_EQ(mean.size(), 5u);
  int64_t best = 2;
  for (const auto& [step, nll] : mean) best = nll < mean[best] ? step : best;
  ASSERT_LT(best, 10) << "the best checkpoint is the newest one, so this test shows nothing";
  EXPECT_THAT(complete_checkpoints(run), testing::ElementsAre(best, 10));
  EXPECT_EQ(read_trainer_state(checkpoint_folder(run, 10)).best->step, best);
  auto newest_only = settings;
  newest_only.push_back("checkpoint.keep_best=false");
  EXPECT_THAT(complete_checkpoints(toy.train(toy.config(kTwoArms, newest_only), "newest")),
              testing::ElementsAre(10));
}

TEST_F(Retention, TheDiskThatARunNeedsIsKnownBeforehand) {
  RunSettings settings;
  settings.train.steps = 100;
  settings.checkpoint.every = 10;
  settings.checkpoint.keep = 2;
  EXPECT_EQ(checkpoint_disk(settings, 1000).each, 12000);
  EXPECT_EQ(checkpoint_disk(settings, 1000).at_once, 4);  // two, the best, and the one being written
  settings.checkpoint.keep_best = false;
  EXPECT_EQ(checkpoint_disk(settings, 1000).at_once, 3);
  settings.checkpoint.every = 0;
  EXPECT_EQ(checkpoint_disk(settings, 1000).at_once, 2);  // the last, and one that a signal asks for
  EXPECT_EQ(checkpoint_disk(settings, 1000).total(), 24000);
}

TEST_F(Retention, TooLittleSpaceIsAnErrorAndPresentCheckpointsCount) {
  const int64_t available = free_bytes(folder_ / "not/there/yet");
  EXPECT_GT(available, 0);
  const CheckpointDisk disk{available / 2, 3};
  EXPECT_THAT([&] { check_free_space(folder_ / "run", disk); }, ThrowsUserError("but its checkpoints need"));
  EXPECT_THAT([&] { check_free_space(folder_ / "run", disk); }, ThrowsUserError("checkpoint.keep"));
  add(1);
  add(2);
  check_free_space(folder_.path(), disk);  // only one of three is still to come
}

}  // namespace
}  // namespace rse
