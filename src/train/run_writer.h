// Writes everything that a run leaves while it trains: metrics.jsonl and TensorBoard (train/metrics.h),
// checkpoints, of which it removes the old ones (run/checkpoint.h, run/retention.h), summary.json, and the
// lines that tell a person how it goes.
//
// Invariant: nothing else writes into the run folder while a run trains, so of several processes that train
// one run together exactly one has a writer that writes. Order of calls: RunWriter -> update(),
// log_progress(), decays(), validation(), flush() and checkpoint() as training comes to them -> summary().
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/token_file.h"
#include "eval/validation.h"
#include "run/checkpoint.h"
#include "run/device.h"
#include "run/run_config.h"
#include "run/trainer_state.h"
#include "train/metrics.h"
#include "train/replica.h"
#include "train/report.h"

namespace rse {

class RunWriter {
 public:
  // Goes on in `run_folder`, which exists, after the updates of `progress`: lines of metrics.jsonl beyond
  // them are cut off, progress.best is forgotten where the run does not keep it or its checkpoint is gone,
  // and checkpoints are removed that a killed process did not get to. UserError as MetricsLog. config
  // outlives the writer.
  RunWriter(const std::filesystem::path& run_folder, const RunConfig& config, const DeviceDescription& device,
            RunProgress& progress);

  // One update: its metrics, and a warning where it was skipped.
  void update(const Replica& replica, const UpdateResult& result);
  // The progress line of an update. flop_per_token: of the replica's model.
  void log_progress(const Replica& replica, const UpdateResult& result, double flop_per_token);
  // lambda: [layers, heads] float32 on the CPU, after `step` updates.
  void decays(const Replica& replica, int64_t step, const torch::Tensor& lambda);
  // What a validation after `step` updates found.
  void validation(const Replica& replica, int64_t step, const ValidationResult& result);
  // Hands the lines so far to the system, so that a reader of the files sees them.
  void flush();

  // Saves the checkpoint of progress.step, whose metrics are on the disk by then, and removes those that are
  // not to stay. Sets progress.metrics_bytes.
  void checkpoint(RunProgress& progress, const std::vector<ReplicaSnapshot>& replicas,
                  std::string_view tokenizer_model);

  // summary.json and its table, after `step` updates.
  void summary(const std::vector<ReplicaSummary>& summaries, double unigram_entropy, int64_t step);

 private:
  void prune(const RunProgress& progress) const;

  const std::filesystem::path run_folder_;
  const RunConfig& config_;
  const DeviceDescription device_;
  MetricsLog metrics_;
  const int64_t first_step_;  // updates that were made before this process
  double start_seconds_ = 0;
};

}  // namespace rse
