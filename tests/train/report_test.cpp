// Tests the figures that a run reports against small numbers worked out by hand: tokens/s, MFU, FLOPs per token,
// step times, losses, and which checkpoint is the best.
#include "train/report.h"

#include "core/logging.h"
#include "run/checkpoint.h"
#include "tests/train/observed_run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

class Report : public testing::Test {
 protected:
  Replica replica_of(const std::string& method) const {
    const RunConfig config = toy_.config("", {"model.position.method=" + method});
    return Replica(config.arms[0], 1, config.base.train, torch::kCPU);
  }
  ToyRun toy_;
};

// 4096 tokens in 250 ms are 16384 tokens/s; at 10^6 FLOPs per token and 10^11 FLOP/s, 16.4 %.
TEST_F(Report, AProgressLineByHand) {
  UpdateResult update;
  update.step = 49;
  update.tokens = 4096;
  update.rates = {2.5e-4, 5e-3};
  update.loss = 5.43214;
  update.step_ms = 250;
  EXPECT_EQ(progress_line(replica_of("rse"), update, 3000, 1e6, 1e11, 245),
            "step 50/3000 rse seed 1: loss 5.4321 lr 0.00025 decay lr 0.005 16.4k tok/s MFU 16.4% ETA 4m05s");
  EXPECT_EQ(progress_line(replica_of("rope"), update, 3000, 1e6, 0, 245),
            "step 50/3000 rope seed 1: loss 5.4321 lr 0.00025 16.4k tok/s MFU unknown ETA 4m05s");
}

// Step times 100, 200, 300, 400 ms: the median is 250, the quartiles 175 and 325. 20 updates had 16000 tokens, 800
// each, so 800 / 0.25 s = 3200 tokens/s; at 5 x 10^5 FLOPs per token and 10^10 FLOP/s, 16 %.
TEST_F(Report, ASummaryByHand) {
  Replica replica = replica_of("rse");
  replica.counters.step = 20;
  replica.counters.tokens = 16000;
  replica.counters.skipped = 2;
  replica.counters.recent_losses = {3.0, 4.0, 6.5};
  replica.counters.step_times_ms = {400, 100, 300, 200};
  replica.counters.peak_bytes = 1000;
  ModelReport cost;
  cost.flop_per_token = 5e5;
  cost.state_bytes = 4000;  // weights, gradients and two moments, 1000 each; the peak has the gradients
  const ReplicaSummary row = summarize(replica, cost, 5.0, 6.0, 1e10);
  EXPECT_EQ(row.steps, 20);
  EXPECT_EQ(row.tokens, 16000);
  EXPECT_EQ(row.skipped, 2);
  EXPECT_DOUBLE_EQ(row.train_loss.value(), 4.5);
  EXPECT_DOUBLE_EQ(row.step_ms, 250);
  EXPECT_DOUBLE_EQ(row.step_ms_spread, 150);
  EXPECT_DOUBLE_EQ(row.tokens_per_second, 3200);
  EXPECT_DOUBLE_EQ(row.mfu.value(), 0.16);
  EXPECT_EQ(row.memory_bytes, 3000 + 1000);
  EXPECT_FALSE(row.on_plateau);
  EXPECT_FALSE(summarize(replica, cost, 5.0, 6.0, 0).mfu.has_value());
  EXPECT_TRUE(summarize(replica, cost, 5.29, 6.0, 0).on_plateau);  // 0.88 x 6 = 5.28
  const std::string table = summary_table({row}, 6.0);
  for (const char* part : {"4.5000", "5.0000", "250.00 (150.00)", "3.2k", "16.0%", "3.9 KiB"}) {
    EXPECT_THAT(table, testing::HasSubstr(part));
  }
  write_summary(toy_.path("summary.json"), {row}, 6.0, {"toy", 1e10});
  const auto json = nlohmann::json::parse(read_file(toy_.path("summary.json")))["replicas"][0];
  EXPECT_EQ(json["train_loss"], 4.5);
  EXPECT_EQ(json["step_ms_median"], 250.0);
  EXPECT_EQ(json["step_ms_interquartile_range"], 150.0);
  EXPECT_EQ(json["tokens_per_second"], 3200.0);
  EXPECT_EQ(json["mfu"], 0.16);
  EXPECT_EQ(json["memory_bytes"], 4000);
  EXPECT_EQ(json["flop_per_token"], 5e5);
}

// FLOPs per token of the toy's run, width 32, ffn_width 64, seq_len 32, 64 pieces, 0.15 targets per token:
// 3 x (2 layers x (2 x (4 x 32^2 + 2 x 32 x 64) + 4 x 32 x 32) + 0.15 x 2 x 32 x 64).
// = 3 x (2 x (16384 + 4096) + 614.4) = 124723.2. GeGLU has 3 x 32 x 64: 3 x (2 x (20480 + 4096) + 614.4).
TEST_F(Report, FlopsPerTokenOfARunByHand) {
  toy_.train(toy_.config(kTwoArms, {"train.peak_tflops=0.5"}), "run");
  for (const ReplicaSummary& row : toy_.summaries) {
    EXPECT_NEAR(row.cost.flop_per_token, 124723.2, 1e-6) << row.arm;
    EXPECT_EQ(row.tokens, 4 * 4 * 32);
    EXPECT_NEAR(row.tokens_per_second, 1e3 * 4 * 32 / row.step_ms, 1e-6 * row.tokens_per_second);
    EXPECT_NEAR(row.mfu.value(), row.tokens_per_second * 124723.2 / 0.5e12, 1e-9 * row.mfu.value());
  }
  toy_.train(toy_.config("", {"model.activation=geglu", "data.mask.probability=0.3", "data.seq_len=16"}),
             "geglu");
  // Attention has 4 x 16 x 32 then, and twice the targets.
  EXPECT_NEAR(toy_.summaries[0].cost.flop_per_token, 3 * (2 * (20480 + 2048) + 1228.8), 1e-6);
}

// The time of a step is measured around the update, in milliseconds.
TEST_F(Report, StepTimesAreThoseOfTheClock) {
  const double start = now_seconds();
  toy_.train(toy_.config("", {"train.steps=6"}), "run");
  const double all = 1e3 * (now_seconds() - start);
  double sum = 0;
  for (const nlohmann::json& line : metric_lines(toy_.path("run"), "update")) {
    EXPECT_GT(line["step_ms"].get<double>(), 0.05);
    sum += line["step_ms"].get<double>();
  }
  EXPECT_LT(sum, all);
  EXPECT_GT(sum, 0.01 * all);
}

// "calm" gets better all the time, "wild" far worse, so the last checkpoint is the best of calm alone and the mean
// over both is lowest early.
TEST_F(Report, TheBestCheckpointIsThatOfTheMeanOverAllReplicas) {
  const std::string calm = "  calm: {model: {position: {method: rope}}, train: {learning_rate: 0.003}}\n";
  const std::string wild = "  wild: {model: {position: {method: rope}}, train: {learning_rate: 3.0}}\n";
  for (const std::string& arms : {calm + wild, wild + calm}) {
    const RunConfig config =
        toy_.config("arms:\n" + arms, {"train.steps=10", "train.warmup_steps=10", "validation.every=2",
                                       "checkpoint.every=2", "checkpoint.keep=1"});
    const fs::path run = toy_.train(config, arms == calm + wild ? "calm_first" : "wild_first");
    std::map<int64_t, std::map<std::string, double>> nll;
    for (const nlohmann::json& line : metric_lines(run, "validation"))
      nll[line["step"]][line["arm"]] = line["nll"];
    ASSERT_EQ(nll.size(), 5u);
    int64_t best = 2;
    for (const auto& [step, of] : nll) {
      if (of.at("calm") + of.at("wild") < nll[best]["calm"] + nll[best]["wild"]) best = step;
      EXPECT_LE(nll[10]["calm"], of.at("calm")) << "calm is not best at the end, so this test shows nothing";
    }
    ASSERT_LT(best, 10);
    EXPECT_THAT(complete_checkpoints(run), testing::ElementsAre(best, 10));
    const TrainerState state = read_trainer_state(checkpoint_folder(run, 10));
    EXPECT_EQ(state.best->step, best);
    EXPECT_NEAR(state.best->nll, (nll[best]["calm"] + nll[best]["wild"]) / 2, 1e-12);
  }
}

}  // namespace
}  // namespace rse
