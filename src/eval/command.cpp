#include "eval/command.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "analysis/evaluation_json.h"
#include "analysis/report_command.h"
#include "analysis/terminal_summary.h"
#include "core/check.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/logging.h"
#include "eval/combine.h"
#include "eval/data_overlap.h"
#include "eval/evaluation_folder.h"
#include "eval/output.h"
#include "run/arm_report.h"
#include "run/device.h"

namespace rse {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Measured {
  std::vector<ReplicaLosses> replicas;
  std::vector<ModelReport> costs;  // one per arm
  std::vector<ReplicaDecay> decay;
};

std::vector<std::vector<double>> rows_of(const torch::Tensor& lambda) {
  std::vector<std::vector<double>> rows;
  for (int64_t layer = 0; layer < lambda.size(0); ++layer) {
    rows.emplace_back();
    for (int64_t head = 0; head < lambda.size(1); ++head) {
      rows.back().push_back(lambda[layer][head].item<double>());
    }
  }
  return rows;
}

// Checked after each model, not after hours of the others.
void check_finite(const std::vector<LengthLosses>& lengths, const std::string& arm, uint64_t seed) {
  for (const LengthLosses& losses : lengths) {
    if (std::all_of(losses.nll.begin(), losses.nll.end(), [](float nll) { return std::isfinite(nll); }))
      continue;
    throw_user_error(
        "arm {}, seed {}: a loss at length {} is not finite: leave it out by --arms, --seeds or --lengths",
        arm, seed, losses.length);
  }
}

Measured measure(const TrainedRun& run, const EvalPlan& plan, const LengthProtocol& protocol,
                 const ForwardSettings& forward) {
  Measured measured;
  const auto replicas = static_cast<int64_t>(plan.replicas.size());
  ProgressBar bar(fmt::format("{} models, {} settings", replicas, protocol.settings().size()),
                  static_cast<uint64_t>(replicas * protocol.tokens()), "tokens");
  for (int64_t i = 0; i < replicas; ++i) {
    const PlannedReplica& replica = plan.replicas[static_cast<size_t>(i)];
    const ArmConfig& arm = plan.arms[replica.arm];
    Encoder encoder = load_encoder(run, arm.name, replica.seed, arm.model, forward.device);
    if (measured.costs.size() == replica.arm) {
      measured.costs.push_back(report_arm(*encoder, run.config.base));
    }
    const torch::Tensor lambda = encoder->position().decays();
    if (lambda.defined()) measured.decay.push_back({arm.name, replica.seed, rows_of(lambda)});
    auto losses = protocol.measure(evaluator_of(encoder), forward, [&](int64_t tokens) {
      bar.update(static_cast<uint64_t>(i * protocol.tokens() + tokens));
    });
    check_finite(losses, arm.name, replica.seed);
    measured.replicas.push_back({arm.name, replica.seed, std::move(losses)});
  }
  return measured;
}

// The run's summary.json; without replicas where training has not written it yet.
json training_summary(const fs::path& run_folder) {
  const fs::path path = run_folder / "summary.json";
  const json none = {{"replicas", json::array()}};
  if (!fs::exists(path)) return none;
  const json parsed = json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (parsed.is_object() && parsed.contains("replicas") && parsed["replicas"].is_array()) {
    return parsed;
  }
  spdlog::warn("{}: not a summary of training: its step times and memory are left out", path.string());
  return none;
}

// The median over the arm's evaluated seeds of what training measured under `key`.
std::optional<double> trained_figure(const json& summary, const std::string& arm,
                                     const std::set<uint64_t>& seeds, const char* key) {
  std::vector<double> values;
  for (const json& row : summary["replicas"]) {
    if (!row.is_object() || row.value("arm", json()) != arm) continue;
    if (const json seed = row.value("seed", json()); !seed.is_number_unsigned() || !seeds.contains(seed))
      continue;
    if (const json value = row.value(key, json()); value.is_number()) values.push_back(value.get<double>());
  }
  if (values.empty()) return std::nullopt;
  return quantile(std::move(values), 0.5);
}

ArmCost arm_cost(const ArmConfig& arm, const ModelReport& report, const json& summary,
                 const std::set<uint64_t>& seeds) {
  const auto trained = [&](const char* key) { return trained_figure(summary, arm.name, seeds, key); };
  ArmCost cost;
  cost.arm = arm.name;
  if (const json device = summary.value("device", json()); device.is_string()) cost.device = device;
  cost.differs = arm.differs;
  cost.parameters = report.parameters;
  cost.position_parameters = report.position_parameters;
  cost.decay_parameters = decay_parameters(report);
  cost.table_bytes = report.table_bytes;
  cost.flop_per_token = report.flop_per_token;
  cost.flop_formula = report.flop_formula;
  const auto memory = trained("memory_bytes");
  if (memory) cost.memory_bytes = static_cast<int64_t>(*memory);
  cost.step_ms = trained("step_ms_median");
  cost.step_ms_spread = trained("step_ms_interquartile_range");
  cost.tokens_per_second = trained("tokens_per_second");
  cost.mfu = trained("mfu");
  return cost;
}

EvaluationMeta describe(const EvalCommand& command, const TrainedRun& run, const TokenFile& file,
                        const EvalPlan& plan, const LengthProtocol& protocol, const ForwardSettings& forward,
                        Measured& measured) {
  EvaluationMeta meta;
  meta.program = command.program;
  meta.run = run.folder.string();
  meta.step = run.state.step;
  meta.data = command.data;
  meta.data_fingerprint = hex64(file.fingerprint());
  meta.trained_on = {hex64(run.state.train.fingerprint), hex64(run.state.valid.fingerprint)};
  meta.pieces = protocol.set().size();
  meta.piece_selection = plan.piece_selection;
  meta.piece_tokens = protocol.set().piece_tokens();
  meta.lengths = plan.protocol.lengths;
  meta.control_window = plan.protocol.control_window;
  meta.beyond = plan.beyond;
  meta.mask_probability = plan.protocol.masking.probability;
  meta.mask_share = plan.protocol.masking.mask_share;
  meta.random_share = plan.protocol.masking.random_share;
  meta.mask_seed = plan.protocol.seed;
  meta.device = describe_device(forward.device, plan.train).name;
  meta.precision = forward.bf16 ? "bf16" : "float32";
  meta.batch_tokens = forward.batch_tokens;
  const json summary = training_summary(run.folder);
  for (size_t arm = 0; arm < plan.arms.size(); ++arm) {
    std::set<uint64_t> seeds;
    for (const PlannedReplica& replica : plan.replicas) {
      if (replica.arm == arm) seeds.insert(replica.seed);
    }
    meta.costs.push_back(arm_cost(plan.arms[arm], measured.costs[arm], summary, seeds));
  }
  meta.decay = std::move(measured.decay);
  meta.configuration = run.configuration;
  return meta;
}

void log_header(const TrainedRun& run, const TokenFile& file, const EvalPlan& plan,
                const LengthProtocol& protocol, const ForwardSettings& forward) {
  spdlog::info("run {}, checkpoint of step {}, trained on sequences of {}", run.folder.string(),
               run.state.step, run.trained_length());
  spdlog::info("data {}: unigram entropy {:.4f} nats; {} pieces of {} tokens ({}), {} targets",
               file.path().string(), file.unigram_entropy(), protocol.set().size(),
               protocol.set().piece_tokens(), plan.piece_selection, protocol.places().size());
  spdlog::info("lengths {}; {}", fmt::join(plan.protocol.lengths, ", "),
               plan.protocol.control_window > 0
                   ? fmt::format("control: each again with attention to distances below {} only",
                                 plan.protocol.control_window)
                   : "no control");
  if (!plan.beyond.empty()) spdlog::info("beyond a learned table: {}", plan.beyond);
  spdlog::info("{}, {}", describe_device(forward.device, plan.train).name, forward.bf16 ? "bf16" : "float32");
}

void log_overlap(const DataOverlap& overlap) {
  const bool known = overlap.train.documents && overlap.valid.documents;
  spdlog::log(known ? spdlog::level::info : spdlog::level::warn, "{}", overlap_in_words(overlap));
  for (const std::string& warning : overlap_warnings(overlap)) spdlog::warn("{}", warning);
}

// Writes `text` on standard output. Returns 0, or the system's error number where it cannot be written, which is
// no reason to lose results.
int write_output(const std::string& text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return written ? 0 : errno;
}

// Prints the summary, makes the folder, draws the report.
int publish(const EvalCommand& command, const SavedEvaluation& evaluation, const EvaluationFolder& output,
            const std::vector<fs::path>& runs) {
  Analysis analysis =
      analyze(evaluation.places, evaluation.replicas, evaluation.trained_length, evaluation.unigram_entropy);
  analysis.warnings = overlap_warnings(evaluation.meta.overlap);
  const int output_error = write_output(terminal_summary(analysis) + "\n");
  const EvaluationFolder::Made made = output.make([&](const fs::path& temporary) {
    write_results(temporary, result_rows(evaluation.places, evaluation.replicas, evaluation.trained_length));
    if (command.save_targets) write_targets(temporary, evaluation.places, evaluation.replicas);
    write_evaluation(temporary / "evaluation.json", analysis, evaluation.meta);  // last: it says "complete"
  });
  if (!made.as_wanted) {
    spdlog::error("--output: '{}' was made by another process meanwhile: the results are complete in {}",
                  command.output, made.folder.string());
  }
  spdlog::info("evaluation: {}", made.folder.string());
  if (command.report) spdlog::info("report: {}", draw_report(made.folder, runs).string());
  if (output_error != 0) {
    throw_user_error("cannot write standard output: {}; the results are complete in {}",
                     std::strerror(output_error), made.folder.string());
  }
  return made.as_wanted ? kExitOk : kExitFailure;
}

int combine(const EvalCommand& command) {
  if (!command.run.empty() || !command.data.empty()) {
    throw_user_error("--combine: '{}': expected neither --run nor --data beside it",
                     fmt::join(command.combine, ","));
  }
  if (command.output.empty()) throw_user_error("--output: '': --combine expects a folder to make");
  const EvaluationFolder output("", command.output);
  output.take_care_of_leftovers();
  const SavedEvaluation combined = combine_evaluations({command.combine.begin(), command.combine.end()});
  std::vector<fs::path> runs;
  for (const fs::path run : combined.runs) {
    std::error_code not_here;
    if (fs::is_directory(run, not_here)) {
      runs.push_back(run);
    } else {
      spdlog::warn("run folder {} is not here: the report has no training curves of it", run.string());
    }
  }
  return publish(command, combined, output, runs);
}

}  // namespace

int run_eval_command(const EvalCommand& command) {
  if (!command.combine.empty()) return combine(command);
  if (command.run.empty()) throw_user_error("--run: '': expected a run folder of rse-train");
  if (command.data.empty()) throw_user_error("--data: '': expected a token file");
  const TrainedRun run = open_trained_run(command.run, command.step);
  const TokenFile file = open_token_file(command.data, "--data");
  check_same_tokenizer(run, file);
  const EvalPlan plan = make_eval_plan(command, run, file);
  const EvaluationFolder output(run.folder, command.output);
  configure_torch(plan.train);
  const ForwardSettings forward{command.batch_tokens, resolve_device(plan.train.device, "--device"),
                                plan.train.precision == Precision::kBf16};
  output.take_care_of_leftovers();
  file.verify();
  const LengthProtocol protocol(file, plan.protocol);
  log_header(run, file, plan, protocol, forward);

  const DataOverlap overlap = find_overlap(run, file, protocol.places().documents);
  log_overlap(overlap);

  Measured measured = measure(run, plan, protocol, forward);
  EvaluationMeta meta = describe(command, run, file, plan, protocol, forward, measured);
  meta.overlap = overlap;
  return publish(command,
                 {protocol.places(),
                  std::move(measured.replicas),
                  std::move(meta),
                  {run.folder.string()},
                  run.trained_length(),
                  file.unigram_entropy()},
                 output, {run.folder});
}

}  // namespace rse
