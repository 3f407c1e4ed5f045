// The text of a run for a person: the header at its start, progress lines, and the summary at its end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/token_file.h"
#include "nn/model_report.h"
#include "run/arm_report.h"
#include "run/device.h"
#include "run/run_config.h"
#include "train/replica.h"

namespace rse {

// Logs the configuration file, the digest of the settings, the device, the seeds, the data with its unigram
// entropy, and the cost and backend of each arm. replicas: those of the first seed, one for each arm.
void log_run_header(const RunConfig& config, const DeviceDescription& device, const TokenFile& train_file,
                    const TokenFile& valid_file, const std::vector<Replica*>& replicas);

// "step 50/3000 rse seed 1 loss 5.4321 lr 2.5e-04 decay lr 5e-03 1.2M tok/s MFU 31.0% ETA 4m05s".
std::string progress_line(const Replica& replica, const UpdateResult& update, int64_t steps,
                          double flop_per_token, double peak_flops, double eta_seconds);

// One (arm, seed) at the end of a run.
struct ReplicaSummary {
  std::string arm;
  uint64_t seed = 0;
  ModelReport cost;
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t skipped = 0;
  std::optional<double> train_loss;  // mean of the last kRecentLosses updates; none: all were skipped
  double validation_nll = 0;
  double step_ms = 0;         // median of the last kStepTimes updates
  double step_ms_spread = 0;  // interquartile range of the same
  double tokens_per_second = 0;
  std::optional<double> mfu;
  int64_t memory_bytes = -1;  // on the device: the state and the peak above it; -1: not counted
  bool on_plateau = false;
};

ReplicaSummary summarize(const Replica& replica, const ModelReport& cost, double validation_nll,
                         double unigram_entropy, double peak_flops);

// The table for the terminal, one row for each (arm, seed), and the sentences on what it does not allow one
// to say.
std::string summary_table(const std::vector<ReplicaSummary>& summaries, double unigram_entropy);

// summary.json: the same numbers, the device, and the sentences.
void write_summary(const std::filesystem::path& path, const std::vector<ReplicaSummary>& summaries,
                   double unigram_entropy, const DeviceDescription& device);

}  // namespace rse
