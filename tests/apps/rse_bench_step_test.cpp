// Runs rse-bench step as its users do, with a tiny configuration on the CPU: tests that its numbers follow from
// each other, what its modes change, and the errors.
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace rse {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kTiny =
    "model: {layers: 1, width: 16, heads: 2, ffn_width: 32, vocab_size: 100}\n"
    "data: {train: none.bin, seq_len: 16, min_tokens: 4}\n"
    "train: {steps: 2, batch_size: 2, warmup_steps: 1, device: cpu, threads: 1, peak_tflops: 0.5}\n"
    "arms:\n"
    "  rope: {model: {position: {method: rope}}}\n"
    "  rse: {model: {position: {method: rse}}}\n";

class BenchStep : public ProgramTest {
 protected:
  Outcome step(const std::string& arguments) const {
    write("tiny.yaml", kTiny);
    return shell(
        fmt::format("RSE_COMMIT=abc '{}' step --config tiny.yaml --steps 7 --warmup 1 --json out.json {}",
                    RSE_BENCH_PROGRAM, arguments));
  }
  json results(const std::string& arguments) const {
    const Outcome outcome = step(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    return json::parse(read_file(folder_ / "out.json"));
  }
};

void expect_near(double found, double expected) { EXPECT_NEAR(found, expected, 1e-9 * std::abs(expected)); }

TEST_F(BenchStep, TheNumbersFollowFromEachOther) {
  const json all = results("");
  EXPECT_EQ(all["versions"]["commit"], "abc");
  EXPECT_EQ(all["synthetic"], true);
  EXPECT_EQ(all["vocab_size"], 100);
  EXPECT_EQ(all["step_tokens"], 2 * 16);
  EXPECT_EQ(all["peak_flops"], 0.5e12);
  EXPECT_EQ(all["steps"], 7);
  EXPECT_GT(all["feed_tokens_per_second"], 0.0);
  EXPECT_THAT(all["settings"].get<std::string>(), HasSubstr("ffn_width: 32"));
  double medians = 0;
  ASSERT_EQ(all["arms"].size(), 2u);
  for (const json& arm : all["arms"]) {
    const double median = arm["ms"]["median"], tokens = arm["tokens_per_step"];
    EXPECT_LE(arm["ms"]["low"], median);
    EXPECT_LE(median, arm["ms"]["high"]);
    EXPECT_EQ(tokens, 32);
    expect_near(arm["tokens_per_second"], 1e3 * tokens / median);
    expect_near(arm["mfu"],
                arm["tokens_per_second"].get<double>() * arm["flop_per_token"].get<double>() / 0.5e12);
    EXPECT_THAT(arm["flop_formula"].get<std::string>(), HasSubstr("1 layers"));
    EXPECT_FALSE(arm.contains("alone_ms"));
    EXPECT_FALSE(arm.contains("profile"));
    medians += median;
  }
  EXPECT_EQ(all["arms"][1]["arm"], "rse");
  expect_near(all["sum_of_medians_ms"], medians);
}

TEST_F(BenchStep, AloneComparesTheSums) {
  const json all = results("--alone --fixed-batch");
  EXPECT_EQ(all["fixed_batch"], true);
  expect_near(all["interleaved_over_alone"],
              all["wall_ms"].get<double>() / all["alone_wall_ms"].get<double>());
  for (const json& arm : all["arms"]) {
    expect_near(arm["interleaved_over_alone"],
                arm["ms"]["median"].get<double>() / arm["alone_ms"]["median"].get<double>());
  }
}

TEST_F(BenchStep, KindsAndGapsAddUpToTheStep) {
  const json all = results("--profile");
  for (const json& arm : all["arms"]) {
    const json& profile = arm["profile"];
    double sum = profile["gap_ms"];
    for (const auto& [name, ms] : profile["kinds_ms"].items()) sum += ms.get<double>();
    EXPECT_NEAR(sum, profile["step_ms"], 1e-6);
    for (const char* kind : {"GEMM", "attention", "element-wise", "MLM head and loss", "optimizer"})
      EXPECT_GT(profile["kinds_ms"][kind], 0.0) << kind;
    for (const char* phase : {"forward", "backward", "optimizer"})
      EXPECT_GT(profile["phases_ms"][phase], 0.0) << phase;
  }
}

TEST_F(BenchStep, PrintsWhatItMeasured) {
  const Outcome outcome = step("--profile --alone --seed 9 --set train.peak_tflops=0");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* part :
       {"tiny.yaml on CPU, 1 threads, float32", "seed 9, in full sequences of 16 (no file 'none.bin')",
        "tokens/s from one process", "\nrope ", "\nrse ",
        "MFU = tokens/s x FLOP per token / peak FLOP/s; peak: not known here",
        "rse: ", " FLOP per token = 3 x (1 layers", "interleaved / sum of alone", "profile of rse", "gaps"}) {
    EXPECT_THAT(outcome.out, HasSubstr(part));
  }
  EXPECT_TRUE(json::parse(read_file(folder_ / "out.json"))["arms"][0]["mfu"].is_null());
}

TEST_F(BenchStep, UserErrorsAreOneLine) {
  write("tiny.yaml", kTiny);
  const auto fails = [&](const std::string& arguments, const std::string& part) {
    expect_user_error(RSE_BENCH_PROGRAM, "step " + arguments, {part});
  };
  fails("", "--config: not given");
  fails("--config none.yaml", "none.yaml");
  fails("--config tiny.yaml --set model.depth=3", "model.depth");
  fails("--config tiny.yaml --device gpu", "'gpu'");
  fails("--config tiny.yaml --json ./tiny.yaml", "cannot write ./tiny.yaml: ");
  fails("--config tiny.yaml --set model.vocab_size=4", "model.vocab_size: '4'");
}

}  // namespace
}  // namespace rse
