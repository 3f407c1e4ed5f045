// Tests batch ramps in training: what each update takes, what is counted, and that a resumed run goes on alike.
#include "core/logging.h"
#include "tests/train/observed_run.h"
#include "tests/train/resumed_run.h"
#include "train/dry_run.h"
#include "train/report.h"

namespace rse {
namespace {

// 4 sequences per micro-batch and 3 micro-batches; 12 sequences per update from update 5 on (from 0).
const std::vector<std::string> kRamp = {"train.accumulation=3", "train.batch_ramp.start=3",
                                        "train.batch_ramp.steps=5"};
// 3 x (1 + floor(3 step / 5)): the multiples of 3 below 12.
const std::vector<int64_t> kSizes = {3, 3, 6, 6, 9, 12, 12, 12, 12};

std::vector<std::string> with(std::vector<std::string> settings, std::initializer_list<const char*> more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

TEST(BatchRamp, MicroBatchesShareTheSequencesOfAnUpdate) {
  const ToyRun toy;
  const RunConfig config = toy.config("", kRamp);
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  for (size_t step = 0; step < kSizes.size(); ++step) {
    const StepBatch batch = make_step_batch(toy.train_file(), sequences, make_batch_plan(config.base), 1,
                                            static_cast<int64_t>(step));
    int64_t left = kSizes[step];
    for (const TokenBatch& micro : batch.micro_batches) {
      EXPECT_EQ(static_cast<int64_t>(micro.borders.size()) - 1, std::min<int64_t>(left, 4)) << step;
      left -= 4;
    }
    EXPECT_LE(left, 0) << step;
    EXPECT_GT(left, -4) << "an empty micro-batch in step " << step;
    EXPECT_EQ(batch.tokens, kSizes[step] * 32);  // every sequence of the toy has 32
  }
}

// The updates one after another hold the sequences that one batch of all of them holds: over two epochs of 80, none is
// left out, and none comes twice.
TEST(BatchRamp, EverySequenceOfAnEpochIsTakenOnce) {
  const ToyRun toy;
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  ASSERT_EQ(sequences.size(), 80u);
  for (const uint64_t seed : {1, 2}) {
    std::vector<int64_t> ids, targets;
    const BatchPlan plan = make_batch_plan(toy.config("", kRamp).base);
    int64_t count = 0;
    for (int64_t step = 0; count < 160; ++step) {
      for (const TokenBatch& micro :
           make_step_batch(toy.train_file(), sequences, plan, seed, step).micro_batches) {
        ids.insert(ids.end(), micro.input_ids.begin(), micro.input_ids.end());
        targets.insert(targets.end(), micro.target_ids.begin(), micro.target_ids.end());
      }
      count += plan.sizes().at(step);
    }
    const TokenBatch whole = training_batch(toy.train_file(), sequences, plan.masking, seed, 0, count);
    EXPECT_EQ(ids, whole.input_ids);
    EXPECT_EQ(targets, whole.target_ids);
  }
}

TEST(BatchRamp, TokensAreCountedAndTheScheduleFollowsTheStep) {
  ToyRun toy;
  const auto run = toy.train(toy.config("", with(kRamp, {"train.steps=9", "train.warmup_steps=2"})), "run");
  const auto lines = metric_lines(run, "update");
  ASSERT_EQ(lines.size(), kSizes.size());
  int64_t sequences = 0;
  for (size_t step = 0; step < kSizes.size(); ++step) {
    EXPECT_EQ(lines[step]["tokens"], kSizes[step] * 32);
    sequences += kSizes[step];
    const double t = (static_cast<double>(step) - 2) / 7;
    const double factor = step < 2 ? static_cast<double>(step + 1) / 2 : 1 - t;
    EXPECT_NEAR(lines[step]["learning_rate"].get<double>(), 0.003 * factor, 1e-12);
  }
  EXPECT_EQ(toy.summaries[0].tokens, sequences * 32);
}

// Updates that are not the same have dropout masks of their own, whatever their sizes are; two runs whose ramps have
// ended by then draw the same ones in the same update.
TEST(BatchRamp, LeavesTheNumbersOfMicroBatchesToTheStep) {
  ToyRun toy;
  const RunConfig config = toy.config("", with(kRamp, {"model.dropout=0.5"}));
  Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
  Replica plain(config.arms[0], 1, toy.config("", {"train.accumulation=3"}).base.train, torch::kCPU);
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  const StepBatch batch = make_step_batch(toy.train_file(), sequences, make_batch_plan(config.base), 1, 6);
  std::vector<DeviceBatch> micro;
  for (const TokenBatch& part : batch.micro_batches) micro.push_back(to_device(part, torch::kCPU));
  const float loss = replica.backward(6, micro, batch.targets).item<float>();
  EXPECT_EQ(plain.backward(6, micro, batch.targets).item<float>(), loss);
  EXPECT_NE(replica.backward(7, micro, batch.targets).item<float>(), loss);
}

class RampedRun : public ResumedRun {};

TEST_F(RampedRun, GoesOnInsideTheRampAsIfNothingHadHappened) { expect_equal_after_crash(kRamp, 4); }

TEST_F(RampedRun, GoesOnAfterTheRampAsIfNothingHadHappened) {
  expect_equal_after_crash(with(kRamp, {"data.packing=packed"}), 10);
}

TEST_F(RampedRun, MayNotGoOnWithAnotherRamp) {
  const RunConfig config = config_of(kRamp);
  const std::filesystem::path run = crashed_run(config, 4, "crashed");
  EXPECT_THAT([&] { plan(config_of(with(kRamp, {"train.batch_ramp.steps=6"})), run); },
              ThrowsUserError("train.batch_ramp.steps: '6', but the run was trained with '5'"));
}

// Of nine updates the last three are timed: they have 12 sequences each, all together 75. 75 x 32 tokens in nine
// updates, of which 36 x 32 in three, in 0.25 s each: 384 / 0.25.
TEST(BatchRamp, TheRateOfTheSummaryIsThatOfTheUpdatesThatWereTimed) {
  const ToyRun toy;
  const RunConfig config = toy.config("", kRamp);
  Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
  replica.counters.step = 9;
  replica.counters.tokens = 75 * 32;
  replica.counters.step_times_ms = {250, 250, 250};
  EXPECT_DOUBLE_EQ(summarize(replica, {}, 5.0, 6.0, 0).tokens_per_second, 12 * 32 / 0.25);
}

TEST(BatchRamp, TheDryRunTriesAnUpdateOfFullSize) {
  const ToyRun toy;
  const auto text = [&](const std::vector<std::string>& settings) {
    return dry_run(toy.config("", settings), toy.train_file(), toy.valid_file(), torch::kCPU);
  };
  EXPECT_THAT(text(kRamp), testing::HasSubstr("384 tokens and"));
  EXPECT_THAT(text(kRamp), testing::HasSubstr("(step 6, the first after the batch ramp)"));
  EXPECT_THAT(text({}), testing::HasSubstr("(first step)"));
}

}  // namespace
}  // namespace rse
