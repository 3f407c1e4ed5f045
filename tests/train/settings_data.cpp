// Checks the keys that decide what is trained on and validated: losses are computed again from batches whose
// settings are written out here and not read from the configuration.
#include <set>

#include "eval/validation.h"
#include "nn/autocast.h"
#include "nn/objective.h"
#include "tests/train/settings_checks.h"
#include "train/run.h"

namespace rse {
namespace {

// The toy's settings (toy_run.h) and the defaults.
struct DataByHand {
  MaskingConfig masking{0.15, 0.8, 0.1};
  int64_t seq_len = 32, batch_size = 4;
  uint64_t accumulation = 1, seed = 1;
  bool bf16 = false;
  int64_t window = 32, piece = 32, pieces = 4;  // of validation
  uint64_t validation_seed = 0;
};

// Rates so small that the model stays as it was initialized.
std::vector<std::string> frozen(std::vector<std::string> settings) {
  settings.insert(settings.end(), {"train.learning_rate=1e-30", "train.decay_learning_rate=1e-30"});
  return settings;
}

Encoder initial_encoder(const RunConfig& config, uint64_t seed) {
  Encoder encoder(config.arms[0].model);
  initialize_parameters(*encoder, seed);
  return encoder;
}

// The loss of the first update on `file`.
double first_loss(const RunConfig& config, const TokenFile& file, const DataByHand& hand) {
  const SequenceSet sequences(file, hand.seq_len, Packing::kDocument, 8);
  Encoder encoder = initial_encoder(config, hand.seed);
  std::vector<TokenBatch> batches;
  double targets = 0, loss = 0;
  for (uint64_t micro = 0; micro < hand.accumulation; ++micro) {
    const uint64_t first = micro * static_cast<uint64_t>(hand.batch_size);
    batches.push_back(training_batch(file, sequences, hand.masking, hand.seed, first, hand.batch_size));
    targets += static_cast<double>(batches.back().targets());
  }
  for (const TokenBatch& micro : batches) {
    const DeviceBatch batch = to_device(micro, torch::kCPU);
    const Bf16Autocast autocast(torch::kCPU, hand.bf16);
    loss += MaskedLmObjective()
                .loss(*encoder, {batch.input_ids, batch.layout, batch.target_positions, batch.target_ids},
                      1.0 / targets, std::nullopt)
                .item<double>();
  }
  return loss;
}

ValidationResult validation(const RunConfig& config, const TokenFile& file, const DataByHand& hand) {
  EvaluationSettings settings;
  settings.masking = hand.masking;
  settings.seed = hand.validation_seed;
  settings.window = hand.window;
  settings.bf16 = hand.bf16;
  return evaluate(initial_encoder(config, hand.seed), EvaluationSet(file, hand.piece, hand.pieces), settings);
}

// Expects the first update's loss of a run with these settings to be the one by hand, and another one than
// with the defaults.
void expect_first_loss(const std::vector<std::string>& settings, const DataByHand& hand) {
  const ToyRun toy;
  const RunConfig config = toy.config("", settings);
  const double found = lines_of_run(toy, settings, "update").at(0)["loss"];
  EXPECT_NEAR(found, first_loss(config, toy.train_file(), hand), 2e-6);
  EXPECT_GT(std::abs(found - first_loss(config, toy.train_file(), {})), 1e-5);
}

// The same for the NLL of the validation at the end. Returns its targets.
int64_t expect_validation(const std::vector<std::string>& settings, const DataByHand& hand) {
  const ToyRun toy;
  const RunConfig config = toy.config("", frozen(settings));
  const auto lines = lines_of_run(toy, frozen(settings), "validation");
  EXPECT_EQ(lines.size(), 1u);
  const double found = lines.at(0)["nll"];
  EXPECT_NEAR(found, validation(config, toy.valid_file(), hand).mean_nll, 2e-6);
  EXPECT_GT(std::abs(found - validation(config, toy.valid_file(), {}).mean_nll), 1e-5);
  return lines.at(0)["targets"].get<int64_t>();
}

void expect_tokens(const std::vector<std::string>& settings, int64_t tokens) {
  const ToyRun toy;
  for (const nlohmann::json& line : lines_of_run(toy, settings, "update")) EXPECT_EQ(line["tokens"], tokens);
}

// Tokens of 30 updates of 4 sequences of up to 24 tokens. The toy has 40 documents of 64 tokens: 24, 24 and 16.
int64_t tokens_of_30_updates(const std::vector<std::string>& more) {
  const ToyRun toy;
  std::vector<std::string> settings = {"data.seq_len=24", "train.steps=30"};
  settings.insert(settings.end(), more.begin(), more.end());
  int64_t tokens = 0;
  for (const nlohmann::json& line : lines_of_run(toy, settings, "update"))
    tokens += line["tokens"].get<int64_t>();
  return tokens;
}

void check_batch_size() {
  DataByHand hand;
  hand.batch_size = 3;
  expect_first_loss({"train.batch_size=3"}, hand);
  expect_tokens({"train.batch_size=3"}, 3 * 32);
}

void check_accumulation() {
  DataByHand hand;
  hand.accumulation = 5;
  expect_first_loss({"train.accumulation=5"}, hand);
  expect_tokens({"train.accumulation=5"}, 5 * 4 * 32);
  const ToyRun toy;
  const RecordedCalls calls("aten::embedding");  // one for each micro-batch, and one of the validation
  lines_of_run(toy, {"train.accumulation=5", "train.steps=2"}, "update");
  EXPECT_EQ(calls.inputs().size(), 2u * 5 + 1);
}

// 12 sequences per update after the ramp, through the multiples of its start below.
void check_ramp_start() {
  DataByHand hand;
  hand.batch_size = 5;
  expect_first_loss({"train.batch_size=6", "train.batch_ramp.start=5", "train.batch_ramp.steps=2"}, hand);
  const ToyRun toy;
  std::vector<int64_t> sequences;
  for (const nlohmann::json& line : lines_of_run(toy,
                                                 {"train.batch_size=6", "train.accumulation=2",
                                                  "train.batch_ramp.start=5", "train.batch_ramp.steps=2"},
                                                 "update")) {
    sequences.push_back(line["tokens"].get<int64_t>() / 32);
  }
  EXPECT_THAT(sequences, testing::ElementsAre(5, 10, 12, 12));
}

void check_ramp_steps() {
  const ToyRun toy;
  std::vector<int64_t> tokens;
  for (const nlohmann::json& line :
       lines_of_run(toy, {"train.batch_ramp.start=2", "train.batch_ramp.steps=3"}, "update")) {
    tokens.push_back(line["tokens"]);
  }
  EXPECT_THAT(tokens, testing::ElementsAre(2 * 32, 2 * 32, 2 * 32, 4 * 32));
}

void check_seeds() {
  const ToyRun toy;
  const RunConfig config = toy.config("", frozen({"train.seeds=[3, 8]"}));
  const Course course = observe(toy, config, "run");
  ASSERT_EQ(course[0].size(), 2u);
  const auto lines = metric_lines(toy.path("run"), "update");
  for (size_t i = 0; i < 2; ++i) {
    DataByHand hand;
    hand.seed = i == 0 ? 3 : 8;
    Encoder expected = initial_encoder(config, hand.seed);
    for (const auto& item : expected->named_parameters()) {
      EXPECT_TRUE(torch::equal(item.value(), course[0][i].at(item.key()))) << item.key();
    }
    EXPECT_EQ(lines.at(i)["seed"], hand.seed);
    EXPECT_NEAR(lines.at(i)["loss"].get<double>(), first_loss(config, toy.train_file(), hand), 2e-6);
  }
}

void check_precision() {
  DataByHand hand;
  hand.bf16 = true;
  expect_first_loss({"train.precision=bf16"}, hand);
  expect_validation({"train.precision=bf16"}, hand);
}

// The trained and the validated file of a run that rse-train starts.
void check_files() {
  const ToyRun toy;
  write_toy_corpus(toy.path("other.bin"), 77);
  const TokenFile other(toy.path("other.bin"));
  std::ofstream(toy.path("toy.yaml")) << toy.yaml();
  TrainCommand command;
  command.config = toy.path("toy.yaml").string();
  for (const char* key : {"data.train", "data.valid"}) {
    command.output = toy.path(key).string();
    command.assignments = frozen({std::string(key) + "=" + toy.path("other.bin").string()});
    ASSERT_EQ(run_train_command(command), 0);
  }
  const RunConfig config = toy.config("");
  const auto first = [&](const char* run, const char* type, const char* value) {
    return metric_lines(toy.path(run), type).at(0)[value].get<double>();
  };
  EXPECT_NEAR(first("data.train", "update", "loss"), first_loss(config, other, {}), 2e-6);
  EXPECT_NEAR(first("data.valid", "update", "loss"), first_loss(config, toy.train_file(), {}), 2e-6);
  EXPECT_NEAR(first("data.train", "validation", "nll"), validation(config, toy.valid_file(), {}).mean_nll,
              2e-6);
  EXPECT_NEAR(first("data.valid", "validation", "nll"), validation(config, other, {}).mean_nll, 2e-6);
}

void check_masking(SettingChecks& checks) {
  checks["data.mask.probability"] = [] {
    DataByHand hand;
    hand.masking.probability = 1.0;  // every token is a target: 4 pieces of 32 tokens
    expect_first_loss({"data.mask.probability=1"}, hand);
    EXPECT_EQ(expect_validation({"data.mask.probability=1"}, hand), 4 * 32);
  };
  checks["data.mask.mask_share"] = [] {
    DataByHand hand;
    hand.masking.mask_share = 0.1;
    expect_first_loss({"data.mask.mask_share=0.1"}, hand);
    expect_validation({"data.mask.mask_share=0.1"}, hand);
  };
  checks["data.mask.random_share"] = [] {
    DataByHand hand;
    hand.masking = {0.15, 0.1, 0.9};
    expect_first_loss({"data.mask.mask_share=0.1", "data.mask.random_share=0.9"}, hand);
    expect_validation({"data.mask.mask_share=0.1", "data.mask.random_share=0.9"}, hand);
  };
}

// Tokens of each forward pass of the validation of 4 pieces of 32 tokens.
std::vector<int64_t> passes_of_validation(const std::string& batch_tokens) {
  const ToyRun toy;
  const RecordedCalls calls("aten::embedding");
  lines_of_run(toy, {"train.steps=1", "validation.batch_tokens=" + batch_tokens}, "validation");
  std::vector<int64_t> passes;
  for (const torch::Tensor& ids : calls.inputs()) passes.push_back(ids.numel());
  EXPECT_EQ(passes.at(0), 4 * 32);  // the update
  return {passes.begin() + 1, passes.end()};
}

void check_validation(SettingChecks& checks) {
  checks["validation.every"] = [] {
    const ToyRun toy;
    const auto steps = [&](const char* every) {
      return steps_of(lines_of_run(toy, {"train.steps=8", every}, "validation"));
    };
    EXPECT_THAT(steps("validation.every=3"), testing::ElementsAre(3, 6, 8));
    EXPECT_THAT(steps("validation.every=0"), testing::ElementsAre(8));
  };
  checks["validation.length"] = [] {
    DataByHand hand;
    hand.window = hand.piece = 16;
    expect_validation({"validation.length=16"}, hand);
  };
  checks["validation.piece_tokens"] = [] {
    DataByHand hand;
    hand.piece = 64;
    hand.masking.probability = 1.0;
    EXPECT_EQ(expect_validation({"validation.piece_tokens=64", "data.mask.probability=1"}, hand), 4 * 64);
  };
  checks["validation.pieces"] = [] {
    DataByHand hand;
    hand.pieces = 3;
    hand.masking.probability = 1.0;
    EXPECT_EQ(expect_validation({"validation.pieces=3", "data.mask.probability=1"}, hand), 3 * 32);
  };
  checks["validation.seed"] = [] {
    DataByHand hand;
    hand.validation_seed = 9;
    expect_validation({"validation.seed=9"}, hand);
  };
  checks["validation.mask_rate"] = [] {
    DataByHand hand;
    hand.masking.probability = 0.5;
    expect_validation({"validation.mask_rate=0.5"}, hand);
    // The rate of training is another matter: the same questions are asked at either.
    const ToyRun toy;
    const auto nll = [&](const char* rate) {
      return lines_of_run(toy, frozen({rate, "validation.mask_rate=0.15"}), "validation").at(0);
    };
    EXPECT_EQ(nll("data.mask.probability=0.3"), nll("data.mask.probability=0.15"));
    DataByHand training;
    training.masking.probability = 0.3;
    expect_first_loss({"data.mask.probability=0.3", "validation.mask_rate=0.15"}, training);
  };
  checks["validation.batch_tokens"] = [] {
    EXPECT_THAT(passes_of_validation("16384"), testing::ElementsAre(128));
    EXPECT_THAT(passes_of_validation("64"), testing::ElementsAre(64, 64));
    EXPECT_THAT(passes_of_validation("1"), testing::ElementsAre(32, 32, 32, 32));  // a piece at least
  };
}

}  // namespace

SettingChecks data_checks() {
  SettingChecks checks;
  checks["train.batch_size"] = check_batch_size;
  checks["train.accumulation"] = check_accumulation;
  checks["train.batch_ramp.start"] = check_ramp_start;
  checks["train.batch_ramp.steps"] = check_ramp_steps;
  checks["train.seeds"] = check_seeds;
  checks["train.precision"] = check_precision;
  checks["data.train"] = checks["data.valid"] = check_files;
  checks["data.seq_len"] = [] {
    DataByHand hand;
    hand.seq_len = 16;
    expect_first_loss({"data.seq_len=16"}, hand);
    expect_tokens({"data.seq_len=16"}, 4 * 16);
  };
  checks["data.packing"] = [] {
    EXPECT_EQ(tokens_of_30_updates({"data.packing=document"}), 40 * 64);  // every token once
    EXPECT_EQ(tokens_of_30_updates({"data.packing=packed"}), 30 * 4 * 24);
  };
  checks["data.min_tokens"] = [] {
    EXPECT_EQ(tokens_of_30_updates({"data.min_tokens=16"}), 40 * 64);
    EXPECT_EQ(tokens_of_30_updates({"data.min_tokens=17"}), 30 * 4 * 24);  // those of 16 are left out
  };
  check_masking(checks);
  check_validation(checks);
  return checks;
}

}  // namespace rse
