// The training loop: every (seed, arm) of a run, interleaved.
//
// In each step, for each seed: one batch is built once, uploaded once, and every arm makes one update on it,
// in an order that rotates by one place a step (two arms: A B, B A, A B, ...: ABBA). All replicas of all
// seeds are alive at once, so a run needs their memory together; batches are functions of (seed, step), so a
// replica's path does not depend on what else runs beside it. On CUDA the host never waits within a step:
// results are read one step late, and a non-finite update cancels itself on the device. Order of calls:
// Trainer -> restore(), where a run goes on -> run(); both token files outlive it.
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
#include "run/run_config.h"
#include "run/trainer_state.h"
#include "train/batch_source.h"
#include "train/replica.h"
#include "train/report.h"
#include "train/run_writer.h"

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

  // Everything as it was when `checkpoint`, which verify_checkpoint() passed, was saved.
  // state: read_trainer_state(checkpoint).
  void restore(const std::filesystem::path& checkpoint, const TrainerState& state);

  // Trains to the last step. Writes metrics, checkpoints and summary.json into `run_folder`, which exists.
  // stop_requested: asked after each step and before each replica's validation; once it says true, the step's
  // checkpoint is saved and Interrupted thrown (a validation cut short leaves no trace; the resumed run makes
  // it up). Throws TrainingFailed.
  std::vector<ReplicaSummary> run(const std::filesystem::path& run_folder,
                                  const std::function<bool()>& stop_requested = {});

  // All replicas, by seed, then arm.
  std::vector<Replica*> replicas();
  // Parameters of all replicas together.
  int64_t parameters() const;

 private:
  struct InFlight {
    Replica* replica;
    Replica::Pending pending;
  };

  void begin(const std::filesystem::path& run_folder);
  void train_step(BatchSource& source);
  // Reads updates until at most `leave` are in flight.
  void drain(size_t leave);
  void record(Replica& replica, const UpdateResult& result);
  void fail(const Replica& replica);
  bool due(int64_t every) const;
  bool stop_requested() const;
  void log_decays();
  // False where a request to stop came before the last replica; then nothing is written down.
  bool validate();
  // Makes the checkpoint of this step the best one, where its validation says so.
  void rank_checkpoint();
  void save();
  std::vector<ReplicaSummary> finish();

  RunConfig config_;
  const TokenFile& train_file_;
  const TokenFile& valid_file_;
  torch::Device device_;
  DeviceDescription device_description_;
  SequenceSet sequences_;
  EvaluationSet validation_set_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<ModelReport> costs_;     // an arm
  std::unique_ptr<RunWriter> writer_;  // during run()
  std::function<bool()> stop_requested_;
  std::queue<InFlight> in_flight_;
  RunProgress progress_;  // its step counts updates that every replica has made or has in flight
};

}  // namespace rse
