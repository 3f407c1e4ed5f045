#include "train/report.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "analysis/analysis.h"
#include "core/check.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/logging.h"

namespace rse {
namespace {

std::string format_mfu(std::optional<double> mfu) {
  return mfu ? fmt::format("{:.1f}%", 100 * *mfu) : "unknown";
}

// The share of the device's peak that the model's own FLOP reach (Chowdhery et al. 2022, appendix B).
std::optional<double> mfu_of(double tokens_per_second, double flop_per_token, double peak_flops) {
  if (peak_flops <= 0) return std::nullopt;
  return tokens_per_second * flop_per_token / peak_flops;
}

// The mean size of the last updates, at most `most`, over that of all updates.
double size_ratio(const UpdateSizes& sizes, int64_t updates, size_t most) {
  const int64_t timed = std::min(static_cast<int64_t>(most), updates);
  const auto last = static_cast<double>(sizes.before(updates) - sizes.before(updates - timed));
  return last / static_cast<double>(timed) /
         (static_cast<double>(sizes.before(updates)) / static_cast<double>(updates));
}

std::string plateau_sentence(const ReplicaSummary& row, double unigram_entropy) {
  return fmt::format(
      "{}, seed {}: validation NLL {:.3f} is not below {:g} times the unigram entropy {:.3f}: the model "
      "is still on the unigram plateau, which says nothing about the method",
      row.arm, row.seed, row.validation_nll, kPlateauShare, unigram_entropy);
}

// Sentences on what the numbers do not allow one to say.
std::vector<std::string> caveats(const std::vector<ReplicaSummary>& summaries, double unigram_entropy) {
  std::vector<std::string> notes;
  std::set<std::string> arms;
  std::set<uint64_t> seeds;
  for (const ReplicaSummary& row : summaries) {
    if (row.on_plateau) notes.push_back(plateau_sentence(row, unigram_entropy));
    arms.insert(row.arm);
    seeds.insert(static_cast<uint64_t>(row.seed));
  }
  if (arms.size() > 1 && seeds.size() < kSeedsForAVerdict) {
    notes.push_back(fmt::format("{} seed{}: not enough seeds for a verdict between arms (at least {})",
                                seeds.size(), seeds.size() == 1 ? "" : "s", kSeedsForAVerdict));
  }
  return notes;
}

void log_token_file(const char* key, const TokenFile& file) {
  spdlog::info("{}: {}: {} documents, {} tokens, {} pieces, unigram entropy {:.3f} nats", key,
               file.path().string(), file.documents(), format_count(static_cast<double>(file.tokens())),
               file.vocab_size(), file.unigram_entropy());
}

nlohmann::ordered_json row_json(const ReplicaSummary& row) {
  const auto or_null = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  return {{"arm", row.arm},
          {"seed", row.seed},
          {"steps", row.steps},
          {"tokens", row.tokens},
          {"skipped_updates", row.skipped},
          {"train_loss", or_null(row.train_loss)},
          {"validation_nll", row.validation_nll},
          {"on_unigram_plateau", row.on_plateau},
          {"step_ms_median", row.step_ms},
          {"step_ms_interquartile_range", row.step_ms_spread},
          {"tokens_per_second", row.tokens_per_second},
          {"mfu", or_null(row.mfu)},
          {"memory_bytes",
           row.memory_bytes < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(row.memory_bytes)},
          {"parameters", row.cost.parameters},
          {"position_parameters", row.cost.position_parameters},
          {"decay_parameters", decay_parameters(row.cost)},
          {"table_bytes", row.cost.table_bytes},
          {"flop_per_token", row.cost.flop_per_token},
          {"flop_formula", row.cost.flop_formula}};
}

}  // namespace

void log_run_header(const RunConfig& config, const DeviceDescription& device, const TokenFile& train_file,
                    const TokenFile& valid_file, const std::vector<Replica*>& replicas) {
  const std::string effective = config.dump();
  spdlog::info("configuration {}, digest of the effective settings {}", config.source.string(),
               hex64(xxh64(effective.data(), effective.size())));
  spdlog::info("device: {}, {}, peak rate for MFU {}", device.name,
               config.base.train.precision == Precision::kBf16 ? "bf16 autocast" : "float32",
               device.peak_flops > 0 ? format_count(device.peak_flops) + "FLOP/s" : "unknown");
  log_token_file("data.train", train_file);
  log_token_file("data.valid", valid_file);
  spdlog::info(
      "seeds {}; {} steps of {} x {} sequences of up to {} tokens; "
      "arms advance interleaved, and their order rotates",
      fmt::join(config.base.train.seeds, ", "), config.base.train.steps, config.base.train.accumulation,
      config.base.train.batch_size, config.base.data.seq_len);
  if (const BatchRampConfig& ramp = config.base.train.batch_ramp; ramp.steps > 0) {
    spdlog::info("batch ramp: {} sequences in the first update, all from update {} on", ramp.start,
                 ramp.steps + 1);
  }
  for (Replica* replica : replicas) {
    const ModelReport cost = report_arm(*replica->encoder(), config.base);
    const ArmConfig& arm = replica->arm();
    spdlog::info("arm {}: {}", arm.name,
                 arm.differs.empty() ? "the base settings" : fmt::format("differs in {}", arm.differs));
    spdlog::info("arm {}: {} parameters (position method's own {}, decay {}), tables {}, attention: {}",
                 arm.name, cost.parameters, cost.position_parameters, decay_parameters(cost),
                 format_bytes(static_cast<double>(cost.table_bytes)),
                 replica->encoder()->position().describe(replica->device()));
    spdlog::info("arm {}: {} FLOP per token = {}", arm.name, format_count(cost.flop_per_token),
                 cost.flop_formula);
    spdlog::info("arm {}: learning rate {:g}{}", arm.name, arm.learning_rate,
                 arm.has_decay() ? fmt::format(", of the decay {:g}", arm.decay_learning_rate) : "");
  }
}

std::string progress_line(const Replica& replica, const UpdateResult& update, int64_t steps,
                          double flop_per_token, double peak_flops, double eta_seconds) {
  const double rate = 1e3 * static_cast<double>(update.tokens) / update.step_ms;
  return fmt::format("step {}/{} {} seed {}: loss {:.4f}{} lr {:.3g}{} {} tok/s MFU {} ETA {}",
                     update.step + 1, steps, replica.arm().name, replica.seed(), update.loss,
                     update.skipped ? " (skipped)" : "", update.rates.base,
                     replica.arm().has_decay() ? fmt::format(" decay lr {:.3g}", update.rates.decay) : "",
                     format_count(std::round(rate)), format_mfu(mfu_of(rate, flop_per_token, peak_flops)),
                     format_duration(eta_seconds));
}

ReplicaSummary summarize(const Replica& replica, const ModelReport& cost, double validation_nll,
                         double unigram_entropy, double peak_flops) {
  const ReplicaCounters& counters = replica.counters;
  ReplicaSummary row;
  row.arm = replica.arm().name;
  row.seed = replica.seed();
  row.cost = cost;
  row.steps = counters.step;
  row.tokens = counters.tokens;
  row.skipped = counters.skipped;
  if (!counters.recent_losses.empty()) {
    row.train_loss = std::accumulate(counters.recent_losses.begin(), counters.recent_losses.end(), 0.0) /
                     static_cast<double>(counters.recent_losses.size());
  }
  row.validation_nll = validation_nll;
  row.on_plateau = on_unigram_plateau(validation_nll, unigram_entropy);
  const std::vector<double> times(counters.step_times_ms.begin(), counters.step_times_ms.end());
  if (!times.empty()) {
    row.step_ms = quantile(times, 0.5);
    row.step_ms_spread = quantile(times, 0.75) - quantile(times, 0.25);
    row.tokens_per_second = 1e3 * static_cast<double>(counters.tokens) / static_cast<double>(counters.step) /
                            row.step_ms * size_ratio(replica.update_sizes(), counters.step, times.size());
    row.mfu = mfu_of(row.tokens_per_second, cost.flop_per_token, peak_flops);
  }
  // Gradients live only inside an update, so that the peak above its start contains them.
  if (counters.peak_bytes >= 0) row.memory_bytes = cost.state_bytes * 3 / 4 + counters.peak_bytes;
  return row;
}

std::string summary_table(const std::vector<ReplicaSummary>& summaries, double unigram_entropy) {
  std::string text = fmt::format("{:<16} {:>6} {:>10} {:>10} {:>18} {:>9} {:>8} {:>10} {:>11} {:>7}\n", "arm",
                                 "seed", "train loss", "valid NLL", "step ms (IQR)", "tok/s", "MFU", "memory",
                                 "parameters", "skipped");
  for (const ReplicaSummary& row : summaries) {
    text += fmt::format("{:<16} {:>6} {:>10} {:>10.4f} {:>18} {:>9} {:>8} {:>10} {:>11} {:>7}\n", row.arm,
                        row.seed, row.train_loss ? fmt::format("{:.4f}", *row.train_loss) : "none",
                        row.validation_nll, fmt::format("{:.2f} ({:.2f})", row.step_ms, row.step_ms_spread),
                        format_count(std::round(row.tokens_per_second)), format_mfu(row.mfu),
                        row.memory_bytes < 0 ? "-" : format_bytes(static_cast<double>(row.memory_bytes)),
                        row.cost.parameters, row.skipped);
  }
  text += fmt::format(
      "train loss: mean of the last {} updates; step times: the last {}; unigram entropy of the validation "
      "data: {:.4f} nats",
      kRecentLosses, kStepTimes, unigram_entropy);
  for (const std::string& note : caveats(summaries, unigram_entropy)) text += "\n" + note;
  return text;
}

void write_summary(const std::filesystem::path& path, const std::vector<ReplicaSummary>& summaries,
                   double unigram_entropy, const DeviceDescription& device) {
  nlohmann::ordered_json summary = {{"device", device.name},
                                    {"peak_flops", device.peak_flops},
                                    {"process_peak_bytes", process_peak_bytes()},
                                    {"unigram_entropy", unigram_entropy},
                                    {"train_loss_updates", kRecentLosses},
                                    {"step_time_updates", kStepTimes},
                                    {"replicas", nlohmann::ordered_json::array()},
                                    {"notes", caveats(summaries, unigram_entropy)}};
  for (const ReplicaSummary& row : summaries) summary["replicas"].push_back(row_json(row));
  write_file_atomically(path, summary.dump(2) + "\n");
}

}  // namespace rse
