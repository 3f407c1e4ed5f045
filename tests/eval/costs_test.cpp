// Tests the costs of an evaluation: medians over the evaluated seeds of what training measured, by hand.
#include "core/logging.h"
#include "eval/command.h"
#include "tests/eval/toy_evaluation.h"

namespace rse {
namespace {

using nlohmann::json;

class Costs : public testing::Test {
 protected:
  void SetUp() override { init_logging("error"); }

  // The costs of each arm in evaluation.json, after training is made to have measured `measured(arm, seed)`.
  std::map<std::string, json> costs(const std::function<json(const std::string&, int)>& measured,
                                    const std::string& seeds = "") {
    json summary = json::parse(read_file(toy_.run() / "summary.json"));
    for (json& row : summary["replicas"]) row.update(measured(row["arm"], row["seed"]));
    write_file_atomically(toy_.run() / "summary.json", summary.dump());
    EvalCommand command = toy_.command();
    command.lengths = "32";
    if (!seeds.empty()) command.seeds = seeds;
    command.output = toy_.toy.path("out" + seeds).string();
    EXPECT_EQ(run_eval_command(command), kExitOk);
    std::map<std::string, json> costs;
    const json all = json::parse(read_file(toy_.toy.path("out" + seeds) / "evaluation.json"));
    for (const json& cost : all["costs"]) costs[cost["arm"]] = cost;
    return costs;
  }

  static json figures(const std::string& arm, int seed) {
    const double scale = arm == "rope" ? 10 : 1;
    return {{"step_ms_median", scale * (seed == 3 ? 20.0 : 50.0)},
            {"step_ms_interquartile_range", scale * (seed == 3 ? 1.0 : 4.0)},
            {"tokens_per_second", scale * (seed == 3 ? 700.0 : 100.0)},
            {"mfu", seed == 3 ? 0.25 : 0.75},
            {"memory_bytes", seed == 3 ? 1000 : 3000}};
  }

  ToyEvaluation toy_;  // seeds 3 and 1
};

TEST_F(Costs, AreMediansOverTheSeeds) {
  const auto both = costs(figures);
  EXPECT_EQ(both.at("rse")["step_ms_median"], 35.0);
  EXPECT_EQ(both.at("rope")["step_ms_median"], 350.0);
  EXPECT_EQ(both.at("rse")["step_ms_interquartile_range"], 2.5);
  EXPECT_EQ(both.at("rse")["tokens_per_second"], 400.0);
  EXPECT_EQ(both.at("rse")["mfu"], 0.5);
  EXPECT_EQ(both.at("rse")["memory_bytes"], 2000);
  // Of each encoder (tests/train/report_test.cpp): 124723.2, and a decay for each of 2 heads in 2 layers.
  for (const auto& [arm, cost] : both) {
    EXPECT_NEAR(cost["flop_per_token"].get<double>(), 124723.2, 1e-6) << arm;
    EXPECT_EQ(cost["decay_parameters"], arm == "rse" ? 4 : 0) << arm;
    EXPECT_EQ(cost["position_parameters"], arm == "rse" ? 4 : arm == "learned" ? 32 * 32 : 0) << arm;
  }
}

TEST_F(Costs, AreThoseOfTheEvaluatedSeedsAlone) {
  const auto one = costs(figures, "1");
  EXPECT_EQ(one.at("rse")["step_ms_median"], 50.0);
  EXPECT_EQ(one.at("rope")["tokens_per_second"], 1000.0);
  EXPECT_EQ(one.at("learned")["mfu"], 0.75);
}

}  // namespace
}  // namespace rse
