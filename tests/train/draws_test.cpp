// Tests what the trainer draws: the batches and dropout masks of every (seed, step, micro-batch), against keys
// that are written out here, and that no two are alike.
#include "data/masking.h"
#include "nn/dropout.h"
#include "nn/objective.h"
#include "tests/train/observed_run.h"

namespace rse {
namespace {

// Rates so small that no weight changes: the loss of a step shows what was drawn for it.
const std::vector<std::string> kFrozen = {"train.learning_rate=1e-30",
                                          "train.decay_learning_rate=1e-30",
                                          "train.steps=4",
                                          "train.accumulation=3",
                                          "train.seeds=[5, 6]",
                                          "model.dropout=0.5"};

std::vector<std::string> frozen(const std::string& more) {
  std::vector<std::string> settings = kFrozen;
  settings.push_back(more);
  return settings;
}

// The share of equal elements.
double agreement(const torch::Tensor& a, const torch::Tensor& b) {
  return (a == b).to(torch::kFloat64).mean().item<double>();
}

TEST(Draws, MasksOfTheTrainerDifferByStepMicroBatchSeedAndPlace) {
  const ToyRun toy;
  std::vector<torch::Tensor> masks;
  {
    const RecordedCalls calls("aten::native_dropout_backward");
    observe(toy, toy.config("", frozen("model.position.method=rope")), "run");
    masks = calls.distinct_inputs();
  }
  // 4 steps x 2 seeds x 3 micro-batches x (the embedding and 2 branches of 2 layers); none while validating.
  ASSERT_EQ(masks.size(), 4u * 2 * 3 * 5);
  for (const torch::Tensor& mask : masks) ASSERT_EQ(mask.sizes(), (std::vector<int64_t>{4 * 32, 32}));
  for (size_t i = 0; i < masks.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      // Two independent masks agree in half of their 4,096 elements, with a standard error of 0.008.
      EXPECT_NEAR(agreement(masks[i], masks[k]), 0.5, 0.06) << i << " and " << k;
    }
  }
}

// The key of a mask is (seed, step x accumulation + micro-batch, layer, site).
TEST(Draws, MasksAreThoseOfTheKeysWrittenOutHere) {
  const ToyRun toy;
  const RecordedCalls calls("aten::native_dropout_backward");
  observe(toy, toy.config("", frozen("model.position.method=rope")), "run");
  const std::vector<torch::Tensor> masks = calls.distinct_inputs();
  const auto expect_mask = [&](size_t index, const DropoutKey& key, int64_t layer, DropoutSite site) {
    const torch::Tensor expected = dropout(torch::ones({4 * 32, 32}), 0.5, key, layer, site) != 0;
    EXPECT_TRUE(torch::equal(masks.at(index).to(torch::kBool), expected)) << "mask " << index;
  };
  // A step has 30 masks, a seed 15 of them, and a micro-batch 5.
  expect_mask(0, {5, 0}, 0, DropoutSite::kEmbedding);
  expect_mask(2, {5, 0}, 0, DropoutSite::kFfn);
  expect_mask(5 + 3, {5, 1}, 1, DropoutSite::kAttention);
  expect_mask(15 + 10, {6, 2}, 0, DropoutSite::kEmbedding);
  expect_mask(30, {5, 3}, 0, DropoutSite::kEmbedding);
  expect_mask(2 * 30 + 15 + 5 + 4, {6, 7}, 1, DropoutSite::kFfn);
  expect_mask(3 * 30 + 15 + 10 + 1, {6, 11}, 0, DropoutSite::kAttention);
}

TEST(Draws, ArmsShareTheirMasks) {
  const ToyRun toy;
  const RecordedCalls calls("aten::native_dropout_backward");
  observe(toy, toy.config(kTwoArms, {"model.dropout=0.5", "train.steps=2"}), "run");
  const std::vector<torch::Tensor> masks = calls.distinct_inputs();
  ASSERT_EQ(masks.size(), 2u * 2 * 5);
  for (size_t step = 0; step < 2; ++step) {
    for (size_t place = 0; place < 5; ++place) {
      EXPECT_TRUE(torch::equal(masks[10 * step + place], masks[10 * step + 5 + place]))
          << step << " " << place;
    }
  }
}

// The recorded loss of each step is that of sequences 4 (3 step + micro) to 4 (3 step + micro) + 3 of the seed's
// order, under dropout key 3 step + micro, with all targets of the update weighing the same.
TEST(Draws, LossesAreThoseOfTheStepsOwnBatchesAndMasks) {
  const ToyRun toy;
  const RunConfig config = toy.config("", frozen("model.position.method=rse"));
  const Course course = observe(toy, config, "run");
  for (const auto& [name, tensor] : course.front()[1]) {
    ASSERT_LT(largest_change(tensor, course.back()[1].at(name)), 1e-20) << name << " is not frozen";
  }
  const SequenceSet sequences(toy.train_file(), 32, Packing::kDocument, 8);
  const auto loss_by_hand = [&](uint64_t seed, uint64_t step) {
    Encoder encoder(config.arms[0].model);
    initialize_parameters(*encoder, seed);
    std::vector<TokenBatch> batches;
    double targets = 0, loss = 0;
    for (uint64_t micro = 0; micro < 3; ++micro) {
      batches.push_back(
          training_batch(toy.train_file(), sequences, {0.15, 0.8, 0.1}, seed, 4 * (3 * step + micro), 4));
      targets += static_cast<double>(batches.back().targets());
    }
    for (uint64_t micro = 0; micro < 3; ++micro) {
      const DeviceBatch batch = to_device(batches[micro], torch::kCPU);
      loss += MaskedLmObjective()
                  .loss(*encoder, {batch.input_ids, batch.layout, batch.target_positions, batch.target_ids},
                        1.0 / targets, DropoutKey{seed, 3 * step + micro})
                  .item<double>();
    }
    return loss;
  };
  const auto lines = metric_lines(toy.path("run"), "update");
  ASSERT_EQ(lines.size(), 8u);
  std::set<double> losses;
  for (const nlohmann::json& line : lines) {
    const double loss = line["loss"].get<double>();
    EXPECT_NEAR(loss, loss_by_hand(line["seed"].get<uint64_t>(), line["step"].get<uint64_t>() - 1), 2e-6)
        << line;
    losses.insert(loss);
  }
  EXPECT_EQ(losses.size(), 8u);
}

}  // namespace
}  // namespace rse
