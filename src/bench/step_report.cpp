#include "bench/step_report.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/logging.h"

namespace rse {
namespace {

using nlohmann::ordered_json;

constexpr size_t kKernelsShown = 15;
constexpr size_t kNameShown = 100;

std::string interval(const Spread& spread) {
  return fmt::format("[{:.3f}, {:.3f}]", spread.low, spread.high);
}

double sum_of_medians(const StepReport& report) {
  double sum = 0;
  for (const ArmStepReport& arm : report.arms) sum += arm.ms.median;
  return sum;
}

void print_header(const StepReport& report) {
  const StepBenchOptions& options = report.options;
  fmt::print("{} on {}, {}; {} steps after {} of warm-up{}\n", report.source, report.device.name,
             report.precision, options.steps, options.warmup,
             options.fixed_batch ? "; one fixed batch, built and copied once" : "");
  fmt::print("data: {}\n", report.data);
  fmt::print("one step: {} x {} sequences of up to {}: {} tokens, {} targets (first step), seed {}\n",
             report.accumulation, report.batch_size, report.seq_len, report.step_tokens, report.step_targets,
             report.train_seed);
  fmt::print("batches: {} tokens/s from one process, built by one thread\n",
             format_count(report.feed_tokens_per_second));
}

void print_arms(const StepReport& report) {
  fmt::print("{:<16} {:>10} {:<22} {:>9} {:>7} {:>10}\n", "arm", "ms median", "95 % interval", "tokens/s",
             "MFU", "memory");
  for (const ArmStepReport& arm : report.arms) {
    const std::optional<double> mfu = arm.mfu(report.device.peak_flops);
    fmt::print("{:<16} {:>10.3f} {:<22} {:>9} {:>7} {:>10}\n", arm.name, arm.ms.median, interval(arm.ms),
               format_count(arm.tokens_per_second()), mfu ? fmt::format("{:.1f} %", 100 * *mfu) : "-",
               arm.memory_bytes < 0 ? "-" : format_bytes(arm.memory_bytes));
  }
  for (const ArmStepReport& arm : report.arms) {
    if (arm.skipped > 0)
      fmt::print("{}: {} updates were not finite and were skipped\n", arm.name, arm.skipped);
  }
  const double medians = sum_of_medians(report);
  fmt::print(
      "all arms: {:.3f} ms per step by the clock, sum of medians {:.3f}: {:+.1f} % for batches, copies "
      "and the loop\n",
      report.wall_ms, medians, 100 * (report.wall_ms / medians - 1));
}

void print_alone(const StepReport& report) {
  if (!report.alone_wall_ms) return;
  for (const ArmStepReport& arm : report.arms) {
    if (!arm.alone_ms) continue;
    fmt::print("alone: {:<16} {:>9.3f} ms {}, interleaved / alone {:.3f}\n", arm.name, arm.alone_ms->median,
               interval(*arm.alone_ms), arm.ms.median / arm.alone_ms->median);
  }
  fmt::print("alone, sum: {:.3f} ms per step by the clock; interleaved / sum of alone {:.3f}\n",
             *report.alone_wall_ms, report.wall_ms / *report.alone_wall_ms);
}

void print_mfu(const StepReport& report) {
  fmt::print("MFU = tokens/s x FLOP per token / peak FLOP/s; peak: {}\n",
             report.device.peak_flops > 0 ? format_count(report.device.peak_flops) + "FLOP/s"
                                          : "not known here (train.peak_tflops sets it)");
  for (const ArmStepReport& arm : report.arms) {
    fmt::print("  {}: {} FLOP per token = {}\n", arm.name, format_count(arm.cost.flop_per_token),
               arm.cost.flop_formula);
  }
}

void print_profile(const std::string& arm, const StepProfile& profile, bool on_device) {
  fmt::print("profile of {}: {:.3f} ms per step, mean of {}, {}; recording slows a step\n", arm,
             profile.step_ms, profile.steps,
             on_device ? "kernels on the device" : "operators on the calling thread");
  const auto line = [&](const char* name, double ms) {
    fmt::print("  {:<18} {:>9.3f} ms {:>5.1f} %\n", name, ms, 100 * ms / profile.step_ms);
  };
  for (size_t kind = 0; kind < kKernelKinds; ++kind) {
    line(kind_name(static_cast<KernelKind>(kind)), profile.kind_ms[kind]);
  }
  line("gaps", profile.gap_ms);
  fmt::print("  by phase:");
  for (size_t phase = 0; phase < kStepPhases; ++phase) {
    fmt::print("{} {} {:.3f} ms", phase > 0 ? "," : "", phase_name(static_cast<StepPhase>(phase)),
               profile.phase_ms[phase]);
  }
  fmt::print("\n  the largest:\n");
  for (size_t n = 0; n < std::min(kKernelsShown, profile.kernels.size()); ++n) {
    const KernelTime& kernel = profile.kernels[n];
    fmt::print("  {:>9.3f} ms {:>7.1f} calls  {:<18} {}\n", kernel.ms, kernel.calls, kind_name(kernel.kind),
               kernel.name.substr(0, kNameShown));
  }
}

ordered_json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"low", spread.low}, {"high", spread.high}};
}

ordered_json to_json(const StepProfile& profile) {
  ordered_json kinds, phases, kernels = ordered_json::array();
  for (size_t kind = 0; kind < kKernelKinds; ++kind) {
    kinds[kind_name(static_cast<KernelKind>(kind))] = profile.kind_ms[kind];
  }
  for (size_t phase = 0; phase < kStepPhases; ++phase) {
    phases[phase_name(static_cast<StepPhase>(phase))] = profile.phase_ms[phase];
  }
  for (const KernelTime& kernel : profile.kernels) {
    kernels.push_back({{"name", kernel.name},
                       {"kind", kind_name(kernel.kind)},
                       {"calls", kernel.calls},
                       {"ms", kernel.ms}});
  }
  return {{"steps", profile.steps},   {"step_ms", profile.step_ms}, {"kinds_ms", kinds},
          {"gap_ms", profile.gap_ms}, {"phases_ms", phases},        {"kernels", kernels}};
}

ordered_json to_json(const ArmStepReport& arm, double peak_flops) {
  ordered_json row = {{"arm", arm.name},
                      {"differs", arm.differs},
                      {"ms", to_json(arm.ms)},
                      {"tokens_per_step", arm.tokens_per_step},
                      {"tokens_per_second", arm.tokens_per_second()},
                      {"mfu", nullptr},
                      {"flop_per_token", arm.cost.flop_per_token},
                      {"flop_formula", arm.cost.flop_formula},
                      {"parameters", arm.cost.parameters},
                      {"memory_bytes", nullptr},
                      {"skipped_updates", arm.skipped}};
  if (const std::optional<double> mfu = arm.mfu(peak_flops)) row["mfu"] = *mfu;
  if (arm.memory_bytes >= 0) row["memory_bytes"] = arm.memory_bytes;
  if (arm.alone_ms) {
    row["alone_ms"] = to_json(*arm.alone_ms);
    row["interleaved_over_alone"] = arm.ms.median / arm.alone_ms->median;
  }
  if (arm.profile) row["profile"] = to_json(*arm.profile);
  return row;
}

ordered_json versions(const StepReport& report) {
  ordered_json all = {
      {"rse_bench", report.options.version}, {"libtorch", TORCH_VERSION}, {"cuda_runtime", nullptr}};
  if (at::hasCUDA()) all["cuda_runtime"] = at::detail::getCUDAHooks().versionCUDART();
  const char* commit = std::getenv("RSE_COMMIT");
  all["commit"] = commit == nullptr ? ordered_json() : ordered_json(commit);
  return all;
}

}  // namespace

std::optional<double> ArmStepReport::mfu(double peak_flops) const {
  if (peak_flops <= 0) return std::nullopt;
  return tokens_per_second() * cost.flop_per_token / peak_flops;
}

void print_step_report(const StepReport& report) {
  print_header(report);
  print_arms(report);
  print_alone(report);
  print_mfu(report);
  for (const ArmStepReport& arm : report.arms) {
    if (arm.profile) print_profile(arm.name, *arm.profile, report.device_type == "cuda");
  }
}

std::string step_report_json(const StepReport& report) {
  const StepBenchOptions& options = report.options;
  ordered_json all = {{"versions", versions(report)},
                      {"configuration", report.source},
                      {"settings", report.settings},
                      {"device", report.device.name},
                      {"device_type", report.device_type},
                      {"peak_flops", nullptr},
                      {"precision", report.precision},
                      {"threads", report.threads},
                      {"data", report.data},
                      {"synthetic", report.synthetic},
                      {"synthetic_seed", options.seed},
                      {"train_seed", report.train_seed},
                      {"vocab_size", report.vocab_size},
                      {"seq_len", report.seq_len},
                      {"batch_size", report.batch_size},
                      {"accumulation", report.accumulation},
                      {"step_tokens", report.step_tokens},
                      {"step_targets", report.step_targets},
                      {"steps", options.steps},
                      {"warmup", options.warmup},
                      {"fixed_batch", options.fixed_batch},
                      {"feed_tokens_per_second", report.feed_tokens_per_second},
                      {"mfu_formula", "tokens_per_second * flop_per_token / peak_flops"},
                      {"wall_ms", report.wall_ms},
                      {"sum_of_medians_ms", sum_of_medians(report)}};
  if (report.device.peak_flops > 0) all["peak_flops"] = report.device.peak_flops;
  if (report.alone_wall_ms) {
    all["alone_wall_ms"] = *report.alone_wall_ms;
    all["interleaved_over_alone"] = report.wall_ms / *report.alone_wall_ms;
  }
  all["arms"] = ordered_json::array();
  for (const ArmStepReport& arm : report.arms) all["arms"].push_back(to_json(arm, report.device.peak_flops));
  return all.dump(2) + "\n";
}

}  // namespace rse
