// Tests the training loop: equal arms, order, accumulation, failures, learning.
#include "train/trainer.h"

#include <cmath>
#include <limits>

#include "analysis/analysis.h"
#include "eval/device_batch.h"
#include "tests/support.h"
#include "tests/train/toy_run.h"

namespace rse {
namespace {

TEST(Trainer, AnArmInAComparisonIsBitEqualToTheSameArmAlone) {
  ToyRun together, alone;
  const std::vector<std::string> settings = {"train.seeds=[1, 2]", "model.dropout=0.1",
                                             "train.accumulation=2"};
  together.train(together.config(kTwoArms, settings), "together");
  auto single = settings;
  single[0] = "train.seeds=[2]";
  single.push_back("model.position.method=rse");
  alone.train(alone.config("", single), "alone");
  const auto all = together.trainer->replicas();
  ASSERT_EQ(all.size(), 4u);
  ASSERT_EQ(all[3]->label(), "rse.seed2");
  const Replica& same = *alone.trainer->replicas()[0];
  EXPECT_TRUE(bit_equal(all[3]->weights(), same.weights()));
  EXPECT_TRUE(bit_equal(all[3]->optimizer().state(), same.optimizer().state()));
  EXPECT_EQ(together.summaries[3].validation_nll, alone.summaries[0].validation_nll);
  EXPECT_FALSE(bit_equal(all[1]->weights(), all[3]->weights()));  // another seed
}

TEST(Trainer, SharedParametersStartBitEqual) {
  const ToyRun toy;
  const RunConfig config = toy.config(
      "arms:\n  learned: {model: {position: {method: learned}}}\n  rse: {model: {position: {method: "
      "rse}}}\n");
  Trainer trainer(config, toy.train_file(), toy.valid_file(), torch::kCPU);
  const auto replicas = trainer.replicas();
  std::map<std::string, torch::Tensor> other;
  for (const auto& [name, tensor] : replicas[1]->weights()) other[name] = tensor;
  int shared = 0;
  for (const auto& [name, tensor] : replicas[0]->weights()) {
    if (!other.contains(name)) continue;
    ++shared;
    EXPECT_TRUE(torch::equal(tensor, other[name])) << name;
  }
  EXPECT_GT(shared, 20);
}

TEST(Trainer, OrderOfArmsRotatesAndTheLogShowsIt) {
  EXPECT_EQ(arm_order(0, 2), (std::vector<size_t>{0, 1}));
  EXPECT_EQ(arm_order(1, 2), (std::vector<size_t>{1, 0}));
  EXPECT_EQ(arm_order(4, 3), (std::vector<size_t>{1, 2, 0}));
  ToyRun toy;
  const auto run = toy.train(toy.config(kTwoArms), "run");
  std::vector<std::string> arms;
  for (const auto& line : metric_lines(run, "update")) {
    arms.push_back(line["arm"]);
    EXPECT_EQ(line["order"], (arms.size() - 1) % 2);
    EXPECT_EQ(line["step"], (arms.size() - 1) / 2 + 1);
  }
  EXPECT_THAT(arms, testing::ElementsAre("rope", "rse", "rse", "rope", "rope", "rse", "rse", "rope"));
}

TEST(Trainer, MetricsHoldRatesDecaysAndValidation) {
  ToyRun toy;
  const auto run = toy.train(toy.config(kTwoArms, {"validation.every=2"}), "run");
  const auto updates = metric_lines(run, "update");
  for (const auto& line : updates) {
    EXPECT_GT(line["loss"].get<double>(), 1.0);
    EXPECT_GT(line["grad_norm"].get<double>(), 0.0);
    EXPECT_EQ(line["tokens"], 4 * 32);
    EXPECT_FALSE(line["skipped"].get<bool>());
    EXPECT_EQ(line.contains("decay_learning_rate"), line["arm"] == "rse");
  }
  EXPECT_DOUBLE_EQ(updates[0]["learning_rate"], 0.003 * 0.5);  // the first of two warm-up steps
  const auto decays = metric_lines(run, "decay");
  ASSERT_EQ(decays.size(), 2u);  // at steps 2 and 4 of rse
  EXPECT_EQ(decays[1]["lambda"].size(), 2u);
  EXPECT_EQ(decays[1]["lambda"][0].size(), 2u);
  EXPECT_NEAR(decays[0]["lambda"][1][1].get<double>(), 0.01, 0.01);
  const auto validations = metric_lines(run, "validation");
  ASSERT_EQ(validations.size(), 4u);
  for (const auto& line : validations) EXPECT_EQ(line["targets"], validations[0]["targets"]);
  EXPECT_TRUE(std::filesystem::exists(run / "tensorboard" / "rse.seed1"));
  const auto summary = nlohmann::json::parse(read_file(run / "summary.json"));
  ASSERT_EQ(summary["replicas"].size(), 2u);
  EXPECT_EQ(summary["replicas"][1]["decay_parameters"], 4);
  EXPECT_EQ(summary["replicas"][0]["position_parameters"], 0);
  EXPECT_THAT(summary["notes"][0].get<std::string>(), testing::HasSubstr("still on the unigram plateau"));
  EXPECT_THAT(summary["notes"].back().get<std::string>(), testing::HasSubstr("not enough seeds"));
}

// Returns the gradients of one update with the micro-batches `micro`, in the order of the parameters.
std::vector<torch::Tensor> gradients_of(Replica& replica, const std::vector<TokenBatch>& micro,
                                        int64_t targets) {
  std::vector<DeviceBatch> batches;
  for (const TokenBatch& part : micro) batches.push_back(to_device(part, torch::kCPU));
  replica.backward(0, batches, targets);
  std::vector<torch::Tensor> gradients;
  for (auto& parameter : replica.encoder()->parameters()) {
    gradients.push_back(parameter.grad().clone());
    parameter.mutable_grad().reset();
  }
  return gradients;
}

TEST(Trainer, AccumulationEqualsOneBigBatchAndCountsTargets) {
  const ToyRun toy;
  const RunConfig config = toy.config("", {"model.position.method=rse"});
  Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  const BatchPlan big{{1}, 6, 1, config.base.data.mask};
  const BatchPlan small{{1}, 2, 3, config.base.data.mask};
  const StepBatch whole = make_step_batch(toy.train_file(), sequences, big, 1, 1);
  const StepBatch parts = make_step_batch(toy.train_file(), sequences, small, 1, 1);
  ASSERT_EQ(whole.targets, parts.targets);
  const auto& micro = parts.micro_batches;  // a mean of their means would be wrong
  ASSERT_TRUE(micro[0].targets() != micro[1].targets() || micro[1].targets() != micro[2].targets());
  const auto expected = gradients_of(replica, whole.micro_batches, whole.targets);
  const auto found = gradients_of(replica, parts.micro_batches, parts.targets);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_LT((expected[i] - found[i]).norm().item<double>(), 1e-5 * expected[i].norm().item<double>() + 1e-7)
        << i;
  }
}

TEST(Trainer, BatchesAreAFunctionOfSeedAndStep) {
  const ToyRun toy;
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  const BatchPlan plan{{1, 2}, 4, 2, MaskingConfig{}};
  BatchSource source(toy.train_file(), sequences, plan, 7, 30);
  for (int64_t step = 7; step < 10; ++step) {
    for (const uint64_t seed : plan.seeds) {
      const StepBatch found = source.next();
      const StepBatch expected = make_step_batch(toy.train_file(), sequences, plan, seed, step);
      EXPECT_EQ(found.step, step);
      EXPECT_EQ(found.seed, seed);
      ASSERT_EQ(found.micro_batches.size(), 2u);
      EXPECT_EQ(found.micro_batches[1].input_ids, expected.micro_batches[1].input_ids);
      EXPECT_EQ(found.targets, expected.targets);
    }
  }
}

// The number of a micro-batch in the run determines its sequences and dropout, however updates divide the
// batches.
TEST(Trainer, DrawsAreKeyedByTheGlobalMicroBatch) {
  const ToyRun toy;
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  const BatchPlan pairs{{1}, 4, 2, MaskingConfig{}};
  const StepBatch batch = make_step_batch(toy.train_file(), sequences, pairs, 1, 3);
  EXPECT_EQ(batch.micro_batches[1].input_ids,
            training_batch(toy.train_file(), sequences, MaskingConfig{}, 1, 7 * 4, 4).input_ids);

  const auto loss_of = [&](const char* accumulation, int64_t step) {
    const RunConfig config =
        toy.config("", {"model.dropout=0.3", "train.accumulation=" + std::string(accumulation)});
    Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
    return replica.backward(step, {to_device(batch.micro_batches[0], torch::kCPU)}, 1).item<float>();
  };
  EXPECT_EQ(loss_of("1", 6), loss_of("2", 3));
  EXPECT_EQ(loss_of("1", 6), loss_of("3", 2));
  EXPECT_NE(loss_of("1", 6), loss_of("1", 3));
}

TEST(Trainer, ABatchWithoutTargetsIsNoUpdateOfNaN) {
  const ToyRun toy;
  const RunConfig config = toy.config("", {"model.position.method=rse"});
  Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  MaskingConfig no_targets;
  no_targets.probability = 0.0;
  const StepBatch batch = make_step_batch(toy.train_file(), sequences, {{1}, 2, 1, no_targets}, 1, 0);
  ASSERT_EQ(batch.targets, 0);
  const UpdateResult result =
      replica.read(replica.update(0, {to_device(batch.micro_batches[0], torch::kCPU)}, 0, batch.tokens));
  EXPECT_EQ(result.loss, 0.0);
  EXPECT_FALSE(result.skipped);
  for (const auto& [name, tensor] : replica.weights())
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
}

// Sets every element of `parameter`.
void overwrite(const torch::Tensor& parameter, float value) {
  const torch::NoGradGuard no_grad;
  torch::Tensor(parameter).fill_(value);
}

TEST(Trainer, NonFiniteUpdatesAreSkippedAndFiveInARowEndTheRun) {
  ToyRun toy;
  const RunConfig config = toy.config(kTwoArms, {"train.steps=20"});
  Trainer trainer(config, toy.train_file(), toy.valid_file(), torch::kCPU);
  Replica& poisoned = *trainer.replicas()[1];
  overwrite(poisoned.encoder()->parameters()[0], std::numeric_limits<float>::quiet_NaN());
  const auto run = toy.path("run");
  std::filesystem::create_directories(run);
  EXPECT_THAT([&] { trainer.run(run); }, testing::ThrowsMessage<TrainingFailed>(testing::HasSubstr(
                                             "arm rse, seed 1: loss or gradients were not "
                                             "finite in 5 updates in a row, up to step 5")));
  EXPECT_EQ(poisoned.counters.skipped, 5);
  EXPECT_EQ(trainer.replicas()[0]->counters.skipped, 0);
  for (const auto& [name, tensor] : poisoned.optimizer().state())
    EXPECT_EQ(tensor.abs().sum().item<double>(), 0) << name;
  const auto lines = metric_lines(run, "update");
  EXPECT_TRUE(lines[1]["skipped"].get<bool>());
  EXPECT_TRUE(lines[1]["loss"].is_null());
}

TEST(Trainer, AFiniteUpdateEndsARowOfSkippedOnes) {
  const ToyRun toy;
  const RunConfig config = toy.config("", {"model.position.method=rse"});
  Replica replica(config.arms[0], 1, config.base.train, torch::kCPU);
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  const torch::Tensor head_bias = replica.encoder()->named_parameters()["head_bias"];
  for (int64_t step = 0; step < 6; ++step) {
    const bool poison = step % 3 != 2;
    overwrite(head_bias, poison ? std::numeric_limits<float>::infinity() : 0.0f);
    const StepBatch batch =
        make_step_batch(toy.train_file(), sequences, {{1}, 2, 1, config.base.data.mask}, 1, step);
    const UpdateResult result = replica.read(
        replica.update(step, {to_device(batch.micro_batches[0], torch::kCPU)}, batch.targets, batch.tokens));
    EXPECT_EQ(result.skipped, poison) << step;
  }
  EXPECT_EQ(replica.counters.skipped, 4);
  EXPECT_EQ(replica.counters.skipped_in_a_row, 0);
  EXPECT_EQ(replica.counters.step, 6);
}

TEST(Trainer, LearnsWhatWordFrequenciesDoNotTell) {
  ToyRun toy;
  const RunConfig config =
      toy.config(kTwoArms, {"train.steps=350", "train.batch_size=8", "train.learning_rate=0.01",
                            "train.warmup_steps=20", "logging.every=100"});
  toy.train(config, "run");
  const double entropy = toy.valid_file().unigram_entropy();
  for (const ReplicaSummary& row : toy.summaries) {
    EXPECT_LT(row.validation_nll, kPlateauShare * entropy) << row.arm;
    EXPECT_FALSE(row.on_plateau) << row.arm;
  }
  EXPECT_LT(toy.summaries[1].validation_nll, entropy - 1.0);  // rse
}

TEST(Trainer, Bf16TrainsTheSameModelAboutAsFar) {
  ToyRun wide, narrow;
  wide.train(wide.config("", {"model.position.method=rope"}), "run");
  narrow.train(narrow.config("", {"model.position.method=rope", "train.precision=bf16"}), "run");
  EXPECT_NE(wide.summaries[0].validation_nll, narrow.summaries[0].validation_nll);
  EXPECT_NEAR(wide.summaries[0].validation_nll, narrow.summaries[0].validation_nll, 0.05);
  for (const auto& [name, tensor] : narrow.trainer->replicas()[0]->weights()) {
    EXPECT_EQ(tensor.scalar_type(), torch::kFloat32) << name;
  }
}

}  // namespace
}  // namespace rse
