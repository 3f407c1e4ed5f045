// The training loop: every (seed, arm) of a run, interleaved.
//
// In each step, for each seed: one batch is built once, uploaded once, and every arm makes one update on it,
// in an order that rotates by one place a step (two arms: A B, B A, A B, ...: ABBA). All replicas of all
// seeds are alive at once, so a run needs their memory together; batches are functions of (seed, step), so a
// replica's path does not depend on what else runs beside it. On CUDA the host never waits within a step:
// results are read one step late, and a non-finite update cancels itself on the device. Order of calls:
// Trainer -> run(); both token files outlive it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <queue>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/sequences.h"
#include "data/token_file.h"
#include "eval/validation.h"
#include "train/batch_source.h"
#include "train/metrics.h"
#include "train/replica.h"
#include "train/report.h"
#include "train/run_config.h"

namespace rse {

// A run that could not go on: kMaxSkippedInARow non-finite updates in a row.
class TrainingFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The arms' order in step `step` (from 0): place -> index of the arm.
std::vector<size_t> arm_order(int64_t step, size_t arms);

// What batches of `settings` look like.
BatchPlan make_batch_plan(const RunSettings& settings);

class Trainer {
 public:
  // config: with resolve_vocabulary() applied.
  Trainer(const RunConfig& config, const TokenFile& train_file, const TokenFile& valid_file,
          const torch::Device& device);

  // Trains to the last step. Writes metrics, checkpoints and summary.json into `run_folder`, which exists.
  // Throws TrainingFailed.
  std::vector<ReplicaSummary> run(const std::filesystem::path& run_folder);

  // All replicas, by seed, then arm.
  std::vector<Replica*> replicas();

 private:
  struct InFlight {
    Replica* replica;
    Replica::Pending pending;
  };

  void train_step(BatchSource& source);
  // Reads updates until at most `leave` are in flight.
  void drain(size_t leave);
  void record(Replica& replica, const UpdateResult& result);
  void fail(const Replica& replica);
  void log_decays();
  void validate();
  void save(const std::filesystem::path& run_folder);

  RunConfig config_;
  const TokenFile& train_file_;
  const TokenFile& valid_file_;
  torch::Device device_;
  DeviceDescription device_description_;
  SequenceSet sequences_;
  EvaluationSet validation_set_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<ModelReport> costs_;       // an arm
  std::vector<double> validation_nll_;   // a replica, the last one
  std::unique_ptr<MetricsLog> metrics_;  // during run()
  std::queue<InFlight> in_flight_;
  int64_t step_ = 0;  // updates that every replica has made or has in flight
  double start_seconds_ = 0;
  int64_t start_step_ = 0;
};

}  // namespace rse
