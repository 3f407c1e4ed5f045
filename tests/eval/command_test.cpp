// Tests rse-eval as a function: its results, its selections, and errors that leave nothing behind.
#include "eval/command.h"

#include <fstream>
#include <map>

#include "core/logging.h"
#include "eval/validation.h"
#include "formats/safetensors.h"
#include "nn/position/learned.h"
#include "run/trained_run.h"
#include "run/weights.h"
#include "tests/eval/toy_evaluation.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<json> result_lines(const fs::path& folder) {
  std::vector<json> rows;
  std::ifstream file(folder / "results.jsonl");
  for (std::string line; std::getline(file, line);) rows.push_back(json::parse(line));
  return rows;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

class EvalCommandTest : public testing::Test {
 protected:
  void SetUp() override { init_logging("error"); }
  // Runs the command after `change` was made to its flags, and returns the rows.
  std::vector<json> rows_with(const std::function<void(EvalCommand&)>& change) {
    EvalCommand command = toy_.command();
    command.output = toy_.toy.path(fmt::format("out{}", ++outputs_)).string();
    change(command);
    EXPECT_EQ(run_eval_command(command), kExitOk);
    return result_lines(command.output);
  }
  void expect_error(const std::function<void(EvalCommand&)>& change, const std::string& message) {
    EvalCommand command = toy_.command();
    change(command);
    const auto before = toy_.files();
    EXPECT_THAT([&] { run_eval_command(command); }, ThrowsUserError(message)) << message;
    EXPECT_EQ(toy_.files(), before) << message;
  }
  ToyEvaluation toy_;
  int outputs_ = 0;
};

TEST_F(EvalCommandTest, WritesARowForEveryReplicaLengthAttentionAndDocument) {
  EvalCommand command = toy_.command();
  command.save_targets = true;
  const auto before = toy_.files();
  EXPECT_EQ(run_eval_command(command), kExitOk);
  const fs::path folder = toy_.run() / "evaluation-1";
  std::set<std::string> made = toy_.files();
  for (const std::string& file : before) made.erase(file);
  EXPECT_EQ(made, (std::set<std::string>{folder, folder / "results.jsonl", folder / "results.csv",
                                         folder / "evaluation.json", folder / "targets.safetensors"}));

  const auto rows = result_lines(folder);
  ASSERT_EQ(rows.size(), static_cast<size_t>(3 * 2 * 6 * kToyDocuments));
  EXPECT_EQ(rows.front()["arm"], "learned");
  EXPECT_EQ(rows.front()["seed"], 3);  // arms and seeds come in the order of the run
  EXPECT_EQ(rows.back()["arm"], "rse");
  EXPECT_EQ(rows.back()["seed"], 1);
  std::map<std::string, int> replicas;
  for (const json& row : rows) {
    ++replicas[fmt::format("{}.seed{}", row["arm"].get<std::string>(), row["seed"].get<int>())];
    const bool control = row["attention"] == "control";
    EXPECT_EQ(row["attention_window"], control ? 16 : 0);
    if (row["length"] == 32 && !control) {
      EXPECT_EQ(row["nll_difference"], 0.0);
    }
    EXPECT_GT(row["targets"], 10);
    EXPECT_GT(row["nll"], 1.0);
  }
  EXPECT_EQ(replicas.size(), 6u);

  const auto table = lines_of(folder / "results.csv");
  ASSERT_EQ(table.size(), rows.size() + 1);
  EXPECT_EQ(table[0], "arm,seed,length,attention,attention_window,document,targets,nll,nll_difference");
  EXPECT_THAT(table[1], testing::StartsWith("learned,3,32,full,0,0,"));

  // Every row can be computed again from the losses that were saved.
  const auto saved = read_safetensors(folder / "targets.safetensors").tensors;
  EXPECT_TRUE(torch::equal(saved.at("lengths"), torch::tensor({32, 64, 128, 32, 64, 128}, torch::kInt64)));
  EXPECT_TRUE(
      torch::equal(saved.at("attention_windows"), torch::tensor({0, 0, 0, 16, 16, 16}, torch::kInt64)));
  EXPECT_EQ(saved.at("offsets").sizes(), saved.at("documents").sizes());
  for (size_t r = 0; r < rows.size(); ++r) {
    const torch::Tensor nll =
        saved.at(fmt::format("nll.{}.seed{}", rows[r]["arm"].get<std::string>(), rows[r]["seed"].get<int>()));
    const torch::Tensor in_document = saved.at("documents") == rows[r]["document"].get<int64_t>();
    const auto setting = static_cast<int64_t>(r / kToyDocuments % 6);
    const torch::Tensor here = nll[setting].index({in_document}).to(torch::kFloat64);
    EXPECT_EQ(here.numel(), rows[r]["targets"].get<int64_t>());
    EXPECT_NEAR(here.mean().item<double>(), rows[r]["nll"].get<double>(), 1e-9);
    EXPECT_NEAR((here - nll[0].index({in_document}).to(torch::kFloat64)).mean().item<double>(),
                rows[r]["nll_difference"].get<double>(), 1e-9);
  }
}

TEST_F(EvalCommandTest, EvaluationJsonSaysWhatWasDone) {
  EvalCommand command = toy_.command();
  command.program = "rse-eval test";
  EXPECT_EQ(run_eval_command(command), kExitOk);
  const json all = json::parse(read_file(toy_.run() / "evaluation-1" / "evaluation.json"));
  const json& protocol = all["protocol"];
  EXPECT_EQ(protocol["program"], "rse-eval test");
  EXPECT_EQ(protocol["step"], 4);
  EXPECT_EQ(protocol["trained_length"], 32);
  EXPECT_EQ(protocol["lengths"], (std::vector<int>{32, 64, 128}));
  EXPECT_EQ(protocol["control_window"], 16);
  EXPECT_EQ(protocol["beyond"], "tile");
  EXPECT_EQ(protocol["pieces"], 2 * kToyDocuments);
  EXPECT_EQ(all["replicas"].size(), 6u);
  ASSERT_EQ(all["costs"].size(), 3u);
  EXPECT_GT(all["costs"][0]["step_ms_median"], 0.0);  // from the run's summary.json
  ASSERT_EQ(all["decay"].size(), 2u);                 // of the replicas of RSE
  EXPECT_EQ(all["decay"][0]["lambda"].size(), 2u);
  EXPECT_EQ(all["configuration"], read_file(toy_.checkpoint() / "config.yaml"));
}

TEST_F(EvalCommandTest, MeasuresTheWeightsThatWereTrained) {
  const auto rows = rows_with([](EvalCommand&) {});
  const TokenFile file(toy_.data());
  const EvaluationSet set(file, 128, 0);
  EvaluationSettings settings;
  settings.window = 32;
  for (Replica* replica : toy_.toy.trainer->replicas()) {
    const ValidationResult expected = evaluate(replica->encoder(), set, settings);
    double sum = 0;
    int64_t targets = 0;
    for (const json& row : rows) {
      if (row["arm"] != replica->arm().name || row["seed"] != replica->seed() || row["length"] != 32 ||
          row["attention"] != "full") {
        continue;
      }
      sum += row["nll"].get<double>() * row["targets"].get<double>();
      targets += row["targets"].get<int64_t>();
    }
    EXPECT_EQ(targets, expected.targets);
    EXPECT_NEAR(sum / static_cast<double>(targets), expected.mean_nll, 1e-6) << replica->label();
  }
}

TEST_F(EvalCommandTest, SelectsArmsSeedsStepsAndTargets) {
  const auto total = [](const std::vector<json>& rows) {  // targets at the first length
    int64_t targets = 0;
    for (const json& row : rows) {
      if (row["length"] == rows[0]["length"] && row["attention"] == "full")
        targets += row["targets"].get<int64_t>();
    }
    return targets;
  };
  const auto one = rows_with([](EvalCommand& c) { c.arms = "rse", c.seeds = "1", c.control = false; });
  ASSERT_EQ(one.size(), static_cast<size_t>(3 * kToyDocuments));
  for (const json& row : one)
    EXPECT_TRUE(row["arm"] == "rse" && row["seed"] == 1 && row["attention"] == "full");

  const auto both = rows_with([](EvalCommand& c) { c.arms = "rse,rope", c.seeds = "1", c.control = false; });
  EXPECT_EQ(both.front()["arm"], "rope");  // in the order of the run
  EXPECT_EQ(std::vector<json>(both.begin() + 3 * kToyDocuments, both.end()), one);

  const auto earlier =
      rows_with([](EvalCommand& c) { c.arms = "rse", c.seeds = "1", c.control = false, c.step = 2; });
  ASSERT_EQ(earlier.size(), one.size());
  EXPECT_NE(earlier[0]["nll"], one[0]["nll"]);

  for (const char* arm : {"rope", "rse"}) {
    EXPECT_EQ(total(rows_with([&](EvalCommand& c) { c.arms = arm, c.seeds = "3", c.max_targets = 17; })), 17);
  }
  const auto masked = rows_with([](EvalCommand& c) { c.arms = "rse", c.seeds = "1", c.mask_seed = 5; });
  EXPECT_NE(masked[0]["nll"], one[0]["nll"]);
  const auto first = rows_with([](EvalCommand& c) { c.arms = "rse", c.seeds = "1", c.first_pieces = 1; });
  EXPECT_EQ(first.size(), 6u);
  EXPECT_EQ(first[0]["document"], 0);
  const auto spread = rows_with([](EvalCommand& c) { c.arms = "rse", c.seeds = "1", c.pieces = 1; });
  EXPECT_EQ(spread[0]["document"], kToyDocuments / 2);
}

TEST_F(EvalCommandTest, TheTrainedLengthIsAlwaysAmongTheLengths) {
  const auto lengths = [&](std::optional<std::string> list) {
    std::set<int64_t> found;
    for (const json& row : rows_with([&](EvalCommand& c) { c.arms = "rse", c.lengths = list; })) {
      found.insert(row["length"].get<int64_t>());
    }
    return found;
  };
  EXPECT_EQ(lengths("128,64"), (std::set<int64_t>{32, 64, 128}));
  EXPECT_EQ(lengths(std::nullopt), (std::set<int64_t>{32, 64, 128, 256}));
  write_toy_corpus(toy_.data(), 13, 3, 140);  // too short for length 256
  EXPECT_EQ(lengths(std::nullopt), (std::set<int64_t>{32, 64, 128}));
}

TEST_F(EvalCommandTest, Bfloat16IsClose) {
  const auto wide = rows_with([](EvalCommand& c) { c.precision = "float32"; });
  const auto narrow = rows_with([](EvalCommand& c) { c.precision = "bf16"; });
  ASSERT_EQ(narrow.size(), wide.size());
  EXPECT_NE(narrow[0]["nll"], wide[0]["nll"]);
  for (size_t i = 0; i < wide.size(); ++i) {
    EXPECT_NEAR(narrow[i]["nll"].get<double>(), wide[i]["nll"].get<double>(), 0.05);
  }
}

TEST_F(EvalCommandTest, BadFlagsEndBeforeAnythingIsWritten) {
  using C = EvalCommand;
  expect_error(
      [](C& c) { c.beyond = ""; },
      "arm learned: its position table has 32 rows, the longest length is 128: expected --beyond clamp");
  expect_error([](C& c) { c.beyond = "wrap"; }, "--beyond: 'wrap': expected one of clamp, tile, interpolate");
  expect_error([](C& c) { c.lengths = "48,128"; }, "lengths: '48': expected a divisor of the longest (128)");
  expect_error([](C& c) { c.lengths = "64,80"; }, "lengths: '32': expected a divisor of the longest (80)");
  expect_error([](C& c) { c.lengths = ""; }, "--lengths: ''");
  expect_error([](C& c) { c.lengths = "32,,64"; }, "--lengths: '32,,64'");
  expect_error([](C& c) { c.lengths = "64,x"; }, "--lengths: 'x': expected whole numbers");
  expect_error([](C& c) { c.lengths = "64,64"; }, "lengths: '64' after '64'");
  expect_error([](C& c) { c.lengths = "32,512"; }, "longest document has 300 tokens");
  expect_error([](C& c) { c.arms = "rsee"; },
               "--arms: 'rsee': expected some of the run's: learned, rope, rse");
  expect_error([](C& c) { c.arms = ""; }, "--arms: ''");
  expect_error([](C& c) { c.seeds = "2"; }, "--seeds: '2': expected some of the run's: 3, 1");
  expect_error([](C& c) { c.step = 3; }, "no complete checkpoint of step 3: expected one of 2, 4");
  expect_error([](C& c) { c.max_targets = 0; }, "--max-targets: '0'");
  expect_error([](C& c) { c.pieces = -1; }, "--pieces: '-1'");
  expect_error([](C& c) { c.pieces = 1, c.first_pieces = 1; }, "--first-pieces: '1': expected one of");
  expect_error([](C& c) { c.batch_tokens = 0; }, "--batch-tokens: '0'");
  expect_error([](C& c) { c.mask_seed = -1; }, "--mask-seed: '-1'");
  expect_error([](C& c) { c.mask_rate = 0.0; }, "--mask-rate: '0'");
  expect_error([](C& c) { c.mask_rate = 1.5; }, "--mask-rate: '1.5'");
  expect_error([](C& c) { c.threads = -1; }, "--threads: '-1'");
  expect_error([](C& c) { c.device = "gpu"; }, "--device: 'gpu': expected one of auto, cpu, cuda");
  if (!torch::cuda::is_available()) {
    expect_error([](C& c) { c.device = "cuda"; }, "--device: 'cuda': no CUDA device");
  }
  expect_error([](C& c) { c.precision = "half"; },
               "--precision: 'half': expected one of auto, float32, bf16");
  expect_error([&](C& c) { c.output = toy_.run().string() + "/"; }, "is there already");
  expect_error([&](C& c) { c.output = (toy_.data() / "below").string(); },
               "not a folder that may be written to");
  expect_error([](C& c) { c.data = ""; }, "--data: ''");
  expect_error([](C& c) { c.data = "none.bin"; }, "--data: 'none.bin' does not exist");
}

TEST_F(EvalCommandTest, RowsBeyondTheTrainedLengthCountAsMissing) {
  TrainedRun run;
  run.config = toy_.toy.config("arms: {learned: {model: {position: {method: learned}}}}",
                               {"data.seq_len=16", "model.position.learned.max_positions=64"});
  EvalCommand command = toy_.command();
  command.lengths = "16,64";
  command.beyond = "";
  const TokenFile file(toy_.data());
  EXPECT_THAT([&] { make_eval_plan(command, run, file); },
              ThrowsUserError("arm learned: its position table has 16 rows that were trained (of 64), the "
                              "longest length is 64: expected --beyond clamp"));
  command.beyond = "tile";
  const EvalPlan plan = make_eval_plan(command, run, file);
  EXPECT_EQ(plan.beyond, "tile");
  EXPECT_EQ(plan.arms.at(0).model.position.keys<LearnedPositionConfig>().trained_positions, 16);
}

TEST_F(EvalCommandTest, MoreSeedsThanATestCanHoldAreRefusedAtOnce) {
  std::string seeds = "1";
  for (int seed = 2; seed <= 21; ++seed) seeds += fmt::format(", {}", seed);
  TrainedRun run;
  run.config = toy_.toy.config("arms: {a: {}, b: {model: {position: {method: rope}}}}",
                               {"train.seeds=[" + seeds + "]"});
  EvalCommand command = toy_.command();
  const TokenFile file(toy_.data());
  EXPECT_THAT([&] { make_eval_plan(command, run, file); },
              ThrowsUserError("--seeds: 21 of them: expected at most 20"));
  command.arms = "a";
  EXPECT_EQ(make_eval_plan(command, run, file).replicas.size(), 21u);
}

TEST_F(EvalCommandTest, CostsAreOfTheSeedsThatWereEvaluated) {
  const json summary = json::parse(read_file(toy_.run() / "summary.json"));
  EvalCommand command = toy_.command();
  command.arms = "rse";
  command.seeds = "1";
  EXPECT_EQ(run_eval_command(command), kExitOk);
  const json cost = json::parse(read_file(toy_.run() / "evaluation-1" / "evaluation.json"))["costs"][0];
  EXPECT_EQ(cost["device"], summary["device"]);
  for (const json& row : summary["replicas"]) {
    if (row["arm"] != "rse" || row["seed"] != 1) continue;
    EXPECT_EQ(cost["step_ms_median"], row["step_ms_median"]);
  }
}

TEST_F(EvalCommandTest, AnOddTrainedLengthHasNoControl) {
  TrainedRun run;
  run.config = toy_.toy.config("", {"data.seq_len=31"});
  EvalCommand command = toy_.command();
  command.lengths = "31,62";
  const TokenFile file(toy_.data());
  EXPECT_THAT([&] { make_eval_plan(command, run, file); }, ThrowsUserError("data.seq_len of the run: '31'"));
  command.control = false;
  EXPECT_EQ(make_eval_plan(command, run, file).protocol.control_window, 0);
}

TEST_F(EvalCommandTest, MasksAndPrecisionAreThoseOfTheRunWhereNoFlagSaysOtherwise) {
  TrainedRun run;
  run.config =
      toy_.toy.config("", {"data.mask.probability=0.3", "data.mask.mask_share=0.5",
                           "data.mask.random_share=0.25", "validation.seed=9", "train.precision=bf16"});
  EvalCommand command = toy_.command();
  const TokenFile file(toy_.data());
  const EvalPlan plan = make_eval_plan(command, run, file);
  EXPECT_EQ(plan.protocol.masking,
            (MaskingConfig{.probability = 0.3, .mask_share = 0.5, .random_share = 0.25}));
  EXPECT_EQ(plan.protocol.seed, 9u);
  command.mask_rate = 0.2;
  EXPECT_EQ(make_eval_plan(command, run, file).protocol.masking,
            (MaskingConfig{.probability = 0.2, .mask_share = 0.5, .random_share = 0.25}));
  command.mask_rate.reset();
  run.config.base.validation.mask_rate = 0.15;
  EXPECT_EQ(make_eval_plan(command, run, file).protocol.masking.probability, 0.15);
  EXPECT_EQ(plan.protocol.control_window, 16);
  EXPECT_EQ(plan.train.precision, Precision::kBf16);
  command.mask_seed = 5;
  command.precision = "float32";
  EXPECT_EQ(make_eval_plan(command, run, file).protocol.seed, 5u);
  EXPECT_EQ(make_eval_plan(command, run, file).train.precision, Precision::kFloat32);
}

TEST_F(EvalCommandTest, ARunThatGoesOnMayRemoveTheCheckpointMeanwhile) {
  const TrainedRun run = open_trained_run(toy_.run(), std::nullopt);
  const ArmConfig& arm = run.config.arms.at(2);
  const NamedTensors before = weights_of(*load_encoder(run, "rse", 1, arm.model, torch::kCPU));
  remove_tree(run.checkpoint);
  const NamedTensors after = weights_of(*load_encoder(run, "rse", 1, arm.model, torch::kCPU));
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(torch::equal(after[i].second, before[i].second));
  EXPECT_EQ(open_trained_run(toy_.run(), std::nullopt).state.step, 2);
}

TEST_F(EvalCommandTest, DamagedOrForeignFilesAreNamed) {
  const auto plain = [](EvalCommand&) {};
  expect_error([&](EvalCommand& c) { c.run = toy_.toy.path("").string(); },
               "not a run folder (no config.yaml in it)");
  TokenFileWriter other(toy_.toy.path("other.bin"), "another tokenizer", kToyVocabulary);
  other.add_document(std::vector<int>(300, 7));
  other.finish();
  expect_error([&](EvalCommand& c) { c.data = toy_.toy.path("other.bin").string(); }, "other.bin: tokenizer");

  const fs::path model = toy_.checkpoint() / "rse.seed1.model.safetensors";
  std::string bytes = read_file(model);
  bytes[bytes.size() / 2] ^= 1;
  write_file_atomically(model, bytes);
  expect_error(plain, "rse.seed1.model.safetensors: checksum");
  fs::remove(model);
  expect_error(plain, "rse.seed1.model.safetensors: missing");
  for (const char* step : {"step-2", "step-4"}) fs::remove(toy_.run() / "checkpoints" / step / "COMPLETE");
  expect_error(plain, "no complete checkpoint in it");
}

TEST_F(EvalCommandTest, DamagedTokensAreNamed) {
  std::string bytes = read_file(toy_.data());
  bytes[bytes.size() - 200] ^= 1;
  write_file_atomically(toy_.data(), bytes);
  expect_error([](EvalCommand&) {}, "test.bin: damaged tokens");
}

}  // namespace
}  // namespace rse
