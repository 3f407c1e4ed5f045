// Checks the keys of a run as a whole: its length, device and threads, and what it writes.
#include <ATen/Context.h>
#include <stdlib.h>

#include "core/logging.h"
#include "run/checkpoint.h"
#include "run/device.h"
#include "tests/train/settings_checks.h"
#include "train/run.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

// Runs rse-train's command for the toy with these settings and returns the run folder.
fs::path run_command(const ToyRun& toy, const std::string& name, const std::vector<std::string>& settings) {
  init_logging("info");  // closes the log file of the run before
  std::ofstream(toy.path("toy.yaml")) << toy.yaml();
  TrainCommand command;
  command.config = toy.path("toy.yaml").string();
  command.output = toy.path(name).string();
  command.assignments = settings;
  EXPECT_EQ(run_train_command(command), 0);
  return toy.path(name);
}

nlohmann::json summary_of(const fs::path& run) {
  return nlohmann::json::parse(read_file(run / "summary.json"));
}

void check_steps() {
  const ToyRun toy;
  const fs::path run = run_of(toy, {"train.steps=7"});
  EXPECT_THAT(steps_of(metric_lines(run, "update")), testing::ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(complete_checkpoints(run), testing::ElementsAre(7));
  EXPECT_EQ(summary_of(run)["replicas"][0]["steps"], 7);
  // The schedule ends with the run: after 2 updates of warm-up, 1 - (6 - 2) / (7 - 2) in update 6 (from 0).
  EXPECT_NEAR(metric_lines(run, "update")[6]["learning_rate"].get<double>(), 0.003 * 0.2, 1e-12);
}

void check_device() {
  const ToyRun toy;
  const fs::path run = run_command(toy, "cpu", {"train.device=cpu"});
  EXPECT_THAT(summary_of(run)["device"].get<std::string>(), testing::StartsWith("CPU, "));
  if (torch::cuda::is_available()) {
    const fs::path on_gpu = run_command(toy, "cuda", {"train.device=cuda"});
    EXPECT_THAT(summary_of(on_gpu)["device"].get<std::string>(), testing::Not(testing::StartsWith("CPU, ")));
  } else {
    EXPECT_THAT([&] { run_command(toy, "cuda", {"train.device=cuda"}); }, ThrowsUserError("no CUDA device"));
  }
}

void check_threads() {
  const ToyRun toy;
  const int before = torch::get_num_threads();
  for (const int threads : {1, 3}) {
    const fs::path run =
        run_command(toy, fmt::format("run{}", threads), {fmt::format("train.threads={}", threads)});
    EXPECT_EQ(torch::get_num_threads(), threads);
    EXPECT_EQ(summary_of(run)["device"], fmt::format("CPU, {} threads", threads));
  }
  torch::set_num_threads(before);
}

void check_deterministic() {
  const ToyRun toy;
  for (const bool on : {true, false}) {
    ::unsetenv("CUBLAS_WORKSPACE_CONFIG");
    const std::string setting = fmt::format("train.deterministic={}", on);
    run_command(toy, fmt::format("run{}", on), {setting, "train.steps=1"});
    EXPECT_EQ(at::globalContext().deterministicAlgorithms(), on);
    EXPECT_EQ(::getenv("CUBLAS_WORKSPACE_CONFIG") != nullptr, on);  // cuBLAS reads it
    Trainer trainer(toy.config("", {setting, "model.position.method=rse"}), toy.train_file(),
                    toy.valid_file(), torch::kCPU);
    EXPECT_EQ(trainer.replicas()[0]->encoder()->config().attention.deterministic, on);
  }
}

// Matrix products with a bias say what backward computes again, of 2 updates of 3 micro-batches and a validation in one
// batch: each forward pass has 4 per layer and the decoder, and a feed-forward network has 2. Nothing else changes.
void check_recompute() {
  const std::vector<std::string> settings = {"train.steps=2", "train.accumulation=3", "model.dropout=0.1",
                                             "model.position.method=rse"};
  const ToyRun toy;
  Course expected;
  const std::vector<std::pair<std::string, size_t>> modes = {
      {"none", 0}, {"ffn", 2 * 3 * 2 * 2}, {"layer", 2 * 3 * 2 * 4}};
  for (const auto& [mode, again] : modes) {
    std::vector<std::string> all = settings;
    all.push_back("train.recompute=" + mode);
    const RecordedCalls calls("aten::addmm");
    const Course course = observe(toy, toy.config("", all), mode);
    EXPECT_EQ(calls.inputs().size(), (2 * 3 + 1) * (2 * 4 + 1) + again) << mode;
    if (expected.empty()) expected = course;
    for (const auto& [name, weight] : expected.back()[0]) {
      EXPECT_TRUE(torch::equal(weight, course.back()[0].at(name))) << mode << ": " << name;
    }
    EXPECT_EQ(metric_lines(toy.path(mode), "update").back()["loss"],
              metric_lines(toy.path("none"), "update").back()["loss"]);
  }
}

// FLOPs per token of the toy by hand: 3 x (2 layers x (2 x (4 x 32^2 + 2 x 32 x 64) + 4 x 32 x 32)
// + 0.15 x 2 x 32 x 64) = 3 x (2 x 20480 + 614.4) = 124723.2. The peak is 0.002 x 10^12 FLOP/s.
void check_peak_tflops() {
  const ToyRun toy;
  const nlohmann::json known = summary_of(run_of(toy, {"train.peak_tflops=0.002"}));
  EXPECT_EQ(known["peak_flops"], 2e9);
  const nlohmann::json& row = known["replicas"][0];
  EXPECT_NEAR(row["mfu"].get<double>() / row["tokens_per_second"].get<double>(), 124723.2 / 2e9, 1e-12);
  EXPECT_TRUE(summary_of(run_of(toy, {}))["replicas"][0]["mfu"].is_null());
}

void check_progress_lines() {
  const ToyRun toy;
  const std::vector<std::string> settings = {"train.steps=8", "model.position.method=rse", "logging.every=3"};
  const fs::path run = run_command(toy, "run", settings);
  const std::string log = read_file(run / "log.txt");
  for (int step = 1; step <= 8; ++step) {
    const bool shown = log.find(fmt::format("step {}/8 rse seed 1: loss", step)) != std::string::npos;
    EXPECT_EQ(shown, step == 3 || step == 6 || step == 8) << step;
  }
  EXPECT_THAT(steps_of(metric_lines(run, "decay")), testing::ElementsAre(3, 6, 8));
}

// The rate grows so far that the models get worse, so the best checkpoint is an early one.
void check_keep_best() {
  const ToyRun toy;
  const auto kept = [&](const char* keep_best) {
    return complete_checkpoints(
        run_of(toy, {"train.steps=10", "train.learning_rate=2", "train.warmup_steps=10", "train.clip_norm=0",
                     "validation.every=2", "checkpoint.every=2", "checkpoint.keep=1", keep_best}));
  };
  EXPECT_EQ(kept("checkpoint.keep_best=true").size(), 2u);
  EXPECT_THAT(kept("checkpoint.keep_best=false"), testing::ElementsAre(10));
}

}  // namespace

SettingChecks run_checks() {
  SettingChecks checks;
  checks["train.steps"] = check_steps;
  checks["train.device"] = check_device;
  checks["train.threads"] = check_threads;
  checks["train.deterministic"] = check_deterministic;
  checks["train.recompute"] = check_recompute;
  checks["train.peak_tflops"] = check_peak_tflops;
  return checks;
}

SettingChecks writing_checks() {
  SettingChecks checks;
  checks["logging.every"] = check_progress_lines;
  checks["logging.tensorboard"] = [] {
    const ToyRun toy;
    EXPECT_TRUE(fs::exists(run_of(toy, {"logging.tensorboard=true"}) / "tensorboard"));
    EXPECT_FALSE(fs::exists(run_of(toy, {"logging.tensorboard=false"}) / "tensorboard"));
  };
  checks["checkpoint.every"] = [] {
    const ToyRun toy;
    const auto kept = [&](const char* every) {
      return complete_checkpoints(run_of(toy, {"train.steps=8", "checkpoint.keep=9", every}));
    };
    EXPECT_THAT(kept("checkpoint.every=3"), testing::ElementsAre(3, 6, 8));
    EXPECT_THAT(kept("checkpoint.every=0"), testing::ElementsAre(8));
  };
  checks["checkpoint.keep"] = [] {
    const ToyRun toy;
    const auto kept = [&](const char* keep) {
      return complete_checkpoints(
          run_of(toy, {"train.steps=8", "checkpoint.every=2", "checkpoint.keep_best=false", keep}));
    };
    EXPECT_THAT(kept("checkpoint.keep=2"), testing::ElementsAre(6, 8));
    EXPECT_THAT(kept("checkpoint.keep=3"), testing::ElementsAre(4, 6, 8));
  };
  checks["checkpoint.keep_best"] = check_keep_best;
  return checks;
}

}  // namespace rse
