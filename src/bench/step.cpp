#include "bench/step.h"

#include <torch/torch.h>

#include <algorithm>
#include <memory>

#include "bench/measure.h"
#include "bench/profile.h"
#include "bench/step_data.h"
#include "bench/step_loop.h"
#include "bench/step_report.h"
#include "core/check.h"
#include "core/file.h"
#include "core/output_path.h"
#include "run/arm_report.h"
#include "run/device.h"
#include "run/run_config.h"
#include "train/replica.h"

namespace rse {
namespace {

constexpr int64_t kProfiledSteps = 3;
constexpr int64_t kStepsBeforeAlone = 2;

RunConfig read_config(const StepBenchOptions& options) {
  if (options.config.empty()) throw_user_error("--config: not given: expected a configuration");
  std::vector<std::string> assignments = options.assignments;
  if (!options.device.empty()) assignments.push_back("train.device=" + options.device);
  RunConfig config = load_run_config(options.config, assignments);
  // The schedule covers every step that is made here.
  const int64_t made = options.warmup + 1 + 2 * options.steps + kStepsBeforeAlone + kProfiledSteps + 1;
  config.base.train.steps = std::max(config.base.train.steps, made);
  return config;
}

StepReport describe(const StepBenchOptions& options, const RunConfig& config, const StepData& data,
                    const torch::Device& device) {
  StepReport report;
  report.options = options;
  report.source = config.source.string();
  report.settings = config.dump();
  report.precision = config.base.train.precision == Precision::kBf16 ? "bf16" : "float32";
  report.device = describe_device(device, config.base.train);
  report.device_type = device.is_cuda() ? "cuda" : "cpu";
  report.threads = torch::get_num_threads();
  report.data = data.description();
  report.synthetic = data.synthetic();
  report.vocab_size = data.file().vocab_size();
  report.seq_len = config.base.data.seq_len;
  report.batch_size = config.base.train.batch_size;
  report.accumulation = config.base.train.accumulation;
  report.train_seed = data.seed();
  const StepBatch first = data.batch(0);
  report.step_tokens = first.tokens;
  report.step_targets = first.targets;
  report.feed_tokens_per_second = data.tokens_per_second();
  return report;
}

// Gradients live only inside an update, so that its peak holds them.
double memory_of(const StepData& data, Replica& arm, const ModelReport& cost) {
  StepLoop loop(data, {&arm}, 1, /*fixed_batch=*/true);
  const double peak = peak_bytes(arm.device(), [&] { loop.run(1); });
  return peak < 0 ? -1 : 0.75 * static_cast<double>(cost.state_bytes) + peak;
}

void measure_interleaved(const StepBenchOptions& options, const StepData& data,
                         const std::vector<Replica*>& arms, StepReport& report) {
  StepLoop loop(data, arms, options.warmup + options.steps, options.fixed_batch);
  loop.run(options.warmup);
  loop.reset();
  loop.run(options.steps);
  report.wall_ms = loop.wall_ms() / static_cast<double>(options.steps);
  for (size_t n = 0; n < arms.size(); ++n) {
    const ArmTimes& times = loop.times()[n];
    report.arms[n].ms = spread_of(times.ms);
    report.arms[n].tokens_per_step = static_cast<double>(times.tokens) / static_cast<double>(options.steps);
  }
}

void measure_alone(const StepBenchOptions& options, const StepData& data, const std::vector<Replica*>& arms,
                   StepReport& report) {
  double wall_ms = 0;
  for (size_t n = 0; n < arms.size(); ++n) {
    StepLoop loop(data, {arms[n]}, kStepsBeforeAlone + options.steps, options.fixed_batch);
    loop.run(kStepsBeforeAlone);
    loop.reset();
    loop.run(options.steps);
    report.arms[n].alone_ms = spread_of(loop.times()[0].ms);
    wall_ms += loop.wall_ms() / static_cast<double>(options.steps);
  }
  report.alone_wall_ms = wall_ms;
}

StepProfile profile_arm(const StepBenchOptions& options, const StepData& data, Replica& arm) {
  StepLoop loop(data, {&arm}, kProfiledSteps + 1, options.fixed_batch);
  StepProfile profile = profile_steps(arm.device(), kProfiledSteps, [&] { loop.step(); });
  loop.drain();
  return profile;
}

}  // namespace

void run_step_bench(const StepBenchOptions& options) {
  RunConfig config = read_config(options);
  if (!options.json.empty()) {
    expect_not_read({options.json}, {config.source, config.base.data.train, config.base.data.valid});
  }
  configure_torch(config.base.train);
  const torch::Device device =
      resolve_device(config.base.train.device, options.device.empty() ? "train.device" : "--device");
  const StepData data(config, options.synthetic, options.seed);
  resolve_vocabulary(config, data.file(), data.file());
  StepReport report = describe(options, config, data, device);
  std::vector<std::unique_ptr<Replica>> replicas;
  std::vector<Replica*> arms;
  for (const ArmConfig& arm : config.arms) {
    replicas.push_back(std::make_unique<Replica>(arm, data.seed(), config.base.train, device));
    arms.push_back(replicas.back().get());
    ArmStepReport& row = report.arms.emplace_back();
    row.name = arm.name;
    row.differs = arm.differs;
    row.cost = report_arm(*arms.back()->encoder(), config.base);
  }
  measure_interleaved(options, data, arms, report);
  for (size_t n = 0; n < arms.size(); ++n) {
    report.arms[n].memory_bytes = memory_of(data, *arms[n], report.arms[n].cost);
  }
  if (options.alone) measure_alone(options, data, arms, report);
  for (size_t n = 0; options.profile && n < arms.size(); ++n) {
    report.arms[n].profile = profile_arm(options, data, *arms[n]);
  }
  for (size_t n = 0; n < arms.size(); ++n) report.arms[n].skipped = arms[n]->counters.skipped;
  print_step_report(report);
  if (!options.json.empty()) write_file_atomically(options.json, step_report_json(report));
}

}  // namespace rse
