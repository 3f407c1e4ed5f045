// Tests the combination of evaluations of different seeds: it equals an evaluation of all seeds together, and
// evaluations that do not belong together are refused.
#include "eval/combine.h"

#include "core/logging.h"
#include "eval/command.h"
#include "tests/eval/toy_evaluation.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class CombineTest : public testing::Test {
 protected:
  void SetUp() override { init_logging("error"); }

  // Evaluates these seeds and returns the folder of the evaluation.
  std::string evaluated(const std::string& seeds, const std::function<void(EvalCommand&)>& change = {}) {
    EvalCommand command = toy_.command();
    command.seeds = seeds;
    command.save_targets = true;
    command.output = toy_.toy.path(fmt::format("out{}", ++outputs_)).string();
    if (change) change(command);
    EXPECT_EQ(run_eval_command(command), kExitOk);
    return command.output;
  }
  EvalCommand combining(std::vector<std::string> folders) {
    EvalCommand command;
    command.combine = std::move(folders);
    command.output = toy_.toy.path(fmt::format("out{}", ++outputs_)).string();
    command.save_targets = true;
    command.report = false;
    return command;
  }
  void expect_error(const EvalCommand& command, const std::string& message) {
    const auto before = toy_.files();
    EXPECT_THAT([&] { run_eval_command(command); }, ThrowsUserError(message)) << message;
    EXPECT_EQ(toy_.files(), before) << message;
  }
  static json evaluation(const std::string& folder) {
    return json::parse(read_file(fs::path(folder) / "evaluation.json"));
  }
  static void edit(const std::string& folder, const std::function<void(json&)>& change) {
    json changed = evaluation(folder);
    change(changed);
    write_file_atomically(fs::path(folder) / "evaluation.json", changed.dump());
  }

  ToyEvaluation toy_;
  int outputs_ = 0;
};

TEST_F(CombineTest, EqualsAnEvaluationOfAllSeedsAtOnce) {
  const std::string together = evaluated("3,1");
  const EvalCommand command = combining({evaluated("3"), evaluated("1")});
  EXPECT_EQ(run_eval_command(command), kExitOk);
  for (const char* file : {"results.jsonl", "results.csv", "targets.safetensors"}) {
    EXPECT_EQ(read_file(fs::path(command.output) / file), read_file(fs::path(together) / file)) << file;
  }
  const json expected = evaluation(together), found = evaluation(command.output);
  for (const char* part : {"comparisons", "findings", "configuration"}) {
    ASSERT_TRUE(expected.contains(part)) << part;
    EXPECT_EQ(found[part], expected[part]) << part;
  }
  EXPECT_EQ(found["decay"].size(), 2u);
  EXPECT_EQ(found["protocol"]["targets"], expected["protocol"]["targets"]);
  EXPECT_GT(found["costs"][0]["step_ms_median"], 0.0);
}

TEST_F(CombineTest, WhatDoesNotBelongTogetherIsRefused) {
  const std::string three = evaluated("3"), one = evaluated("1");
  expect_error(combining({three}), "--combine: 1 folders: expected at least two");
  expect_error(combining({three, toy_.run().string()}), "no evaluation.json there");
  expect_error(combining({three, three}), "arm learned, seed 3: expected each once");
  expect_error(combining({three, evaluated("1", [](EvalCommand& c) { c.beyond = "clamp"; })}),
               "protocol.beyond: ");
  expect_error(combining({three, evaluated("1", [](EvalCommand& c) { c.mask_seed = 5; })}),
               "protocol.masking");
  expect_error(combining({three, evaluated("1", [](EvalCommand& c) { c.step = 2; })}), "protocol.step: 2");
  expect_error(combining({three, evaluated("1", [](EvalCommand& c) { c.save_targets = false; })}),
               "targets.safetensors: missing");
  expect_error(combining({three, evaluated("1", [](EvalCommand& c) { c.arms = "learned,rse"; })}),
               "arms 'learned, rse', expected 'learned, rope, rse'");

  EvalCommand beside = combining({three, one});
  beside.run = toy_.run().string();
  expect_error(beside, "expected neither --run nor --data beside it");
  EvalCommand nowhere = combining({three, one});
  nowhere.output.clear();
  expect_error(nowhere, "--output: ''");

  edit(one, [](json& all) {
    std::string configuration = all["configuration"];
    const size_t at = configuration.find("learning_rate: ");
    ASSERT_NE(at, std::string::npos);
    configuration.insert(at + std::string("learning_rate: ").size(), "1");
    all["configuration"] = configuration;
  });
  expect_error(combining({three, one}), "configuration: train.learning_rate: ");
}

TEST_F(CombineTest, TheSameDataMayHaveAnotherName) {
  const std::string copy = toy_.toy.path("copy.bin").string();
  fs::copy_file(toy_.data(), copy);
  const std::string three = evaluated("3");
  EXPECT_EQ(run_eval_command(combining({three, evaluated("1", [&](EvalCommand& c) { c.data = copy; })})),
            kExitOk);
}

TEST_F(CombineTest, CostsFromDifferentDevicesAreNotAveraged) {
  const std::string three = evaluated("3"), one = evaluated("1");
  edit(one, [](json& all) {
    for (json& cost : all["costs"]) cost["device"] = "another";
  });
  const EvalCommand command = combining({three, one});
  EXPECT_EQ(run_eval_command(command), kExitOk);
  const json cost = evaluation(command.output)["costs"][0];
  EXPECT_EQ(cost["device"], "");
  EXPECT_TRUE(cost["step_ms_median"].is_null());
  EXPECT_GT(cost["parameters"], 0);
}

TEST_F(CombineTest, FoldersThatContradictThemselvesAreRefused) {
  const std::string three = evaluated("3"), one = evaluated("1");
  const std::string intact = read_file(fs::path(one) / "evaluation.json");
  const auto expect_with = [&](const char* key, const json& value, const std::string& message) {
    write_file_atomically(fs::path(one) / "evaluation.json", intact);
    edit(one, [&](json& all) { all["protocol"][key] = value; });
    expect_error(combining({one, three}), message);
  };
  expect_with("trained_length", 48, "the trained length among the lengths");
  expect_with("lengths", json::array(), "the settings that evaluation.json names");
  expect_with("lengths", json::array({32, 64, -128}), "lengths of at least 1");
  expect_with("pieces", -5, "at least one piece");
  expect_with("unigram_entropy", 0, "a unigram entropy above 0");
  expect_with("targets", 1, "as many targets as evaluation.json says");
  expect_with("masking", {{"seed", -1}}, "a seed of the masks of at least 0");
  write_file_atomically(fs::path(one) / "evaluation.json", intact);
  edit(one, [](json& all) { all["costs"] = json::array(); });
  expect_error(combining({one, three}), "the costs of every arm");
  write_file_atomically(fs::path(one) / "evaluation.json", intact);
  edit(one, [](json& all) { all["replicas"] = json::array(); });
  expect_error(combining({one, three}), "at least one replica");
}

TEST_F(CombineTest, DamagedFoldersAreNamed) {
  const std::string three = evaluated("3"), one = evaluated("1");
  const std::string intact = read_file(fs::path(one) / "evaluation.json");
  edit(one, [](json& all) { all["format"] = 2; });
  expect_error(combining({three, one}), "evaluation.json: expected an evaluation of format 1");
  for (const char* key : {"protocol", "arms", "replicas", "costs", "decay", "configuration"}) {
    write_file_atomically(fs::path(one) / "evaluation.json", intact);
    edit(one, [&](json& all) { all.erase(key); });
    expect_error(combining({three, one}), "evaluation.json: not an evaluation as rse-eval writes it");
    edit(one, [&](json& all) { all[key] = 7; });
    expect_error(combining({three, one}), one);
  }
  write_file_atomically(fs::path(one) / "evaluation.json", intact.substr(0, intact.size() / 2));
  expect_error(combining({three, one}), "evaluation.json: expected an evaluation of format 1");
  write_file_atomically(fs::path(one) / "evaluation.json", intact);
  fs::resize_file(fs::path(one) / "targets.safetensors", 3000);
  expect_error(combining({three, one}), "targets.safetensors: ");
}

}  // namespace
}  // namespace rse
